import type { Selectable } from 'kysely';
import { type FilterTerm, RUN_FILTER } from '../../domain/filter.js';
import type { Db } from '../database.js';
import { filterCondition, listTextKeywords } from '../filters.js';
import { type ListOptions, type Slice, toVisibleIds } from '../paging.js';
import type { RunsTable } from '../schema.js';
import { RUN_COLUMNS, runStatus, runType } from './columns.js';

export type RunRow = Selectable<RunsTable> & {
  bucket: string;
  prefix: string;
  status: string;
  type: 'sequencing' | 'multiomics';
};

const RUN_STRINGS = listTextKeywords(RUN_FILTER);

const runCondition = (filter: readonly FilterTerm[] = []) => filterCondition(filter, RUN_COLUMNS, RUN_STRINGS);

function runQuery(db: Db) {
  return db
    .selectFrom('runs as r')
    .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
    .selectAll('r')
    .select(['s.bucket', 's.prefix'])
    .select([runStatus.as('status'), runType.as('type')]);
}

/** A run with where it lies; undefined when there is none. */
export async function getRun(db: Db, id: string): Promise<RunRow | undefined> {
  return runQuery(db).where('r.id', '=', id).executeTakeFirst();
}

/** Runs, newest first; before an id they come nearest first. */
export async function listRuns(db: Db, slice: Slice, { ids = 'all', filter }: ListOptions = {}): Promise<RunRow[]> {
  let query = runQuery(db).where(runCondition(filter)).limit(slice.limit);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('r.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('r.id', '>', slice.before);
  return query.orderBy('r.id', slice.before === undefined ? 'desc' : 'asc').execute();
}

export async function countRuns(db: Db, { ids = 'all', filter }: ListOptions = {}): Promise<number> {
  let query = db
    .selectFrom('runs as r')
    .select((e) => e.fn.countAll().as('count'))
    .where(runCondition(filter));
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}
