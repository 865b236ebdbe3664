import type { FastifyBaseLogger } from 'fastify';
import { findStorageConnection, type StorageConnectionRow } from '../../../store/connections/storage.js';
import type { ApiDependencies } from '../../dependencies.js';
import { loggableError } from '../../../domain/errors.js';
import { ApiError, withTemporalErrors, withTimeout } from '../../errors.js';

type Orchestration = Pick<ApiDependencies, 'orchestrator' | 'discoverSeconds'>;

/**
 * Creates or removes the schedule that searches a storage connection for runs, as its settings say. Does not fail when
 * Temporal is unavailable: the settings are already saved, and the sweep corrects the schedule later.
 */
export async function updateDiscoverySchedule(
  log: FastifyBaseLogger,
  { db, orchestrator, discoverSeconds }: Orchestration & Pick<ApiDependencies, 'db'>,
  id: string,
): Promise<void> {
  try {
    const connection = await findStorageConnection(db, id);
    if (connection?.use_for_run_upload === true)
      await withTimeout(
        orchestrator.schedules.ensureDiscovery(
          { storageConnectionId: id, storageConnectionName: connection.name },
          discoverSeconds,
        ),
      );
    else await withTimeout(orchestrator.schedules.removeDiscovery(id));
  } catch (error) {
    log.warn(
      { error: loggableError(error), storageConnectionId: id },
      'cannot update the discovery schedule now; the sweep will correct it',
    );
  }
}

/**
 * Searches a storage connection for runs now.
 * @throws ApiError 409 NOT_USED_FOR_RUN_UPLOAD, 503 when Temporal is unavailable.
 */
export async function startDiscovery(
  log: FastifyBaseLogger,
  { orchestrator, discoverSeconds }: Orchestration,
  connection: StorageConnectionRow,
): Promise<void> {
  requireUsedForRunUpload(connection);
  const { id, name } = connection;
  const target = { storageConnectionId: id, storageConnectionName: name };
  await withTemporalErrors(log, orchestrator.schedules.ensureDiscovery(target, discoverSeconds, false));
  await withTemporalErrors(log, orchestrator.schedules.discoverNow(id));
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
