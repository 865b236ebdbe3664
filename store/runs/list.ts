import { sql } from 'kysely';
import type { FilterTerm } from '../../domain/filters/filter.js';
import { RUN_FILTER, RUN_ORDER } from '../../domain/runs/filter.js';
import type { Db } from '../database.js';
import { filterCondition, listTextKeywords } from '../filters.js';
import { type Listed, type ListOptions, type Slice, toVisibleIds } from '../paging.js';
import { folded, knownTime, type SortColumns, sortingOf } from '../sorting.js';
import { acceptedRunStatus, isRunBlocked, isStalled, knownMetric, RUN_COLUMNS, runStatus } from './columns.js';
import { type RunContext, runQuery, toRunContext } from './load.js';

const TEXT_KEYWORDS = listTextKeywords(RUN_FILTER);
const matchesFilter = (filter: readonly FilterTerm[] = []) => filterCondition(filter, RUN_COLUMNS, TEXT_KEYWORDS);

/** What the keywords that sort runs `r` sort by. */
const SORT_COLUMNS: SortColumns<typeof RUN_ORDER> = {
  time_created: sql`r.time_created`,
  time_started: knownTime(sql`r.time_started`),
  time_completed: knownTime(sql`r.time_completed`),
  time_updated: sql`r.time_updated`,
  name: folded(sql`r.run_name`),
  'instrument.name': folded(sql`r.instrument_name`),
  status: runStatus,
  'metrics.sequencing.total_yield': knownMetric('totalYield'),
  'metrics.sequencing.q30': knownMetric('q30'),
};

/** Runs in an order, by default newest first. Before a position, the nearest come first. */
export async function listRuns(
  db: Db,
  slice: Slice,
  { ids = 'all', filter, onlyBlocked = false, order }: ListOptions<keyof typeof RUN_ORDER> = {},
): Promise<Listed<RunContext>[]> {
  let query = runQuery(db).where(matchesFilter(filter)).limit(slice.limit);
  if (onlyBlocked) query = query.where(isRunBlocked);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  if (order !== undefined) {
    const settings = { columns: SORT_COLUMNS, fields: RUN_ORDER, id: sql`r.id` };
    const { key, isInSlice, orderBy } = sortingOf<typeof RUN_ORDER>(order, slice, settings);
    const sorted = await query.select(key.as('sort_key')).where(isInSlice).orderBy(orderBy).execute();
    return sorted.map((row) => ({ ...toRunContext(row), sortKey: row.sort_key }));
  }
  if (slice.after !== undefined) query = query.where('r.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('r.id', '>', slice.before);
  const rows = await query.orderBy('r.id', slice.before === undefined ? 'desc' : 'asc').execute();
  return rows.map(toRunContext);
}

/** How many runs {@link listRuns} lists on all pages. */
export async function countRuns(
  db: Db,
  { ids = 'all', filter, onlyBlocked = false }: ListOptions = {},
): Promise<number> {
  let query = db
    .selectFrom('runs as r')
    .select((e) => e.fn.countAll().as('count'))
    .where(matchesFilter(filter));
  if (onlyBlocked) query = query.where(isRunBlocked);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}

/** How many runs have each status, in the spelling of the API without `RUN_STATUS_`. Statuses that none has are absent. */
export interface RunCounts {
  counts: Record<string, number>;
  blocked: number;
  stalled: number;
  total: number;
}

/** Counts the runs that {@link listRuns} lists on all pages, by status. */
export async function countRunsByStatus(db: Db, { ids = 'all', filter = [] }: ListOptions = {}): Promise<RunCounts> {
  if (filter.length === 0 && ids === 'all') return countAllRuns(db);
  let query = db
    .selectFrom('runs as r')
    .select(runStatus.as('status'))
    .select([
      sql<string>`count(*)`.as('count'),
      sql<string>`count(*) filter (where ${isRunBlocked})`.as('blocked'),
      sql<string>`count(*) filter (where ${isStalled})`.as('stalled'),
    ])
    .where(matchesFilter(filter))
    .groupBy(sql`1`);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  const rows = await query.execute();
  const sum = (member: 'count' | 'blocked' | 'stalled'): number =>
    rows.reduce((total, row) => total + Number(row[member]), 0);
  return {
    counts: Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)])),
    blocked: sum('blocked'),
    stalled: sum('stalled'),
    total: sum('count'),
  };
}

/** Counts all runs from indexes, without reading the runs. Only of refused ones, the status needs RunParameters.json. */
async function countAllRuns(db: Db): Promise<RunCounts> {
  // One statement, so that all parts count the same rows.
  const { rows } = await sql<{ part: 'status' | 'blocked' | 'stalled'; status: string | null; count: string }>`
    select 'status' as part, ${acceptedRunStatus} as status, count(*) from runs r
      where r.upload_state <> 'refused' group by r.upload_state, r.checked, r.outcome
    union all
    select 'status', ${runStatus}, count(*) from runs r where r.upload_state = 'refused' group by 2
    union all
    select 'blocked', null, count(*) from runs r where ${isRunBlocked}
    union all
    select 'stalled', null, count(*) from runs r where ${isStalled}`.execute(db);
  const result: RunCounts = { counts: {}, blocked: 0, stalled: 0, total: 0 };
  for (const { part, status, count } of rows) {
    if (part !== 'status') result[part] = Number(count);
    else {
      result.counts[status!] = (result.counts[status!] ?? 0) + Number(count);
      result.total += Number(count);
    }
  }
  return result;
}
