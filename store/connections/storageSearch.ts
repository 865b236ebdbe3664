import { sql, type Selectable } from 'kysely';
import type { DbOrTransaction } from '../database.js';
import type { StorageConnectionsTable } from '../schema.js';

/** A storage connection whose run folders are searched for. */
export type SearchedStorage = Selectable<StorageConnectionsTable>;

/** The channel on which the API announces that a storage connection is new, gone or another one. */
export const SEARCHES_CHANNEL = 'polony_searches';

/** Lets the worker that searches for runs read the storage connections again. */
export async function announceStorageChange(db: DbOrTransaction): Promise<void> {
  await sql`select pg_notify(${SEARCHES_CHANNEL}, '')`.execute(db);
}

/** The storage connection; undefined where it is unknown, deleted or not used for run upload. */
export async function findStorageToSearch(db: DbOrTransaction, id: string): Promise<SearchedStorage | undefined> {
  return db
    .selectFrom('storage_connections')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted', 'is', null)
    .where('use_for_run_upload', '=', true)
    .executeTakeFirst();
}

/** The storage connections that are searched for runs. */
export async function listStorageToSearch(db: DbOrTransaction): Promise<SearchedStorage[]> {
  return db
    .selectFrom('storage_connections')
    .selectAll()
    .where('use_for_run_upload', '=', true)
    .where('time_deleted', 'is', null)
    .execute();
}

/** Records that the search failed, and why. */
export async function markSearchFailed(db: DbOrTransaction, id: string, description: string): Promise<void> {
  await db
    .updateTable('storage_connections')
    .set({ status: 'FAILED', status_description: description })
    .where('id', '=', id)
    .execute();
}

/** Records when searches succeeded, by storage connection. */
export async function markSearched(db: DbOrTransaction, searched: ReadonlyMap<string, Date>): Promise<void> {
  if (searched.size === 0) return;
  await sql`
    update storage_connections as s set time_used = searched.at
    from unnest(${[...searched.keys()]}::uuid[], ${[...searched.values()]}::timestamptz[]) as searched (id, at)
    where s.id = searched.id and (s.time_used is null or s.time_used < searched.at)`.execute(db);
}
