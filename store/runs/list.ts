import type { FilterTerm } from '../../domain/filters/filter.js';
import { RUN_FILTER } from '../../domain/runs/filter.js';
import type { Db } from '../database.js';
import { filterCondition, listTextKeywords } from '../filters.js';
import { type ListOptions, type Slice, toVisibleIds } from '../paging.js';
import { RUN_COLUMNS } from './columns.js';
import { type RunContext, runQuery, toRunContext } from './load.js';

const TEXT_KEYWORDS = listTextKeywords(RUN_FILTER);
const matchesFilter = (filter: readonly FilterTerm[] = []) => filterCondition(filter, RUN_COLUMNS, TEXT_KEYWORDS);

/** Runs, newest first. Before an id, the nearest come first. */
export async function listRuns(
  db: Db,
  slice: Slice,
  { ids = 'all', filter, onlyBlocked = false }: ListOptions = {},
): Promise<RunContext[]> {
  let query = runQuery(db).where(matchesFilter(filter)).limit(slice.limit);
  if (onlyBlocked) query = query.where('r.blocked', 'is not', null);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
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
  if (onlyBlocked) query = query.where('r.blocked', 'is not', null);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}
