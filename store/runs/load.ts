import type { Selectable } from 'kysely';
import type { UploadProgress } from '../../domain/runs/completeness.js';
import type { RunParameters } from '../../domain/runs/runParameters.js';
import type { RunOutcome } from '../../domain/runs/runUploaded.js';
import type { DbOrTransaction } from '../database.js';
import type { RunsTable, UploadState } from '../schema.js';

/** A run with where it lies and how to get there. */
export interface RunContext {
  id: string;
  storageConnectionId: string;
  instrumentName: string;
  /** Below the prefix, of the folder above the run folder. */
  parentPath: string;
  runFolder: string;
  runName: string;
  uploadState: UploadState;
  description: string;
  outcome: RunOutcome | null;
  checked: 'content' | 'presence';
  /** Since when its files may be listed and not read. */
  timeDenied: Date | null;
  progress: UploadProgress | null;
  discovered: boolean;
  parameters: RunParameters | null;
  storage: {
    name: string;
    providerId: string;
    bucket: string;
    prefix: string;
    region: string;
    deleted: boolean;
    useForRunUpload: boolean;
  };
}

/** A run; undefined when there is none. */
export async function findRun(db: DbOrTransaction, id: string): Promise<RunContext | undefined> {
  const row = await db
    .selectFrom('runs as r')
    .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
    .select([
      'r.id',
      'r.storage_connection_id',
      'r.instrument_name',
      'r.run_folder',
      'r.run_name',
      'r.upload_state',
      'r.upload_description',
      'r.checked',
      'r.time_denied',
      'r.run_parameters',
      'r.parent_path',
      'r.outcome',
      'r.progress',
      'r.discovered',
      's.name as storage_name',
      's.provider_id',
      's.bucket',
      's.prefix',
      's.region',
      's.time_deleted',
      's.use_for_run_upload',
    ])
    .where('r.id', '=', id)
    .executeTakeFirst();
  return (
    row && {
      id: row.id,
      storageConnectionId: row.storage_connection_id,
      instrumentName: row.instrument_name,
      parentPath: row.parent_path,
      runFolder: row.run_folder,
      runName: row.run_name,
      uploadState: row.upload_state,
      description: row.upload_description,
      outcome: row.outcome,
      checked: row.checked,
      timeDenied: row.time_denied,
      progress: row.progress,
      discovered: row.discovered,
      parameters: row.run_parameters,
      storage: {
        name: row.storage_name,
        providerId: row.provider_id,
        bucket: row.bucket,
        prefix: row.prefix,
        region: row.region,
        deleted: row.time_deleted !== null,
        useForRunUpload: row.use_for_run_upload,
      },
    }
  );
}

/** A run, locked: an upload that ends at this moment either is seen by the caller or sees what the caller writes. */
export async function lockRun(db: DbOrTransaction, id: string): Promise<Selectable<RunsTable> | undefined> {
  return db.selectFrom('runs').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}
