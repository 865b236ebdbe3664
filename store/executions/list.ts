import { type RawBuilder, sql } from 'kysely';
import { EXECUTION_FILTER, EXECUTION_ORDER } from '../../domain/executions/filter.js';
import type { FilterTerm } from '../../domain/filters/filter.js';
import type { Order } from '../../domain/filters/order.js';
import type { Db, DbOrTransaction } from '../database.js';
import { filterCondition, listTextKeywords } from '../filters.js';
import { type Listed, type ListOptions, type Slice, toVisibleIds, type Visible } from '../paging.js';
import { folded, knownTime, type SortColumns, type Sorting, sortingOf } from '../sorting.js';
import { EXECUTION_COLUMNS, isExecutionBlocked } from './columns.js';
import { type ListedExecution, listedExecutionQuery, toListedExecution } from './load.js';

const TEXT_KEYWORDS = listTextKeywords(EXECUTION_FILTER);
const matchesFilter = (filter: readonly FilterTerm[] = []) => filterCondition(filter, EXECUTION_COLUMNS, TEXT_KEYWORDS);

/** What the keywords that sort executions `e` with flow `f` and run `r` sort by. */
const SORT_COLUMNS: SortColumns<typeof EXECUTION_ORDER> = {
  time_created: sql`e.time_created`,
  time_started: knownTime(sql`e.time_started`),
  time_completed: knownTime(sql`e.time_completed`),
  time_updated: sql`e.time_updated`,
  name: folded(sql`e.name`),
  status: sql`e.status`,
  'flow.name': folded(sql`f.name`),
  'input.run.name': folded(sql`r.run_name`),
  started_by: folded(sql`e.started_by`),
};

/**
 * The keywords with texts, by the table that has them. PostgreSQL uses indexes of several tables in one condition only
 * where all of it must hold, and a term without a keyword is about any of them.
 */
const OF_RUN = TEXT_KEYWORDS.filter((keyword) => keyword.startsWith('input.run.'));
const OF_FLOW = ['flow.name'];
const OF_EXECUTION = TEXT_KEYWORDS.filter((keyword) => !OF_RUN.includes(keyword) && !OF_FLOW.includes(keyword));

