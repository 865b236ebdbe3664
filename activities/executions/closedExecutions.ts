import { isFinalStatus } from '../../domain/executions/execution.js';
import { recordUnauthenticatedCancel } from '../../store/executions/cancel.js';
import { closeStart } from '../../store/executions/start.js';
import {
  countStartedExecutions,
  filterOpenExecutions,
  listStartedExecutionIds,
  recordAdoption,
} from '../../store/executions/sweep.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import { executionWorkflowId } from '../../workflows/messages/executions.js';
import type { Dependencies } from '../dependencies.js';
import { heartbeatIfActivity } from '../heartbeat.js';

/**
 * How often polony starts a workflow again that does not stay open; then it cancels the run, as often again at most.
 */
const MAX_ADOPTIONS = 3;
/** Temporal's visibility may not know executions yet that were created later than this. */
const VISIBLE_AFTER_MS = 60_000;

/**
 * Finds executions without a workflow and recovers them: their workflow was closed from outside (terminated, timed out,
 * failed), or Temporal lost it. Nobody watches their HealthOmics run any more.
 */
export class ClosedExecutions {
  constructor(
    private readonly db: Dependencies['db'],
    private readonly workflows: Dependencies['orchestrator']['executions'],
    private readonly closedWorkflows: Dependencies['settings']['closedWorkflows'],
    /** Writes to the bucket how an execution ended. */
    private readonly recordEnd: (executionId: string) => Promise<void>,
  ) {}

  /** Executions that have not ended although their workflow has. */
  async listClosed(): Promise<string[]> {
    return filterOpenExecutions(this.db, await this.workflows.listClosed());
  }

  /** Executions whose workflow Temporal does not know. Compares one by one only where the counts differ. */
  async listLost(): Promise<string[]> {
    const before = new Date(Date.now() - VISIBLE_AFTER_MS);
    if ((await countStartedExecutions(this.db, before)) <= (await this.workflows.countRunning())) return [];
    const lost: string[] = [];
    for (let after: string | undefined; ;) {
      const ids = await listStartedExecutionIds(this.db, before, after);
      if (ids.length === 0) return lost;
      heartbeatIfActivity();
      lost.push(...(await this.workflows.listUnknown(ids)));
      after = ids.at(-1);
    }
  }

  /**
   * Starts a new workflow that watches or cancels the HealthOmics run, as the setting says. An execution without a run
   * ends, unless it was blocked, or Temporal lost its workflow.
   */
  async recover(executionId: string, isLost: boolean): Promise<void> {
    const execution = await findExecution(this.db, executionId);
    if (execution === undefined || isFinalStatus(execution.status)) return;
    // A workflow that was closed once and started again since is still among those that were closed in the last day. One
    // that was lost may have been started by somebody else meanwhile. A workflow that runs is no adoption.
    if (await this.workflows.isRunning(executionId)) return;
    switch (this.decide(execution, isLost)) {
      case 'adopt':
        return this.#adopt(execution);
      case 'cancel':
        return this.#cancel(execution);
      case 'fail':
        return this.#fail(execution, isUnstarted(execution));
    }
  }

  /** What {@link recover} does with an execution whose workflow does not run. */
  decide(
    execution: Pick<ExecutionContext, 'healthOmics' | 'startState' | 'blocked' | 'adoptions'>,
    isLost: boolean,
  ): 'adopt' | 'cancel' | 'fail' {
    const hasNoRun = isUnstarted(execution);
    // Who terminates a blocked workflow wants it to try again. Who terminates another one without a run wants it to end.
    const isAdoptedUnstarted = isLost || (execution.blocked !== null && this.closedWorkflows === 'adopt');
    // A run that has completed needs no cancel; its results are read.
    const isAdoptedRun = this.closedWorkflows === 'adopt' || execution.healthOmics?.status === 'COMPLETED';
    const isToBeAdopted = hasNoRun ? isAdoptedUnstarted : isAdoptedRun;
    // Nobody closes workflows that Temporal lost, so they are adopted however often that was.
    if (isToBeAdopted && (isLost || execution.adoptions < MAX_ADOPTIONS)) return 'adopt';
    return !hasNoRun && (isLost || execution.adoptions < 2 * MAX_ADOPTIONS) ? 'cancel' : 'fail';
  }

  /** A cancel that was accepted still counts: the workflow that had received it may not have carried it out. */
  async #adopt(execution: ExecutionContext): Promise<void> {
    const { cancel } = execution;
    if ((await recordAdoption(this.db, execution.id)) === undefined) return;
    await this.workflows.adopt(
      execution,
      cancel === null ? undefined : { requestedBy: cancel.requestedBy, reason: cancel.reason ?? undefined },
    );
  }

  /** By the workflow, which repeats a StartRun that AWS has not answered, and watches the run until it ends. */
  async #cancel(execution: ExecutionContext): Promise<void> {
    if ((await recordAdoption(this.db, execution.id)) === undefined) return;
    const reason = 'Its workflow was closed from outside';
    // Before the signal, as in the API: who closed the workflow is the one who had the run cancelled.
    await recordUnauthenticatedCancel(this.db, execution.id, {
      reason,
      origin: { workflowId: executionWorkflowId(execution.id) },
    });
    await this.workflows.adopt(execution, { reason });
  }

  async #fail(execution: ExecutionContext, isUnstarted: boolean): Promise<void> {
    if (isUnstarted && !(await closeStart(this.db, execution.id))) return;
    const consequence = isUnstarted ? 'No HealthOmics run was started' : describeUnwatchedRun(execution);
    await updateExecution(this.db, execution.id, {
      status: 'FAILED',
      statusDescription: `Its workflow was closed from outside. ${consequence}`,
      blocked: null,
      error: {
        type: 'WorkflowClosed',
        message: `Its workflow was closed from outside (terminated, timed out or failed). ${consequence}`,
      },
      timeCompleted: new Date(),
    });
    await this.recordEnd(execution.id);
  }
}

/** Whether StartRun was not sent, as far as the database knows. */
function isUnstarted({ healthOmics, startState }: Pick<ExecutionContext, 'healthOmics' | 'startState'>): boolean {
  return healthOmics === null && startState !== 'sent';
}

function describeUnwatchedRun({ healthOmics }: ExecutionContext): string {
  const run =
    healthOmics === null ? 'Its HealthOmics run, whose id is unknown,' : `HealthOmics run ${healthOmics.runId}`;
  return (
    `${run} could neither be watched nor cancelled, because its workflow was closed repeatedly. ` +
    'Check the run in the HealthOmics console'
  );
}
