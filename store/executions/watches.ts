import { sql } from 'kysely';
import type { ExecutionStatus } from '../../domain/executions/execution.js';
import type { Db, DbOrTransaction } from '../database.js';

/** An activity that waits for the HealthOmics run of an execution to change. */
export interface Watch {
  executionId: string;
  /** Completes the activity; of Temporal. */
  taskToken: Uint8Array;
  /** The status that the workflow knows; null: it wants to know the present one. */
  from: ExecutionStatus | null;
  /** Whether the workflow waits for a person. */
  probing: boolean;
}

/** On this channel, {@link announceWatch} announces a watch: `<scope> <id of the execution>`. */
export const WATCHES_CHANNEL = 'polony_watches';

/**
 * Registers an activity that waits, instead of the one that waited for the same execution before.
 * @param scope the account and region whose quotas the polls count against
 */
export async function registerWatch(db: Db, scope: string, watch: Watch): Promise<void> {
  const row = {
    scope,
    task_token: Buffer.from(watch.taskToken),
    from_status: watch.from,
    probing: watch.probing,
    time_registered: sql<Date>`clock_timestamp()`,
  };
  await db
    .insertInto('watches')
    .values({ execution_id: watch.executionId, ...row })
    .onConflict((conflict) => conflict.column('execution_id').doUpdateSet(row))
    .execute();
}

/** Tells the process that watches an account and region about a watch. */
export async function announceWatch(db: Db, scope: string, { executionId }: Watch): Promise<void> {
  await sql`select pg_notify(${WATCHES_CHANNEL}, ${`${scope} ${executionId}`})`.execute(db);
}

/** Forgets a watch whose activity has ended. A later one of the same execution stays. */
export async function removeWatch(db: DbOrTransaction, { executionId, taskToken }: Watch): Promise<void> {
  await db
    .deleteFrom('watches')
    .where('execution_id', '=', executionId)
    .where('task_token', '=', Buffer.from(taskToken))
    .execute();
}

/** The accounts and regions that have watches. */
export async function listWatchedScopes(db: DbOrTransaction): Promise<string[]> {
  // Each step jumps to the next scope in the index, so that many watches of one account cost nothing.
  const { rows } = await sql<{ scope: string }>`
    with recursive scopes as (
      (select scope from watches order by scope limit 1)
      union all
      select (select w.scope from watches w where w.scope > scopes.scope order by w.scope limit 1)
      from scopes where scopes.scope is not null
    )
    select scope from scopes where scope is not null`.execute(db);
  return rows.map(({ scope }) => scope);
}

/**
 * Watches of accounts and regions.
 * @param of those of some executions, those that were registered within so many seconds, or all
 */
export async function listWatches(
  db: DbOrTransaction,
  scopes: readonly string[],
  of: { executionIds: readonly string[] } | { seconds: number } | 'all',
): Promise<(Watch & { scope: string })[]> {
  let query = db
    .selectFrom('watches')
    .select(['scope', 'execution_id', 'task_token', 'from_status', 'probing'])
    .where('scope', 'in', scopes);
  if (of !== 'all')
    query =
      'seconds' in of
        ? query.where('time_registered', '>', sql<Date>`now() - make_interval(secs => ${of.seconds})`)
        : query.where('execution_id', 'in', of.executionIds);
  const rows = await query.execute();
  return rows.map((row) => ({
    scope: row.scope,
    executionId: row.execution_id,
    taskToken: row.task_token,
    from: row.from_status,
    probing: row.probing,
  }));
}

/**
 * Executions whose HealthOmics run nobody watches although it has not ended: a worker died between taking the activity
 * and registering it, or the database was restored from an older dump. Such a dump may not know the run yet, so all open
 * executions belong to them that have a workflow, besides those that wait for their turn. They come in random order, so
 * that those for which there is nothing to do never hide the others.
 * @param changedBefore younger changes are left to the process that made them
 */
export async function listUnwatched(db: DbOrTransaction, changedBefore: Date, limit: number): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select e.id from executions e
    where e.status not in ('COMPLETED', 'FAILED', 'CANCELED') and e.workflow_started
      and e.time_updated < ${changedBefore}
      and not exists (select 1 from watches w where w.execution_id = e.id)
      and (e.healthomics_run_id is not null or not exists (
        -- After an hour, only a dump has a row that is due, and its execution may have been started since.
        select 1 from start_queue q where q.execution_id = e.id and q.due_at > now() - interval '1 hour'))
    order by random()
    limit ${limit}`.execute(db);
  return rows.map(({ id }) => id);
}
