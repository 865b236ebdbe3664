import { type Selectable, sql } from 'kysely';
import { EXECUTION_FILTER, type FilterTerm } from '../../domain/filter.js';
import type { Db, DbOrTransaction } from '../database.js';
import { filterCondition, listTextKeywords } from '../filters.js';
import { type ListOptions, type Slice, toVisibleIds } from '../paging.js';
import type { ExecutionsTable } from '../schema.js';
import { EXECUTION_COLUMNS } from './columns.js';

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

const EXECUTION_STRINGS = listTextKeywords(EXECUTION_FILTER);

const executionCondition = (filter: readonly FilterTerm[] = []) =>
  filterCondition(filter, EXECUTION_COLUMNS, EXECUTION_STRINGS);

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
  { ids = 'all', filter }: ListOptions = {},
): Promise<ExecutionRow[]> {
  let query = executionQuery(db).where(executionCondition(filter)).limit(slice.limit);
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  if (slice.after !== undefined) query = query.where('e.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('e.id', '>', slice.before);
  return query.orderBy('e.id', slice.before === undefined ? 'desc' : 'asc').execute();
}

export async function countExecutions(db: Db, { ids = 'all', filter }: ListOptions = {}): Promise<number> {
  let query = db
    .selectFrom('executions as e')
    .innerJoin('flows as f', 'f.id', 'e.flow_id')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .select((e) => e.fn.countAll().as('count'))
    .where(executionCondition(filter));
  if (ids !== 'all') query = query.where('e.id', 'in', toVisibleIds(ids));
  return Number((await query.executeTakeFirstOrThrow()).count);
}
