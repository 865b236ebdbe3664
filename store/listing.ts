import { type Selectable, sql } from 'kysely';
import type { Db, DbOrTransaction } from './database.js';
import { EXECUTION_FILTER } from '../domain/executions/filter.js';
import type { FilterFields, FilterTerm } from '../domain/filters/filter.js';
import { RUN_FILTER } from '../domain/runs/filter.js';
import { EXECUTION_COLUMNS, filterCondition, RUN_COLUMNS, runStatus, runType } from './filters.js';
import { type Visible, toVisibleIds } from './resources.js';
import type { ExecutionsTable, InstrumentsTable, RunsTable } from './schema.js';

export type RunRow = Selectable<RunsTable> & {
  bucket: string;
  prefix: string;
  status: string;
  type: 'sequencing' | 'multiomics';
};
/** Without what is large and seldom asked for. */
export type ExecutionRow = Omit<Selectable<ExecutionsTable>, 'files' | 'manifest_text' | 'start_request'> & {
  has_manifest_text: boolean;
  flow_name: string;
  run_name: string;
  instrument_name: string;
  kit: string | null;
  run_type: string | null;
  region: string;
  account_id: string | null;
};

/** What a list is narrowed to. */
export interface Narrowed {
  /** Those that the caller may see. */
  ids?: Visible;
  filter?: readonly FilterTerm[];
}
const keywordsOf = (fields: FilterFields): string[] =>
  Object.keys(fields).filter((name) => fields[name]!.kind === 'string');
const RUN_STRINGS = keywordsOf(RUN_FILTER);
const EXECUTION_STRINGS = keywordsOf(EXECUTION_FILTER);
const runCondition = (filter: readonly FilterTerm[] = []) => filterCondition(filter, RUN_COLUMNS, RUN_STRINGS);
const executionCondition = (filter: readonly FilterTerm[] = []) =>
  filterCondition(filter, EXECUTION_COLUMNS, EXECUTION_STRINGS);

/** Where a page lies: behind or before an id, newest first. */
export interface Slice {
  limit: number;
  after?: string;
  before?: string;
}

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
export async function listRuns(db: Db, slice: Slice, { ids = 'all', filter }: Narrowed = {}): Promise<RunRow[]> {
  let query = runQuery(db).where(runCondition(filter)).limit(slice.limit);
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('r.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('r.id', '>', slice.before);
  return query.orderBy('r.id', slice.before === undefined ? 'desc' : 'asc').execute();
}
export async function countRuns(db: Db, { ids = 'all', filter }: Narrowed = {}): Promise<number> {
  let query = db
    .selectFrom('runs as r')
    .select((e) => e.fn.countAll().as('count'))
    .where(runCondition(filter));
  if (ids !== 'all') query = query.where('r.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}

/** A run, locked: an upload that ends at this moment either is seen by the caller or sees what the caller writes. */
export async function lockRun(db: DbOrTransaction, id: string): Promise<Selectable<RunsTable> | undefined> {
  return db.selectFrom('runs').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

function executionQuery(db: DbOrTransaction) {
  return db
    .selectFrom('executions as e')
    .innerJoin('flows as f', 'f.id', 'e.flow_id')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .innerJoin('compute_connections as c', 'c.id', 'e.compute_connection_id')
    .innerJoin('providers as p', 'p.id', 'c.provider_id')
    .select([
      'e.id',
      'e.name',
      'e.flow_id',
      'e.run_id',
      'e.compute_connection_id',
      'e.storage_connection_id',
      'e.trigger',
      'e.started_by',
      'e.status',
      'e.status_description',
      'e.blocked',
      'e.start_state',
      'e.workflow_name',
      'e.parameters',
      'e.output_uri',
      'e.healthomics_run_id',
      'e.healthomics_run_uuid',
      'e.healthomics_run_arn',
      'e.run_output_uri',
      'e.healthomics_status',
      'e.cancel_requested_by',
      'e.cancel_reason',
      'e.time_cancel_requested',
      'e.cancel_signalled',
      'e.attempt',
      'e.own_parameters',
      'e.manifest_uri',
      'e.manifest_report',
      'e.relaunch_of',
      'e.adoptions',
      'e.summary',
      'e.error_type',
      'e.error_message',
      'e.workflow_started',
      'e.time_created',
      'e.time_started',
      'e.time_completed',
      'e.time_updated',
    ])
    .select(sql<boolean>`e.manifest_text is not null`.as('has_manifest_text'))
    .select(['f.name as flow_name', 'r.run_name', 'r.instrument_name', 'c.region', 'p.account_id'])
    .select([
      sql<string | null>`r.run_parameters->>'kitConfiguration'`.as('kit'),
      sql<string | null>`r.run_parameters->>'runType'`.as('run_type'),
    ]);
}
/** An execution with what it is shown with; undefined when there is none. */
export async function getExecution(db: DbOrTransaction, id: string): Promise<ExecutionRow | undefined> {
  return executionQuery(db).where('e.id', '=', id).executeTakeFirst();
}
/** Executions, newest first; before an id they come nearest first. */
export async function listExecutions(
  db: Db,
  slice: Slice,
  { ids = 'all', filter }: Narrowed = {},
): Promise<ExecutionRow[]> {
  let query = executionQuery(db).where(executionCondition(filter)).limit(slice.limit);
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('e.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('e.id', '>', slice.before);
  return query.orderBy('e.id', slice.before === undefined ? 'desc' : 'asc').execute();
}
export async function countExecutions(db: Db, { ids = 'all', filter }: Narrowed = {}): Promise<number> {
  let query = db
    .selectFrom('executions as e')
    .innerJoin('flows as f', 'f.id', 'e.flow_id')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .select((e) => e.fn.countAll().as('count'))
    .where(executionCondition(filter));
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}

export type InstrumentRow = Selectable<InstrumentsTable>;
/** Instruments by serial number, behind one. */
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
