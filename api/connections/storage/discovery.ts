import type { FastifyBaseLogger } from 'fastify';
import type { StorageConnectionRow } from '../../../store/connections/storage.js';
import { announceStorageChange } from '../../../store/connections/storageSearch.js';
import type { ApiDependencies } from '../../dependencies.js';
import { loggableError } from '../../../domain/errors.js';
import { ApiError, withTemporalErrors } from '../../errors.js';

/**
 * Lets the workers search a storage connection for runs from now on, or no more, as its settings say. Does not fail: the
 * settings are already saved, and the workers read them again within seconds.
 */
export async function announceToSearch(
  log: FastifyBaseLogger,
  { db }: Pick<ApiDependencies, 'db'>,
  id: string,
): Promise<void> {
  try {
    await announceStorageChange(db);
  } catch (error) {
    log.warn(
      { error: loggableError(error), storageConnectionId: id },
      'cannot tell the workers about the storage connection; they will see it within seconds',
    );
  }
}

/**
 * Searches a storage connection for runs now.
 * @throws ApiError 409 NOT_USED_FOR_RUN_UPLOAD, 503 when Temporal is unavailable.
 */
export async function startDiscovery(
  log: FastifyBaseLogger,
  { orchestrator }: Pick<ApiDependencies, 'orchestrator'>,
  connection: StorageConnectionRow,
): Promise<void> {
  requireUsedForRunUpload(connection);
  const { id, name } = connection;
  const search = orchestrator.runs.search({ storageConnectionId: id, storageConnectionName: name });
  await withTemporalErrors(log, search);
}

/** @throws ApiError 409 NOT_USED_FOR_RUN_UPLOAD for a storage connection that polony does not search. */
export function requireUsedForRunUpload({ use_for_run_upload: isUsed }: StorageConnectionRow): void {
  if (!isUsed)
    throw new ApiError(
      409,
      'NOT_USED_FOR_RUN_UPLOAD',
      'polony does not search this storage connection, because it is not used for run upload. ' +
        'Set useForRunUpload to true first.',
    );
}
