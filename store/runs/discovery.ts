import { sql } from 'kysely';
import { type DbOrTransaction, newId } from '../database.js';
import type { UploadState } from '../schema.js';

/** What the search for runs needs to know of a run. */
export interface KnownRun {
  id: string;
  runName: string;
  uploadState: UploadState;
}

/** The known runs among these run folders, by folder. */
export async function findKnownRuns(
  db: DbOrTransaction,
  storageConnectionId: string,
  parentPath: string,
  folders: readonly string[],
): Promise<Map<string, KnownRun>> {
  if (folders.length === 0) return new Map();
  const rows = await db
    .selectFrom('runs')
    .select(['id', 'run_folder', 'run_name', 'upload_state'])
    .where('storage_connection_id', '=', storageConnectionId)
    .where('parent_path', '=', parentPath)
    // One parameter for all of them: to compile and bind a thousand takes longer than to find the runs.
    .where(sql<boolean>`run_folder = any(${[...folders]}::text[])`)
    .execute();
  return new Map(
    rows.map((row) => [row.run_folder, { id: row.id, runName: row.run_name, uploadState: row.upload_state }]),
  );
}

/**
 * Of these run folders, those that a search has to do something about: folders that are not known, or that had vanished
 * (undefined), and those whose upload has not ended. Nothing comes back for most folders.
 */
export async function findUnsettledRuns(
  db: DbOrTransaction,
  storageConnectionId: string,
  parentPath: string,
  folders: readonly string[],
): Promise<Map<string, KnownRun | undefined>> {
  const { rows } = await sql<{ folder: string; id: string | null; run_name: string; upload_state: UploadState }>`
    select folder, runs.id, runs.run_name, runs.upload_state
    from unnest(${[...folders]}::text[]) as folder
    left join runs on runs.storage_connection_id = ${storageConnectionId} and runs.parent_path = ${parentPath}
      and runs.run_folder = folder
    where runs.id is null or runs.upload_state in ('vanished', 'uploading')`.execute(db);
  return new Map(
    rows.map(({ folder, id, run_name: runName, upload_state: uploadState }) => [
      folder,
      id === null || uploadState === 'vanished' ? undefined : { id, runName, uploadState },
    ]),
  );
}

/**
 * Inserts new runs.
 * @returns the inserted runs by folder, without those that another process inserted at the same time
 */
export async function insertRuns(
  db: DbOrTransaction,
  storageConnectionId: string,
  parentPath: string,
  instrument: string,
  runs: readonly { folder: string; runName: string }[],
  discovered = true,
): Promise<Map<string, KnownRun>> {
  if (runs.length === 0) return new Map();
  const rows = await db
    .insertInto('runs')
    .values(
      runs.map((run) => ({
        id: newId(),
        storage_connection_id: storageConnectionId,
        instrument_name: instrument,
        parent_path: parentPath,
        discovered,
        run_folder: run.folder,
        run_name: run.runName,
        upload_description: 'Seen in the bucket; waiting for RunUploaded.json',
      })),
    )
    .onConflict((conflict) => conflict.columns(['storage_connection_id', 'parent_path', 'run_folder']).doNothing())
    .returning(['id', 'run_folder', 'run_name', 'upload_state'])
    .execute();
  return new Map(
    rows.map((row) => [row.run_folder, { id: row.id, runName: row.run_name, uploadState: row.upload_state }]),
  );
}

/**
 * Runs that a person registered and that are still uploading, as inputs of the workflow. The search does not find
 * them.
 */
export async function listRegisteredRuns(db: DbOrTransaction, createdBefore: Date) {
  const rows = await db
    .selectFrom('runs as r')
    .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
    .select([
      'r.id',
      'r.storage_connection_id',
      's.name',
      'r.instrument_name',
      'r.parent_path',
      'r.run_folder',
      'r.run_name',
      's.bucket',
      's.prefix',
      's.region',
    ])
    .where('r.discovered', '=', false)
    .where('r.upload_state', '=', 'uploading')
    .where('r.time_created', '<', createdBefore)
    .limit(500)
    .execute();
  return rows.map((row) => ({
    runId: row.id,
    storageConnectionId: row.storage_connection_id,
    storageConnectionName: row.name,
    instrumentName: row.instrument_name,
    parentPath: row.parent_path,
    runFolder: row.run_folder,
    runName: row.run_name,
    bucket: { bucket: row.bucket, prefix: row.prefix, region: row.region },
  }));
}
