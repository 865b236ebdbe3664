import type { Selectable } from 'kysely';
import type { AutoStartFilter, RunSettings } from '../../domain/connections/runSettings.js';
import type { ParameterNames, ParameterValue } from '../../domain/executions/execution.js';
import { type Db, type DbOrTransaction, newId } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { FlowsTable } from '../schema.js';

export type FlowRow = Selectable<FlowsTable> & { storage_connection_ids: string[] };

/** A flow that is not deleted. @param lock locks the row; see `findProvider` */
export async function findFlow(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<FlowRow | undefined> {
  let query = db.selectFrom('flows').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  const flow = await query.executeTakeFirst();
  if (flow === undefined) return undefined;
  const assigned = await db
    .selectFrom('flow_storage_connections')
    .select('storage_connection_id')
    .where('flow_id', '=', id)
    .orderBy('storage_connection_id')
    .execute();
  return { ...flow, storage_connection_ids: assigned.map((row) => row.storage_connection_id) };
}

/** A page of flows that are not deleted and that the caller may see, oldest first. */
export async function listFlows(db: Db, limit: number, after?: string, ids: Visible = 'all'): Promise<FlowRow[]> {
  let query = db.selectFrom('flows').selectAll().where('time_deleted', 'is', null);
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  const flows = await query.orderBy('id').limit(limit).execute();
  if (flows.length === 0) return [];
  const assigned = await db
    .selectFrom('flow_storage_connections')
    .selectAll()
    .where(
      'flow_id',
      'in',
      flows.map((flow) => flow.id),
    )
    .execute();
  return flows.map((flow) => ({
    ...flow,
    storage_connection_ids: assigned
      .filter((row) => row.flow_id === flow.id)
      .map((row) => row.storage_connection_id)
      .sort(),
  }));
}

export interface FlowFields {
  name: string;
  computeConnectionId: string;
  sharedWorkflowId: string;
  workflowOwnerId: string;
  /** The region in the ARN of the share. Null where the user gave only its id. */
  sharedWorkflowRegion: string | null;
  parameterNames: ParameterNames;
  parameters: Record<string, ParameterValue>;
  storageConnectionIds: string[];
  autoStartFilter?: AutoStartFilter;
  runSettings?: RunSettings;
  acceptFailedOutcome?: boolean;
  acceptStoppedOutcome?: boolean;
  acceptUnverified?: boolean;
}

/** Writes a flow and the storage connections that it starts for. Without `id` the flow is new. */
export async function writeFlow(db: DbOrTransaction, fields: FlowFields, id?: string): Promise<FlowRow> {
  const columns = {
    name: fields.name,
    compute_connection_id: fields.computeConnectionId,
    shared_workflow_id: fields.sharedWorkflowId,
    workflow_owner_id: fields.workflowOwnerId,
    shared_workflow_region: fields.sharedWorkflowRegion,
    parameter_names: JSON.stringify(fields.parameterNames),
    parameters: JSON.stringify(fields.parameters),
    auto_start_filter: JSON.stringify(fields.autoStartFilter ?? {}),
    run_settings: JSON.stringify(fields.runSettings ?? {}),
    accept_failed_outcome: fields.acceptFailedOutcome ?? false,
    accept_stopped_outcome: fields.acceptStoppedOutcome ?? false,
    accept_unverified: fields.acceptUnverified ?? true,
  };
  const flow =
    id === undefined
      ? await db
          .insertInto('flows')
          .values({ id: newId(), ...columns })
          .returningAll()
          .executeTakeFirstOrThrow()
      : await db
          .updateTable('flows')
          .set({ ...columns, time_updated: new Date() })
          .where('id', '=', id)
          .returningAll()
          .executeTakeFirstOrThrow();
  await db.deleteFrom('flow_storage_connections').where('flow_id', '=', flow.id).execute();
  if (fields.storageConnectionIds.length > 0) {
    await db
      .insertInto('flow_storage_connections')
      .values(fields.storageConnectionIds.map((storage_connection_id) => ({ flow_id: flow.id, storage_connection_id })))
      .execute();
  }
  return { ...flow, storage_connection_ids: [...fields.storageConnectionIds].sort() };
}

/** The flows that start automatically for runs of a storage connection, if their filters match. */
export async function listAutoStartFlows(
  db: DbOrTransaction,
  storageConnectionId: string,
): Promise<
  {
    id: string;
    name: string;
    computeConnectionId: string;
    filter: AutoStartFilter;
    acceptFailedOutcome: boolean;
    acceptStoppedOutcome: boolean;
    acceptUnverified: boolean;
  }[]
> {
  const rows = await db
    .selectFrom('flow_storage_connections as a')
    .innerJoin('flows as f', 'f.id', 'a.flow_id')
    .select([
      'f.id',
      'f.name',
      'f.compute_connection_id',
      'f.auto_start_filter',
      'f.accept_failed_outcome',
      'f.accept_stopped_outcome',
      'f.accept_unverified',
    ])
    .where('a.storage_connection_id', '=', storageConnectionId)
    .where('f.time_deleted', 'is', null)
    .orderBy('f.id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    computeConnectionId: row.compute_connection_id,
    filter: row.auto_start_filter,
    acceptFailedOutcome: row.accept_failed_outcome,
    acceptStoppedOutcome: row.accept_stopped_outcome,
    acceptUnverified: row.accept_unverified,
  }));
}
