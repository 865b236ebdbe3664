import { EXECUTION_FILTER } from '../../domain/executions/filter.js';
import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import type { FilterTerm } from '../../domain/filters/filter.js';
import type { Db, DbOrTransaction } from '../database.js';
import { filterCondition, listTextKeywords } from '../filters.js';
import { type ListOptions, type Slice, toVisibleIds, type Visible } from '../paging.js';
import { EXECUTION_COLUMNS } from './columns.js';
import { type ListedExecution, listedExecutionQuery, toListedExecution } from './load.js';

const TEXT_KEYWORDS = listTextKeywords(EXECUTION_FILTER);
const matchesFilter = (filter: readonly FilterTerm[] = []) => filterCondition(filter, EXECUTION_COLUMNS, TEXT_KEYWORDS);

/** Executions, newest first. Before an id, the nearest come first. */
export async function listExecutions(
  db: Db,
  slice: Slice,
  { ids = 'all', filter, onlyBlocked = false }: ListOptions = {},
): Promise<ListedExecution[]> {
  let query = listedExecutionQuery(db).where(matchesFilter(filter)).limit(slice.limit);
  if (onlyBlocked) query = query.where('e.blocked', 'is not', null).where('e.status', 'not in', FINAL_STATUSES);
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('e.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('e.id', '>', slice.before);
  const rows = await query.orderBy('e.id', slice.before === undefined ? 'desc' : 'asc').execute();
  return rows.map(toListedExecution);
}

/** The execution of a run that completed last, among those that the caller may see. */
export async function findLastCompleted(db: Db, runId: string, ids: Visible): Promise<ListedExecution | undefined> {
  let query = listedExecutionQuery(db).where('e.run_id', '=', runId).where('e.status', '=', 'COMPLETED').limit(1);
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  const row = await query.orderBy('e.id', 'desc').executeTakeFirst();
  return row && toListedExecution(row);
}

/** The names of the executions of a flow for a run. */
export async function listExecutionNames(db: DbOrTransaction, flowId: string, runId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('executions')
    .select('name')
    .where('flow_id', '=', flowId)
    .where('run_id', '=', runId)
    .execute();
  return rows.map(({ name }) => name);
}

/** How many executions {@link listExecutions} lists on all pages. */
export async function countExecutions(
  db: Db,
  { ids = 'all', filter, onlyBlocked = false }: ListOptions = {},
): Promise<number> {
  let query = db
    .selectFrom('executions as e')
    .innerJoin('flows as f', 'f.id', 'e.flow_id')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .select((e) => e.fn.countAll().as('count'))
    .where(matchesFilter(filter));
  if (onlyBlocked) query = query.where('e.blocked', 'is not', null).where('e.status', 'not in', FINAL_STATUSES);
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}
