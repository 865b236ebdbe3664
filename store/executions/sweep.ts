import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type DbOrTransaction, isOwnId } from '../database.js';
import { executionQuery, type ExecutionContext, toExecutionContext } from './load.js';

/**
 * Executions whose workflow is not known to exist. You can start each of them (again): the workflow id is the
 * execution's, so it never runs twice.
 */
export async function listExecutionsToStart(
  db: DbOrTransaction,
  filter: { runId?: string; createdBefore?: Date },
): Promise<ExecutionContext[]> {
  let query = executionQuery(db)
    .where('e.workflow_started', '=', false)
    .where('e.status', 'in', ['UNTRIGGERED', 'INITIALIZED']);
  if (filter.runId !== undefined) query = query.where('e.run_id', '=', filter.runId);
  if (filter.createdBefore !== undefined) query = query.where('e.time_created', '<', filter.createdBefore);
  return (await query.orderBy('e.id').limit(500).execute()).map(toExecutionContext);
}

/** Executions that wait for the upload of a run to end. */
export async function listExecutionsWaitingForUpload(db: DbOrTransaction, runId: string): Promise<ExecutionContext[]> {
  return (
    await executionQuery(db)
      .where('e.run_id', '=', runId)
      .where('e.status', '=', 'UNTRIGGERED')
      .orderBy('e.id')
      .execute()
  ).map(toExecutionContext);
}

/** How many executions are open, have a workflow, and were created before a time. */
export async function countStartedExecutions(db: DbOrTransaction, before: Date): Promise<number> {
  const row = await startedOpenExecutions(db, before)
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** The ids of the executions that {@link countStartedExecutions} counts, at most 1,000 after an id. */
export async function listStartedExecutionIds(
  db: DbOrTransaction,
  before: Date,
  after: string | undefined,
): Promise<string[]> {
  let query = startedOpenExecutions(db, before).select('id').orderBy('id').limit(1000);
  if (after !== undefined) query = query.where('id', '>', after);
  return (await query.execute()).map((row) => row.id);
}

function startedOpenExecutions(db: DbOrTransaction, before: Date) {
  return db
    .selectFrom('executions')
    .where('workflow_started', '=', true)
    .where('status', 'not in', FINAL_STATUSES)
    .where('time_created', '<', before);
}

/** Which of these executions have not ended. */
export async function filterOpenExecutions(db: DbOrTransaction, ids: readonly string[]): Promise<string[]> {
  const known = ids.filter(isOwnId);
  if (known.length === 0) return [];
  const rows = await db
    .selectFrom('executions')
    .select('id')
    .where('id', 'in', known)
    .where('status', 'not in', FINAL_STATUSES)
    .execute();
  return rows.map((row) => row.id);
}

/**
 * Records that the workflow of an execution is about to start again.
 * @returns how often that has happened, or undefined where the execution has ended
 */
export async function recordAdoption(db: DbOrTransaction, id: string): Promise<number | undefined> {
  const row = await db
    .updateTable('executions')
    .set((eb) => ({ adoptions: eb('adoptions', '+', 1) }))
    .where('id', '=', id)
    .where('status', 'not in', FINAL_STATUSES)
    .returning('adoptions')
    .executeTakeFirst();
  return row?.adoptions;
}
