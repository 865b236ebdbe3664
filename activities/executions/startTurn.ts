import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { withDeadline } from '../../observability/deadline.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import { requestStartTurns, type StartRequest, type StartTurn } from '../../store/executions/pacing.js';
import type { Db } from '../../store/database.js';
import { withHeartbeat } from '../heartbeat.js';
import { quotaScope } from './context.js';

/** The longest wait that an activity spends waiting itself, in milliseconds. */
const LONGEST_WAIT_MS = 2000;
/**
 * When a request that the database does not answer fails, so that the next ones take another connection. If it succeeds
 * later nevertheless, a turn is lost.
 */
const ANSWER_MS = 60_000;
/** Executions further back in the queue do not wait inside their activity: there would be too many of them. */
const LAST_WAITING_POSITION = 10;

/**
 * Requests turns for the executions of this process. While one request for an account and region is under way, later ones
 * are collected, and then made as one. Otherwise thousands of executions that start at the same moment would wait for the
 * same row, and hold the connections and the slots that other accounts need.
 */
export class StartTurns {
  /** What waits for the request that is under way, by account and region. */
  readonly #waiting = new Map<string, WaitingRequest[]>();

  /** @param perSecond StartRun calls a second in one account and region, of all workers together */
  constructor(
    private readonly db: Db,
    readonly perSecond: number,
  ) {}

  /** @param scope account and region */
  request(scope: string, request: StartRequest): Promise<StartTurn> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(scope);
      const added = { ...request, resolve, reject };
      if (waiting !== undefined) return void waiting.push(added);
      this.#waiting.set(scope, [added]);
      void this.#requestAll(scope);
    });
  }

  async #requestAll(scope: string): Promise<void> {
    for (;;) {
      const requests = this.#waiting.get(scope)!;
      if (requests.length === 0) return void this.#waiting.delete(scope);
      this.#waiting.set(scope, []);
      try {
        const turns = await withDeadline(requestStartTurns(this.db, scope, this.perSecond, requests), ANSWER_MS);
        for (const [at, { resolve }] of requests.entries()) resolve(turns[at]!);
      } catch (error) {
        for (const { reject } of requests) reject(error);
      }
    }
  }
}

interface WaitingRequest extends StartRequest {
  resolve: (turn: StartTurn) => void;
  reject: (error: unknown) => void;
}

/**
 * Waits until the execution may call StartRun. A short wait is spent here. A longer one fails as `Waiting` with the
 * time of the next try, so that waiting takes neither a slot of the worker nor history.
 * @param isBlocked whether the status says what blocks the execution; its place in the queue must not replace that.
 */
export async function waitForStartTurn(
  db: Db,
  turns: StartTurns,
  execution: ExecutionContext,
  isBlocked: boolean,
): Promise<void> {
  const scope = quotaScope(execution);
  for (;;) {
    const turn = await turns.request(scope, { executionId: execution.id, flowId: execution.flow.id });
    if (turn.wait === 0) return;
    if (turn.wait <= LONGEST_WAIT_MS && turn.position <= LAST_WAITING_POSITION) {
      await withHeartbeat(() => Context.current().sleep(turn.wait));
      continue;
    }
    const message = describeWait(turn, scope, turns.perSecond, new Date());
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
