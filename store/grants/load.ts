import { type Selectable, sql } from 'kysely';
import type { Grant } from '../../domain/grants/bucketPolicy.js';
import type { Db, DbOrTransaction } from '../database.js';
import type { AccessGrantsTable } from '../schema.js';

export type GrantRow = Selectable<AccessGrantsTable>;

/** The members of a grant that its policy statements depend on. */
export function toGrant(row: GrantRow): Grant {
  return {
    id: row.id,
    bucket: row.bucket,
    partition: row.partition,
    principal: row.principal,
    folder: row.folder,
    expires: row.time_expires,
  };
}

/** A grant that is not removed. @param lock locks the row, so that two changes wait for each other */
export async function findGrant(db: DbOrTransaction, id: string, lock = false): Promise<GrantRow | undefined> {
  const query = db.selectFrom('access_grants').selectAll().where('id', '=', id).where('state', '!=', 'removed');
  return (lock ? query.forUpdate() : query).executeTakeFirst();
}

/**
 * Loads a grant whose id is known to exist, including one that was removed. Use `findGrant` for grants that are still
 * there.
 */
export async function loadGrant(db: DbOrTransaction, id: string): Promise<GrantRow> {
  return db.selectFrom('access_grants').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

/** Which bucket a grant is for; undefined where there is no such grant. Removed grants count. */
export async function findBucketOfGrant(db: DbOrTransaction, grantId: string): Promise<string | undefined> {
  const row = await db.selectFrom('access_grants').select('bucket').where('id', '=', grantId).executeTakeFirst();
  return row?.bucket;
}

/** The grant of the same folder to the same principal, under any storage connection of the bucket. Locks its row. */
export async function findSameGrant(
  db: DbOrTransaction,
  bucket: string,
  principal: string,
  folder: string | null,
): Promise<GrantRow | undefined> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('principal', '=', principal)
    .where('folder', 'is not distinct from', folder)
    .where('state', 'not in', ['expired', 'removed'])
    .forUpdate()
    .executeTakeFirst();
}

/**
 * A page of a storage connection's grants, oldest first.
 * @param folder lists only the grants of this folder and of folders in it; null for all grants.
 */
export async function listGrantsOfConnection(
  db: Db,
  storageConnectionId: string,
  folder: string | null,
  limit: number,
  after?: string,
): Promise<GrantRow[]> {
  let query = db
    .selectFrom('access_grants')
    .selectAll()
    .where('storage_connection_id', '=', storageConnectionId)
    .where('state', '!=', 'removed');
  if (folder !== null) query = query.where(sql<boolean>`starts_with(folder, ${folder})`);
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** All grants that the policy of a bucket may contain. They are few, because policies are small. */
export async function listGrantsOfBucket(db: DbOrTransaction, bucket: string): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('state', 'not in', ['expired', 'removed'])
    .orderBy('id')
    .execute();
}

/** Grants of a bucket that polony added or removed after a time. */
export async function listGrantsChangedSince(db: DbOrTransaction, bucket: string, since: Date): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('state', 'in', ['active', 'expired', 'removed'])
    .where('time_written', '>', since)
    .execute();
}