/** Executions in an order, by default newest first. Before a position, the nearest come first. */
export async function listExecutions(
  db: Db,
  slice: Slice,
  options: ListOptions<keyof typeof EXECUTION_ORDER> = {},
): Promise<Listed<ListedExecution>[]> {
  const { ids = 'all', filter = [], onlyBlocked = false, order } = options;
  if (order !== undefined || filter.some((term) => isOfAnyTable(term) || isOfFlow(term)))
    return listByIds(db, slice, options);
  let query = listedExecutionQuery(db).where(matchesFilter(filter)).limit(slice.limit);
  if (onlyBlocked) query = query.where(isExecutionBlocked);
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('e.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('e.id', '>', slice.before);
  const rows = await query.orderBy('e.id', slice.before === undefined ? 'desc' : 'asc').execute();
  return rows.map(toListedExecution);
}

const isOfAnyTable = ({ keyword }: FilterTerm): boolean => keyword === undefined;
const isOfFlow = ({ keyword, operator }: FilterTerm): boolean => keyword === 'flow.name' && operator === ':';

/** Finds the ids of a page first: without the other columns and tables, PostgreSQL sorts large groups fast. */
async function listByIds(
  db: Db,
  slice: Slice,
  options: ListOptions<keyof typeof EXECUTION_ORDER>,
): Promise<Listed<ListedExecution>[]> {
  const sorting = options.order === undefined ? byId(slice) : bySorting(slice, options.order);
  const { rows } = await sql<{ id: string; sort_key: string }>`
    select found.id, found.position::text as sort_key from (${findPage(slice, sorting, options)}) found
    order by found.position ${sorting.direction}, found.id ${sorting.direction} limit ${slice.limit}`.execute(db);
  if (rows.length === 0) return [];
  const found = await listedExecutionQuery(db)
    .where(
      'e.id',
      'in',
      rows.map(({ id }) => id),
    )
    .execute();
  const executions = new Map(found.map((row) => [row.id, toListedExecution(row)]));
  return rows.map(({ id, sort_key: sortKey }) => ({
    ...executions.get(id)!,
    ...(options.order !== undefined && { sortKey }),
  }));
}

const bySorting = (slice: Slice, order: Order<keyof typeof EXECUTION_ORDER>): Sorting =>
  sortingOf<typeof EXECUTION_ORDER>(order, slice, {
    columns: SORT_COLUMNS,
    fields: EXECUTION_ORDER,
    id: sql`e.id`,
    isOtherTable: order.keyword === 'input.run.name',
  });

function byId({ after, before }: Slice): Sorting {
  const column = sql`e.id`;
  const direction = before === undefined ? sql`desc` : sql`asc`;
  const isAfter = after === undefined ? sql<boolean>`true` : sql<boolean>`${column} < ${after}::uuid`;
  const isInSlice = before === undefined ? isAfter : sql<boolean>`${column} > ${before}::uuid`;
  return { key: sql`${column}::text`, column, direction, isInSlice, orderBy: sql`${column} ${direction}` };
}

/** Selects id and position of at least the rows of a page. */
function findPage(
  { limit }: Slice,
  { column, isInSlice, orderBy }: Sorting,
  { ids = 'all', filter = [], onlyBlocked = false, order }: ListOptions<keyof typeof EXECUTION_ORDER>,
): RawBuilder<unknown> {
  const text = filter.find(isOfAnyTable);
  const flow = filter.find(isOfFlow);
  const rest = filter.filter((term) => term !== text && term !== flow);
  const isListed = sql`${matchesFilter(rest)} and ${isVisible(ids)}
    and ${onlyBlocked ? isExecutionBlocked : sql`true`} and ${isInSlice}`;
  const isFlow = flow === undefined ? sql<boolean>`true` : matchesFilter([flow]);
  const page = (joins: RawBuilder<unknown>, condition: RawBuilder<boolean>): RawBuilder<unknown> => sql`
    select e.id, ${column} as position from executions e ${joins}
    where ${condition} and ${isListed} order by ${orderBy} limit ${limit}`;
  const flows = sql`join flows f on f.id = e.flow_id`;
  const runs = sql`join runs r on r.id = e.run_id`;
  // What no condition is about stays away, so that PostgreSQL can read the index of the flow alone.
  const neededRuns = rest.length > 0 || order?.keyword === 'input.run.name' ? runs : sql``;
  // The first rows of each flow: flows are few, and those with a name may have no execution among the newest.
  const ofFlows = (
    isOfFlows: RawBuilder<boolean>,
    condition = sql<boolean>`true`,
    joins = neededRuns,
  ): RawBuilder<unknown> => sql`
    select of_flow.id, of_flow.position from flows f
    cross join lateral (${page(joins, sql<boolean>`e.flow_id = f.id and ${condition}`)}) of_flow
    where ${isOfFlows}`;
  const find = (condition: RawBuilder<boolean>): RawBuilder<unknown> =>
    flow === undefined ? page(sql`${flows} ${runs}`, condition) : ofFlows(isFlow, condition, runs);
  if (text !== undefined) {
    const among = (keywords: readonly string[]) => filterCondition([text], EXECUTION_COLUMNS, keywords);
    return sql`(${find(among(OF_EXECUTION))}) union (${find(among(OF_RUN))})
      union (${ofFlows(sql`${isFlow} and ${among(OF_FLOW)}`)})`;
  }
  if (flow !== undefined) return ofFlows(isFlow);
  // Without a filter, only the order can need another table.
  return page(sql`${rest.length > 0 || order?.keyword === 'flow.name' ? flows : sql``} ${neededRuns}`, sql`true`);
}

const isVisible = (ids: Visible): RawBuilder<boolean> =>
  ids === 'all' ? sql`true` : sql`e.id = any(${toVisibleIds(ids)}::uuid[])`;

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

/** What counts read. Without a filter no other table is needed, so that an index answers. */
const sourceOf = (filter: readonly FilterTerm[]): RawBuilder<unknown> =>
  filter.length === 0
    ? sql`executions e`
    : sql`executions e join flows f on f.id = e.flow_id join runs r on r.id = e.run_id`;

/** How many executions {@link listExecutions} lists on all pages. */
export async function countExecutions(
  db: Db,
  { ids = 'all', filter = [], onlyBlocked = false }: ListOptions = {},
): Promise<number> {
  const { rows } = await sql<{ count: string }>`
    select count(*) from ${sourceOf(filter)}
    where ${matchesFilter(filter)} and ${isVisible(ids)} and ${onlyBlocked ? isExecutionBlocked : sql`true`}`.execute(
    db,
  );
  return Number(rows[0]!.count);
}

/** How many executions have each status. Statuses that none has are absent. */
export interface ExecutionCounts {
  counts: Record<string, number>;
  blocked: number;
  total: number;
}

/** Counts the executions that {@link listExecutions} lists on all pages, by status. */
export async function countExecutionsByStatus(
  db: Db,
  { ids = 'all', filter = [] }: ListOptions = {},
): Promise<ExecutionCounts> {
  const source = sourceOf(filter);
  const isListed = sql`${matchesFilter(filter)} and ${isVisible(ids)}`;
  // One statement, so that both parts count the same rows. The second part reads the index of what is blocked.
  const { rows } = await sql<{ status: string | null; count: string }>`
    select e.status, count(*) from ${source} where ${isListed} group by e.status
    union all
    select null, count(*) from ${source} where ${isListed} and ${isExecutionBlocked}`.execute(db);
  const counts: Record<string, number> = {};
  let blocked = 0;
  let total = 0;
  for (const { status, count } of rows) {
    if (status === null) blocked = Number(count);
    else {
      counts[status] = Number(count);
      total += Number(count);
    }
  }
  return { counts, blocked, total };
}
