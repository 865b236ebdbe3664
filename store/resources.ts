import type { AutoStartFilter, RunSettings } from '../domain/connections/runSettings.js';
import { sql } from 'kysely';
import { accountOfRole } from '../domain/arn.js';
import { prefixesOverlap } from '../domain/connections/storage.js';
import type { SessionScope } from '../domain/iam/sessionPolicies.js';
import type { ParameterNames, ParameterValue } from '../domain/executions/execution.js';
import { type Db, type DbOrTransaction, newId, isId } from './database.js';
import type { ComputeConnectionsTable, FlowsTable, ProvidersTable, StorageConnectionsTable } from './schema.js';
import type { Selectable } from 'kysely';
import type { SealedSecret } from './secrets.js';

export type Provider = Selectable<ProvidersTable>;
export type StorageConnection = Selectable<StorageConnectionsTable>;
export type ComputeConnection = Selectable<ComputeConnectionsTable>;
export type Flow = Selectable<FlowsTable> & { storage_connection_ids: string[] };

/** The four resources that a person sets up. Deleted ones stay in their tables, for the history of executions, and are not found here. */
export type ResourceTable = 'providers' | 'storage_connections' | 'compute_connections' | 'flows';

/** Something that uses a resource, so that the resource cannot be deleted. */
export interface Use {
  kind: 'storage connection' | 'compute connection' | 'flow' | 'execution' | 'run' | 'access grant';
  id: string;
  name: string;
}

const ENDED = ['COMPLETED', 'FAILED', 'CANCELED'] as const;
const USES_SHOWN = 20;

