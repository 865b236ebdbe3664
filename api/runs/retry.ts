import type { FastifyBaseLogger } from 'fastify';
import { findStorageConnection } from '../../store/connections/storage.js';
import type { RunContext } from '../../store/runs/load.js';
import { reopenRun } from '../../store/runs/update.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTemporalErrors } from '../errors.js';

/**
 * Checks the upload of a run now. If no workflow follows the upload any more, one starts.
 * @throws ApiError 409 when the upload is complete and did not fail, or the storage connection was deleted; 503
 */
export async function retryRun(
  { db, orchestrator }: Pick<ApiDependencies, 'db' | 'orchestrator'>,
  log: FastifyBaseLogger,
  run: RunContext,
): Promise<void> {
  if (run.uploadState === 'complete' && run.checked === 'content' && run.outcome !== 'failed')
    throw new ApiError(
      409,
      'UPLOAD_ENDED',
      `The upload of this run has ended, so there is nothing to check again: ${run.description}`,
    );
  const storage = await findStorageConnection(db, run.storageConnectionId);
  if (storage === undefined)
    throw new ApiError(
      409,
      'STORAGE_CONNECTION_DELETED',
      'The storage connection of the run was deleted, so polony cannot check the upload. ' +
        'Create a storage connection for the bucket again',
    );
  await reopenRun(db, run.id, true);
  await withTemporalErrors(
    log,
    orchestrator.runs.checkUpload({
      runId: run.id,
      storageConnectionId: storage.id,
      storageConnectionName: storage.name,
      instrumentName: run.instrumentName,
      parentPath: run.parentPath,
      runFolder: run.runFolder,
      runName: run.runName,
      bucket: storage,
    }),
  );
}
