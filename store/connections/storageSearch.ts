import type { Selectable } from 'kysely';
import type { DbOrTransaction } from '../database.js';
import type { StorageConnectionsTable } from '../schema.js';

/** A storage connection whose run folders are searched for. */
export type SearchedStorage = Selectable<StorageConnectionsTable>;

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

/** The storage connections that need a schedule for their search. */
export async function listStorageToSearch(db: DbOrTransaction): Promise<{ id: string; name: string }[]> {
  return db
    .selectFrom('storage_connections')
    .select(['id', 'name'])
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

/** Records that the search succeeded just now. */
export async function markSearched(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('storage_connections').set({ time_used: new Date() }).where('id', '=', id).execute();
}