/** @param lock whether the row is locked, so that what refers to it and what deletes it wait for each other. */
export async function findProvider(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<Provider | undefined> {
  let query = db.selectFrom('providers').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  return query.executeTakeFirst();
}
export async function findStorageConnection(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<StorageConnection | undefined> {
  let query = db.selectFrom('storage_connections').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  return query.executeTakeFirst();
}
export async function findComputeConnection(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<ComputeConnection | undefined> {
  let query = db.selectFrom('compute_connections').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  return query.executeTakeFirst();
}
export async function findFlow(db: DbOrTransaction, id: string, lock?: 'share' | 'update'): Promise<Flow | undefined> {
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

/** Which resources a caller may see: all, or those of these ids, of which some may be none. */
export type Visible = 'all' | readonly string[];
/** The ids as PostgreSQL takes them; a list of none is no SQL, so one that nothing has stands for it. */
export function toVisibleIds(ids: readonly string[]): string[] {
  const own = ids.filter(isId);
  return own.length === 0 ? ['00000000-0000-0000-0000-000000000000'] : own;
}

/** A page of what is not deleted and the caller may see, oldest first, behind an id. */
export async function listProviders(db: Db, limit: number, after?: string, ids: Visible = 'all'): Promise<Provider[]> {
  let query = db.selectFrom('providers').selectAll().where('time_deleted', 'is', null);
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}
/** @param forUpload only those that instruments can upload to: not those that verification has found broken. */
export async function listStorageConnections(
  db: Db,
  limit: number,
  after?: string,
  ids: Visible = 'all',
  forUpload = false,
): Promise<StorageConnection[]> {
  let query = db.selectFrom('storage_connections').selectAll().where('time_deleted', 'is', null);
  if (forUpload) query = query.where('use_for_run_upload', '=', true).where('status', '!=', 'FAILED');
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}
export async function listComputeConnections(
  db: Db,
  limit: number,
  after?: string,
  ids: Visible = 'all',
): Promise<ComputeConnection[]> {
  let query = db.selectFrom('compute_connections').selectAll().where('time_deleted', 'is', null);
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}
export async function listFlows(db: Db, limit: number, after?: string, ids: Visible = 'all'): Promise<Flow[]> {
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

export interface ProviderFields {
  name: string;
  defaultRegion: string;
  credential:
    | { type: 'role'; roleArn: string; externalId: string }
    | { type: 'accessKeys'; accessKeyId: string; secret: SealedSecret };
}
const providerColumns = ({ name, defaultRegion, credential }: ProviderFields) => ({
  name,
  default_region: defaultRegion,
  credential_type: credential.type,
  ...(credential.type === 'role'
    ? {
        role_arn: credential.roleArn,
        external_id: credential.externalId,
        access_key_id: null,
        secret_sealed: null,
        secret_key_id: null,
        account_id: accountOfRole(credential.roleArn),
      }
    : {
        role_arn: null,
        external_id: null,
        access_key_id: credential.accessKeyId,
        secret_sealed: credential.secret.sealed,
        secret_key_id: credential.secret.keyId,
      }),
});
/** @param id made before, since the secret is bound to it. */
export async function insertProvider(db: DbOrTransaction, id: string, fields: ProviderFields): Promise<Provider> {
  return db
    .insertInto('providers')
    .values({ id, ...providerColumns(fields) })
    .returningAll()
    .executeTakeFirstOrThrow();
}
/** @param changed whether the credential is another one, so that what is known of the old one does not hold. */
export async function updateProvider(
  db: DbOrTransaction,
  id: string,
  fields: ProviderFields,
  changed: boolean,
): Promise<Provider> {
  return db
    .updateTable('providers')
    .set({ ...providerColumns(fields), ...(changed && { session_seconds: null }), time_updated: new Date() })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A provider, deleted or not, with what it is used for; for who makes its sessions. */
export async function loadProviderWithScope(
  db: DbOrTransaction,
  id: string,
): Promise<{ provider: Provider; scope: SessionScope } | undefined> {
  const provider = await db.selectFrom('providers').selectAll().where('id', '=', id).executeTakeFirst();
  if (provider === undefined) return undefined;
  if (provider.credential_type === 'role') return { provider, scope: { folders: [], executionRoleArns: [] } };
  const [folders, roles] = await Promise.all([
    db
      .selectFrom('storage_connections')
      .select(['bucket', 'prefix'])
      .where('provider_id', '=', id)
      .where('time_deleted', 'is', null)
      .execute(),
    db
      .selectFrom('compute_connections')
      .select('execution_role_arn')
      .where('provider_id', '=', id)
      .where('time_deleted', 'is', null)
      .execute(),
  ]);
  return { provider, scope: { folders, executionRoleArns: roles.map((row) => row.execution_role_arn) } };
}

/** Notes that a session of a provider was asked for. */
export async function recordProviderUse(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('providers').set({ time_used: new Date() }).where('id', '=', id).execute();
}

/** Providers whose secret was encrypted with another key than this one. */
export async function listProvidersToReencrypt(
  db: DbOrTransaction,
  keyId: string,
): Promise<{ id: string; name: string }[]> {
  return db
    .selectFrom('providers')
    .select(['id', 'name'])
    .where('secret_key_id', 'is not', null)
    .where('secret_key_id', '!=', keyId)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
}

export interface StorageConnectionFields {
  name: string;
  providerId: string;
  region: string;
  bucket: string;
  prefix: string;
  useForRunUpload: boolean;
  useForDataExploration: boolean;
  allowPolicyProbe: boolean;
  /** Folders between the prefix and the instruments' folders; 0 where absent. */
  runDepth?: number;
}
const storageColumns = (fields: StorageConnectionFields) => ({
  name: fields.name,
  provider_id: fields.providerId,
  region: fields.region,
  bucket: fields.bucket,
  prefix: fields.prefix,
  use_for_run_upload: fields.useForRunUpload,
  use_for_data_exploration: fields.useForDataExploration,
  allow_policy_probe: fields.allowPolicyProbe,
  run_depth: fields.runDepth ?? 0,
});
export async function insertStorageConnection(
  db: DbOrTransaction,
  fields: StorageConnectionFields,
): Promise<StorageConnection> {
  return db
    .insertInto('storage_connections')
    .values({ id: newId(), ...storageColumns(fields) })
    .returningAll()
    .executeTakeFirstOrThrow();
}
export async function updateStorageConnection(
  db: DbOrTransaction,
  id: string,
  fields: StorageConnectionFields,
): Promise<StorageConnection> {
  return db
    .updateTable('storage_connections')
    .set({ ...storageColumns(fields), time_updated: new Date() })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/**
 * Another connection for run upload whose folder is this one, lies in it or holds it: its runs would be discovered twice.
 * Two that are made at the same moment wait for each other by the bucket's lock.
 */
export async function findOverlappingConnection(
  db: DbOrTransaction,
  bucket: string,
  prefix: string,
  exceptId?: string,
): Promise<StorageConnection | undefined> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`bucket/${bucket}`}, 0))`.execute(db);
  let query = db
    .selectFrom('storage_connections')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('use_for_run_upload', '=', true)
    .where('time_deleted', 'is', null);
  if (exceptId !== undefined) query = query.where('id', '!=', exceptId);
  return (await query.execute()).find((other) => prefixesOverlap(other.prefix, prefix));
}

/** The connections in a bucket. */
export async function listStorageConnectionsInBucket(
  db: DbOrTransaction,
  bucket: string,
): Promise<StorageConnection[]> {
  return db
    .selectFrom('storage_connections')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
}

export async function hasRuns(db: DbOrTransaction, storageConnectionId: string): Promise<boolean> {
  return (
    (await db
      .selectFrom('runs')
      .select('id')
      .where('storage_connection_id', '=', storageConnectionId)
      .limit(1)
      .executeTakeFirst()) !== undefined
  );
}

/** The execution roles that compute connections of a provider use. */
export async function listExecutionRoles(
  db: DbOrTransaction,
  providerId: string,
): Promise<{ id: string; name: string; execution_role_arn: string }[]> {
  return db
    .selectFrom('compute_connections')
    .select(['id', 'name', 'execution_role_arn'])
    .where('provider_id', '=', providerId)
    .where('time_deleted', 'is', null)
    .execute();
}

export interface ComputeConnectionFields {
  name: string;
  providerId: string;
  executionRoleArn: string;
  region: string;
}
export async function insertComputeConnection(
  db: DbOrTransaction,
  fields: ComputeConnectionFields,
): Promise<ComputeConnection> {
  return db
    .insertInto('compute_connections')
    .values({
      id: newId(),
      name: fields.name,
      provider_id: fields.providerId,
      execution_role_arn: fields.executionRoleArn,
      region: fields.region,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}
export async function updateComputeConnection(
  db: DbOrTransaction,
  id: string,
  fields: ComputeConnectionFields,
): Promise<ComputeConnection> {
  return db
    .updateTable('compute_connections')
    .set({
      name: fields.name,
      provider_id: fields.providerId,
      execution_role_arn: fields.executionRoleArn,
      region: fields.region,
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export interface FlowFields {
  name: string;
  computeConnectionId: string;
  sharedWorkflowId: string;
  workflowOwnerId: string;
  /** Of the share's ARN, where that was given. */
  sharedWorkflowRegion: string | null;
  parameterNames: ParameterNames;
  parameters: Record<string, ParameterValue>;
  storageConnectionIds: string[];
  autoStartFilter?: AutoStartFilter;
  runSettings?: RunSettings;
  acceptFailedOutcome?: boolean;
  acceptUnverified?: boolean;
}
/** Writes a flow and what it starts for; a new one where `id` is absent. */
export async function writeFlow(db: DbOrTransaction, fields: FlowFields, id?: string): Promise<Flow> {
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

/** What uses a resource now: things that are not deleted, executions that have not ended, runs that are uploading. */
export async function listUses(db: DbOrTransaction, table: ResourceTable, id: string): Promise<Use[]> {
  const uses: Use[] = [];
  const add = (kind: Use['kind'], rows: { id: string; name: string }[]): void => {
    for (const row of rows) uses.push({ kind, ...row });
  };
  if (table === 'providers') {
    add(
      'storage connection',
      await db
        .selectFrom('storage_connections')
        .select(['id', 'name'])
        .where('provider_id', '=', id)
        .where('time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
    add(
      'compute connection',
      await db
        .selectFrom('compute_connections')
        .select(['id', 'name'])
        .where('provider_id', '=', id)
        .where('time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
    return uses;
  }
  if (table === 'storage_connections') {
    add(
      'flow',
      await db
        .selectFrom('flow_storage_connections as a')
        .innerJoin('flows as f', 'f.id', 'a.flow_id')
        .select(['f.id', 'f.name'])
        .where('a.storage_connection_id', '=', id)
        .where('f.time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
    add(
      'run',
      await db
        .selectFrom('runs')
        .select(['id', 'run_folder as name'])
        .where('storage_connection_id', '=', id)
        .where('upload_state', '=', 'uploading')
        .limit(USES_SHOWN)
        .execute(),
    );
    // With the storage connection nobody could take them out of the bucket's policy any more.
    add(
      'access grant',
      await db
        .selectFrom('access_grants')
        .select(['id', 'principal as name'])
        .where('storage_connection_id', '=', id)
        .where('state', 'not in', ['expired', 'removed'])
        .limit(USES_SHOWN)
        .execute(),
    );
  }
  if (table === 'compute_connections')
    add(
      'flow',
      await db
        .selectFrom('flows')
        .select(['id', 'name'])
        .where('compute_connection_id', '=', id)
        .where('time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
  const column =
    table === 'storage_connections'
      ? 'storage_connection_id'
      : table === 'compute_connections'
        ? 'compute_connection_id'
        : 'flow_id';
  add(
    'execution',
    await db
      .selectFrom('executions')
      .select(['id', 'name'])
      .where(column, '=', id)
      .where('status', 'not in', [...ENDED])
      .limit(USES_SHOWN)
      .execute(),
  );
  return uses;
}

export async function markDeleted(db: DbOrTransaction, table: ResourceTable, id: string): Promise<void> {
  await db
    .updateTable(table)
    .set({ time_deleted: new Date(), time_updated: new Date() })
    .where('id', '=', id)
    .execute();
  // A secret is kept no longer than it is needed.
  if (table === 'providers')
    await db
      .updateTable('providers')
      .set({ secret_sealed: '' })
      .where('id', '=', id)
      .where('credential_type', '=', 'accessKeys')
      .execute();
}
