import { type Selectable, sql } from 'kysely';
import type { RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import type { Db } from '../database.js';
import { type Slice, toVisibleIds, type Visible } from '../paging.js';
import type { InstrumentsTable } from '../schema.js';
import { runStatus, runType } from './columns.js';

export type InstrumentRow = Selectable<InstrumentsTable>;

/** A page of instruments after a serial number, sorted by it. */
export async function listInstruments(
  db: Db,
  limit: number,
  after?: string,
  serials: Visible = 'all',
): Promise<InstrumentRow[]> {
  let query = db.selectFrom('instruments').selectAll().limit(limit);
  if (serials !== 'all') query = query.where('serial_number', 'in', serials.length === 0 ? [''] : serials);
  if (after !== undefined) query = query.where('serial_number', '>', after);
  return query.orderBy('serial_number').execute();
}

/** What the database knows of the quality of one run. */
export interface MeasuredRun {
  id: string;
  runName: string;
  status: string;
  /** When the instrument started it; where nobody knows, when polony found it. */
  time: Date;
  timeCompleted: Date | null;
  kitConfiguration: string | null;
  polonyDensity: string | null;
  side: string | null;
  softwareVersion: string | null;
  /** Metrics of the instrument go before those of Bases2Fastq. */
  metrics: RunMetrics;
  /** Of the execution that completed last, in percent. */
  percentAssigned: number | null;
}

/**
 * Sequencing runs of an instrument with their metrics, newest first. Before an id, the nearest come first.
 * @param since no earlier start of the run
 * @param until only earlier starts of the run
 * @param ids the runs that the caller may see
 * @param executionIds the executions that the caller may see: the shares of assigned polonies are of them
 */
export async function listMeasuredRuns(
  db: Db,
  serialNumber: string,
  slice: Slice,
  { since, until, ids, executionIds }: { since?: Date; until?: Date; ids: Visible; executionIds: Visible },
): Promise<MeasuredRun[]> {
  const time = sql<Date>`coalesce(r.time_started, r.time_created)`;
  const parameter = (name: string) => sql<string | null>`r.run_parameters->>${sql.lit(name)}`;
  const mayShow = executionIds === 'all' ? sql`true` : sql`e.id = any(${toVisibleIds(executionIds)}::uuid[])`;
  let query = db
    .selectFrom('runs as r')
    .select(['r.id', 'r.run_name as runName', 'r.time_completed as timeCompleted'])
    .select([
      runStatus.as('status'),
      time.as('time'),
      parameter('kitConfiguration').as('kitConfiguration'),
      parameter('polonyDensity').as('polonyDensity'),
      parameter('side').as('side'),
      parameter('platformVersion').as('softwareVersion'),
      sql<RunMetrics>`coalesce(r.metrics, '{}') || coalesce(r.instrument_metrics, '{}')`.as('metrics'),
      sql<number | null>`(
        select (e.summary->>'percentAssignedReads')::float8 from executions e
        where e.run_id = r.id and e.status = 'COMPLETED' and ${mayShow} order by e.id desc limit 1
      )`.as('percentAssigned'),
    ])
    .where('r.instrument_name', '=', serialNumber)
    .where(sql<boolean>`(${runType}) = 'sequencing'`)
    .limit(slice.limit);
  if (since !== undefined) query = query.where(time, '>=', since);
  if (until !== undefined) query = query.where(time, '<', until);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('r.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('r.id', '>', slice.before);
  return query.orderBy('r.id', slice.before === undefined ? 'desc' : 'asc').execute();
}
