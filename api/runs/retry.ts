import type { FastifyBaseLogger } from 'fastify';
import { findStorageConnection } from '../../store/connections/storage.js';
import type { RunRow } from '../../store/runs/list.js';
import { reopenRun } from '../../store/runs/update.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTemporalErrors } from '../errors.js';

/**
 * Checks the upload of a run now. If no workflow follows the upload any more, one starts.
 * @throws ApiError 409 when the upload is complete or the storage connection was deleted; 503
 */
export async function retryRun(
  { db, orchestrator }: Pick<ApiDependencies, 'db' | 'orchestrator'>,
  log: FastifyBaseLogger,
  run: RunRow,
): Promise<void> {
  if (run.upload_state === 'complete' && run.checked === 'content')
    throw new ApiError(
      409,
      'UPLOAD_ENDED',
      `The upload of this run has ended, so there is nothing to check again: ${run.upload_description}`,
    );
  const { storage_connection_id: storageConnectionId, parent_path: parentPath, run_folder: runFolder } = run;
  await reopenRun(db, run.id, true);
  const signal =
    run.blocked === null
      ? orchestrator.lookAtRunUpload(storageConnectionId, parentPath, runFolder)
      : orchestrator.retryRunUpload(storageConnectionId, parentPath, runFolder);
  const isFollowed = await withTemporalErrors(log, signal);
  if (!isFollowed) await followUpload({ db, orchestrator }, log, run);
}

async function followUpload(
  { db, orchestrator }: Pick<ApiDependencies, 'db' | 'orchestrator'>,
  log: FastifyBaseLogger,
  run: RunRow,
): Promise<void> {
  const storage = await findStorageConnection(db, run.storage_connection_id);
  if (storage === undefined)
    throw new ApiError(
      409,
      'STORAGE_CONNECTION_DELETED',
      'The storage connection of the run was deleted, so polony cannot check the upload. ' +
        'Create a storage connection for the bucket again',
    );
  await withTemporalErrors(
    log,
    orchestrator.startRunUpload({
      runId: run.id,
      storageConnectionId: storage.id,
      storageConnectionName: storage.name,
      instrumentName: run.instrument_name,
      parentPath: run.parent_path,
      runFolder: run.run_folder,
      runName: run.run_name,
    }),
  );
}
