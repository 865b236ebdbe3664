import { type Selectable, sql } from 'kysely';
import { type Db, type DbOrTransaction, isId } from './database.js';
import type { ApiKeysTable } from './schema.js';

export type ApiKeyRow = Selectable<ApiKeysTable>;

/** A key as it is made; only the SHA-256 of its secret is kept. */
export interface NewApiKey {
  id: string;
  name: string;
  hash: Buffer;
  scopes: string[];
  createdBy: string;
  timeExpires: Date;
}

/** Writes a key. A name of a key that works cannot be given twice: that is the unique index `api_keys_name`. */
export async function insertApiKey(db: DbOrTransaction, key: NewApiKey): Promise<ApiKeyRow> {
  return db
    .insertInto('api_keys')
    .values({
      id: key.id,
      name: key.name,
      hash: key.hash,
      scopes: JSON.stringify(key.scopes),
      created_by: key.createdBy,
      time_expires: key.timeExpires,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Ends what has expired under a name, so that the name can be given anew. */
export async function releaseExpiredKeyName(db: DbOrTransaction, name: string): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ time_revoked: sql`time_expires`, revoked_by: 'expiry' })
    .where('name', '=', name)
    .where('time_revoked', 'is', null)
    .where('time_expires', '<=', new Date())
    .execute();
}

/** A key that is not deleted; undefined when there is none. */
export async function findApiKey(db: DbOrTransaction, id: string): Promise<ApiKeyRow | undefined> {
  return db
    .selectFrom('api_keys')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted', 'is', null)
    .executeTakeFirst();
}

/** A page of keys, oldest first, behind an id. */
export async function listApiKeys(db: Db, limit: number, after?: string): Promise<ApiKeyRow[]> {
  let query = db.selectFrom('api_keys').selectAll().where('time_deleted', 'is', null);
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** Ends a key at once. Repeated, nothing changes. @param forget whether lists leave it out from now on. */
export async function revokeApiKey(
  db: DbOrTransaction,
  id: string,
  by: string,
  forget: boolean,
): Promise<ApiKeyRow | undefined> {
  return db
    .updateTable('api_keys')
    .set({
      time_revoked: sql`coalesce(time_revoked, now())`,
      revoked_by: sql`coalesce(revoked_by, ${by})`,
      ...(forget && { time_deleted: new Date() }),
    })
    .where('id', '=', id)
    .where('time_deleted', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

/** Which of these callers are keys that were revoked or deleted since; ids of others are no keys' ids. */
export async function findRevokedKeys(db: Db, callerIds: readonly string[]): Promise<Set<string>> {
  const keys = callerIds.filter(isId);
  if (keys.length === 0) return new Set();
  const rows = await db
    .selectFrom('api_keys')
    .select('id')
    .where('id', 'in', keys)
    .where('time_revoked', 'is not', null)
    .execute();
  return new Set(rows.map(({ id }) => id));
}

/** Notes that a key was used; to the minute, so that not every request writes. */
export async function recordKeyUse(db: Db, id: string): Promise<void> {
  await db.updateTable('api_keys').set({ time_used: new Date() }).where('id', '=', id).execute();
}
