import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import { requestStartTurn, type StartTurn } from '../../store/executions/pacing.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { quotaScope } from './context.js';

/** The longest wait that an activity spends waiting itself, in milliseconds. */
const LONGEST_WAIT_MS = 2000;
/** Executions further back in the queue do not wait inside their activity: there would be too many of them. */
const LAST_WAITING_POSITION = 10;

/**
 * Waits until the execution may call StartRun. A short wait is spent here. A longer one fails as `Waiting` with the
 * time of the next try, so that waiting takes neither a slot of the worker nor history.
 * @param isBlocked whether the status says what blocks the execution; its place in the queue must not replace that.
 */
export async function waitForStartTurn(
  { db, settings }: Pick<Dependencies, 'db' | 'settings'>,
  execution: ExecutionContext,
  isBlocked: boolean,
): Promise<void> {
  const scope = quotaScope(execution);
  const perSecond = settings.startRunsPerSecond;
  for (;;) {
    const turn = await requestStartTurn(db, {
      executionId: execution.id,
      flowId: execution.flow.id,
      scope,
      perSecond,
    });
    if (turn.wait === 0) return;
    if (turn.wait <= LONGEST_WAIT_MS && turn.position <= LAST_WAITING_POSITION) {
      await withHeartbeat(() => Context.current().sleep(turn.wait));
      continue;
    }
    const message = describeWait(turn, scope, perSecond, new Date());
    if (!isBlocked) await updateExecution(db, execution.id, { statusDescription: message });
    throw ApplicationFailure.create({
      type: 'Waiting',
      message,
      nextRetryDelay: turn.wait,
      category: ApplicationFailureCategory.BENIGN,
    });
  }
}

/**
 * What an execution that waits for its turn shows. It has a time, because it stays until the execution asks again.
 * @param scope account and region
 */
export function describeWait(turn: StartTurn, scope: string, perSecond: number, now: Date): string {
  const seconds = Math.ceil(turn.interval);
  const pace =
    turn.interval > 1 / perSecond
      ? `AWS throttles StartRun, so polony calls it every ${seconds} s until AWS accepts calls again`
      : `polony calls StartRun at most ${perSecond === 1 ? 'once' : `${perSecond} times`} a second, because HealthOmics limits it`;
  return (
    `Waiting to start: position ${turn.position} of ${turn.waiting} in ${scope.replace('/', ', ')} at ` +
    `${now.toISOString()}, then about ${Math.ceil(turn.left / 1000)} s left. ${pace}.`
  );
}
