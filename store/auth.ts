import { type Selectable, sql } from 'kysely';
import type { IdentifiedResource } from '../domain/auth/scopes.js';
import { type Db, type DbOrTransaction, type DbTransaction, isId } from './database.js';
import type { ApiKeysTable } from './schema.js';

export type ApiKeyRow = Selectable<ApiKeysTable>;

/** A new key. Polony stores only the SHA-256 of its secret. */
export interface NewApiKey {
  id: string;
  name: string;
  hash: Buffer;
  scopes: string[];
  createdBy: { id: string; name: string };
  timeExpires: Date;
}

/** Inserts a key. The unique index `api_keys_name` rejects the name of another key that is not revoked. */
export async function insertApiKey(db: DbOrTransaction, key: NewApiKey): Promise<ApiKeyRow> {
  return db
    .insertInto('api_keys')
    .values({
      id: key.id,
      name: key.name,
      hash: key.hash,
      scopes: JSON.stringify(key.scopes),
      created_by: key.createdBy.name,
      created_by_id: key.createdBy.id,
      time_expires: key.timeExpires,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Revokes the expired key with this name, so that a new key can have the name. */
export async function releaseExpiredKeyName(db: DbOrTransaction, name: string): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ time_revoked: sql`time_expires`, revoked_by: 'expiry' })
    .where('name', '=', name)
    .where('time_revoked', 'is', null)
    .where('time_expires', '<=', new Date())
    .execute();
}

/** The tables of resources that scopes name; whether deleted rows stay in them. */
const SCOPE_TABLES: Record<IdentifiedResource, { table: string; keepsDeleted: boolean }> = {
  runs: { table: 'runs', keepsDeleted: false },
  executions: { table: 'executions', keepsDeleted: false },
  storage: { table: 'storage_connections', keepsDeleted: true },
  providers: { table: 'providers', keepsDeleted: true },
  compute: { table: 'compute_connections', keepsDeleted: true },
  flows: { table: 'flows', keepsDeleted: true },
  webhooks: { table: 'webhooks', keepsDeleted: false },
};

/** Which of these ids exist among the resources of a kind. Texts that are no ids never do. */
export async function listExistingIds(
  db: DbOrTransaction,
  resource: IdentifiedResource,
  ids: readonly string[],
): Promise<Set<string>> {
  const wanted = ids.filter(isId);
  if (wanted.length === 0) return new Set();
  const { table, keepsDeleted } = SCOPE_TABLES[resource];
  const alive = keepsDeleted ? sql`and time_deleted is null` : sql``;
  const { rows } = await sql<{ id: string }>`
    select id::text from ${sql.table(table)} where id in (${sql.join(wanted)}) ${alive}`.execute(db);
  return new Set(rows.map(({ id }) => id));
}

/** A key that is not deleted; undefined where there is no such key. */
export async function findApiKey(db: DbOrTransaction, id: string): Promise<ApiKeyRow | undefined> {
  return db
    .selectFrom('api_keys')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted', 'is', null)
    .executeTakeFirst();
}

/** A page of keys, oldest first. */
export async function listApiKeys(db: Db, limit: number, after?: string): Promise<ApiKeyRow[]> {
  let query = db.selectFrom('api_keys').selectAll().where('time_deleted', 'is', null);
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** Revokes a key at once. A repeated call changes nothing. @param forget also removes the key from lists */
export async function revokeApiKey(
  db: DbOrTransaction,
  id: string,
  by: { id: string; name: string },
  forget: boolean,
): Promise<ApiKeyRow | undefined> {
  return db
    .updateTable('api_keys')
    .set({
      time_revoked: sql`coalesce(time_revoked, now())`,
      revoked_by: sql`coalesce(revoked_by, ${by.name})`,
      // Together with the name: the first one who revoked the key counts.
      revoked_by_id: sql`case when revoked_by is null then ${by.id} else revoked_by_id end`,
      ...(forget && { time_deleted: new Date() }),
    })
    .where('id', '=', id)
    .where('time_deleted', 'is', null)
    .returningAll()
    .executeTakeFirst();
}

/** A key that is not deleted, locked until the transaction ends; undefined where there is no such key. */
export async function lockApiKey(transaction: DbTransaction, id: string): Promise<ApiKeyRow | undefined> {
  return transaction
    .selectFrom('api_keys')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted', 'is', null)
    .forUpdate()
    .executeTakeFirst();
}

/**
 * Gives a key another name, so that its successor can have its own, and an earlier end.
 * @param timeExpires the key ends at the earlier one of this time and its own end
 */
export async function retireApiKey(
  transaction: DbTransaction,
  id: string,
  { name, timeExpires }: { name: string; timeExpires: Date },
): Promise<ApiKeyRow> {
  return transaction
    .updateTable('api_keys')
    .set({ name, time_expires: sql<Date>`least(time_expires, ${timeExpires})` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Which of these callers are revoked or deleted keys. Other callers have no UUIDs as ids. */
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

/** Records that a key was used now. Call it at most once a minute for each key, so that not every request writes. */
export async function recordKeyUse(db: Db, id: string): Promise<void> {
  await db.updateTable('api_keys').set({ time_used: new Date() }).where('id', '=', id).execute();
}
