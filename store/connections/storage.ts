import { type Selectable, sql } from 'kysely';
import { prefixesOverlap } from '../../domain/aws.js';
import { type Db, type DbOrTransaction, newId } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { StorageConnectionsTable } from '../schema.js';

export type StorageConnectionRow = Selectable<StorageConnectionsTable>;

export async function findStorageConnection(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<StorageConnectionRow | undefined> {
  let query = db.selectFrom('storage_connections').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  return query.executeTakeFirst();
}

/** @param forUpload only those that instruments can upload to: not those that verification has found broken. */
export async function listStorageConnections(
  db: Db,
  limit: number,
  after?: string,
  ids: Visible = 'all',
  forUpload = false,
): Promise<StorageConnectionRow[]> {
  let query = db.selectFrom('storage_connections').selectAll().where('time_deleted', 'is', null);
  if (forUpload) query = query.where('use_for_run_upload', '=', true).where('status', '!=', 'FAILED');
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** The connections in a bucket. */
export async function listStorageConnectionsInBucket(
  db: DbOrTransaction,
  bucket: string,
): Promise<StorageConnectionRow[]> {
  return db
    .selectFrom('storage_connections')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
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
): Promise<StorageConnectionRow | undefined> {
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
): Promise<StorageConnectionRow> {
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
): Promise<StorageConnectionRow> {
  return db
    .updateTable('storage_connections')
    .set({ ...storageColumns(fields), time_updated: new Date() })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}
