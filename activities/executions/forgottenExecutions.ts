import { TEMPORAL_CALLER } from '../../store/audit.js';
import type { ExecutionStatus } from '../../domain/executions/execution.js';
import { findExecution } from '../../store/executions/load.js';
import {
  countOpenExecutions,
  ensureRunOf,
  filterUnknownExecutions,
  insertForgottenExecution,
  recordCompletedRun,
  recordForgottenRun,
} from '../../store/executions/recover.js';
import { filterOpenExecutions, recordAdoption } from '../../store/executions/sweep.js';
import { updateExecution } from '../../store/executions/update.js';
import type { KnownExecution } from '../../temporal/executions.js';
import { executionWorkflowId } from '../../workflows/messages/executions.js';
import type { Dependencies } from '../dependencies.js';
import { heartbeatIfActivity, warnIfActivity } from '../heartbeat.js';

/** Ids that one query compares. */
const PAGE = 500;

/** `recovered`: the database has it. `unknown`: Temporal does not know it. `incomplete`: too little is known of it. */
export type Recovery = 'recovered' | 'unknown' | 'incomplete';

/**
 * Finds executions that Temporal knows and the database does not, for example after a restore of an older dump, and
 * gives them back to the database. Nothing is started twice: a HealthOmics run that exists is watched.
 */
export class ForgottenExecutions {
  /** @param warn where warnings go; those of an activity go to its log */
  constructor(
    private readonly db: Dependencies['db'],
    private readonly workflows: Dependencies['orchestrator']['executions'],
    private readonly warn = warnIfActivity,
  ) {}

  /** Executions that run and are forgotten. Compares one by one only where the counts differ. */
  async listRunning(): Promise<string[]> {
    if ((await this.workflows.countRunning()) <= (await countOpenExecutions(this.db))) return [];
    return this.#filterAll(this.workflows.listAll('running'), (ids) => filterUnknownExecutions(this.db, ids));
  }

  /** Executions that have ended and are forgotten, or whose end is. Looks at every workflow that Temporal keeps. */
  async listEnded(): Promise<string[]> {
    return this.#filterAll(this.workflows.listAll('ended'), async (ids) => [
      ...(await filterUnknownExecutions(this.db, ids)),
      ...(await filterOpenExecutions(this.db, ids)),
    ]);
  }

  /** Gives an execution back to the database, with its run. Completed ones read their results again. */
  async recover(executionId: string): Promise<Recovery> {
    const known = await this.workflows.findKnown(executionId);
    if (known === undefined) return 'unknown';
    if ((await findExecution(this.db, executionId)) === undefined) {
      const inserted = await this.#insert(known);
      if (inserted !== 'recovered') return inserted;
    }
    if (known.workflowStatus !== 'RUNNING') await this.#recordEnd(known);
    return 'recovered';
  }

  async #insert({ id, origin, status, healthOmicsRunId, timeStarted }: KnownExecution): Promise<Recovery> {
    if (origin === undefined) return 'incomplete';
    const run = await ensureRunOf(this.db, id, origin);
    if (run === undefined) return 'incomplete';
    // Before it has a HealthOmics run, an execution reads the upload of its run, which is checked again first.
    const isWaiting = status === 'UNTRIGGERED';
    if (healthOmicsRunId === undefined && !isWaiting && run.uploadState === 'uploading') return 'incomplete';
    const open = ['UNTRIGGERED', 'INITIALIZED', 'PENDING', 'RUNNING'].includes(status) ? status : 'RUNNING';
    await insertForgottenExecution(
      this.db,
      {
        id,
        origin,
        workflowId: executionWorkflowId(id),
        status: open as ExecutionStatus,
        healthOmicsRunId,
        timeStarted,
      },
      run.id,
    );
    this.warn('Recovered an execution that the database had forgotten', { executionId: id });
    return 'recovered';
  }

  /** Records how a workflow ended whose execution is open in the database. */
  async #recordEnd({ id, workflowStatus, healthOmicsRunId, timeClosed }: KnownExecution): Promise<void> {
    // Terminated and timed out workflows are those of `ClosedExecutions`.
    if (!['COMPLETED', 'FAILED', 'CANCELLED'].includes(workflowStatus)) return;
    if ((await filterOpenExecutions(this.db, [id])).length === 0) return;
    if (healthOmicsRunId !== undefined) await recordForgottenRun(this.db, id, healthOmicsRunId);
    const { type, message } = await this.workflows.describeEnd(id);
    if (type === 'COMPLETED' && healthOmicsRunId !== undefined) {
      await recordCompletedRun(this.db, id, healthOmicsRunId, TEMPORAL_CALLER);
      return this.#startAgain(id);
    }
    // The workflow itself failed, for example by a timeout, and recorded nothing. Its run may still work.
    if (type === 'WorkflowClosed' && healthOmicsRunId !== undefined) return this.#startAgain(id);
    const isCancelled = workflowStatus !== 'FAILED';
    await updateExecution(this.db, id, {
      status: isCancelled ? 'CANCELED' : 'FAILED',
      statusDescription: message,
      blocked: null,
      ...(!isCancelled && { error: { type, message } }),
      timeCompleted: timeClosed ?? new Date(),
    });
  }

  /** A new workflow finds out what became of the HealthOmics run, and reads its results. */
  async #startAgain(id: string): Promise<void> {
    const execution = await findExecution(this.db, id);
    if (execution !== undefined && (await recordAdoption(this.db, id)) !== undefined)
      await this.workflows.adopt(execution);
  }

  async #filterAll(
    ids: AsyncIterable<string>,
    filter: (ids: readonly string[]) => Promise<string[]>,
  ): Promise<string[]> {
    const found: string[] = [];
    let page: string[] = [];
    const compare = async (): Promise<void> => {
      found.push(...(await filter(page)));
      page = [];
      heartbeatIfActivity();
    };
    for await (const id of ids) {
      page.push(id);
      if (page.length === PAGE) await compare();
    }
    await compare();
    return [...new Set(found)];
  }
}
