import { type Selectable, sql } from 'kysely';
import { prefixesOverlap } from '../../domain/connections/storage.js';
import { type Db, type DbOrTransaction, newId } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { StorageConnectionsTable } from '../schema.js';

export type StorageConnectionRow = Selectable<StorageConnectionsTable>;

/** A storage connection that is not deleted. @param lock locks the row; see `findProvider` */
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

/**
 * A page of storage connections, oldest first.
 * @param forUpload lists only those that instruments can upload to. Verification has found no failure in them.
 */
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

/** The storage connections in a bucket. */
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
 * Another connection for run upload whose folder contains this one or is contained in it. Polony would discover its
 * runs twice. Locks the bucket until the transaction ends, so that two new connections wait for each other.
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

/** Whether polony has ever seen a run in a storage connection. */
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
  /** Number of folders between the prefix and the instruments' folders. Left out: 0. */
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

/** Inserts a storage connection. */
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

/** Replaces the fields of a storage connection. */
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
