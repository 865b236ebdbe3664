import type { FastifyBaseLogger } from 'fastify';
import { downloadUrl } from '../../aws/files.js';
import { joinKey } from '../../domain/files/paths.js';
import { whyFolderIsUnverified } from '../../domain/runs/verifiedFolder.js';
import { findStorageConnection } from '../../store/connections/storage.js';
import type { RunContext } from '../../store/runs/load.js';
import type { ApiDependencies } from '../dependencies.js';
import { loggableError } from '../../domain/errors.js';

/** How long the URL of a run manifest is valid, in seconds. */
const MANIFEST_URL_SECONDS = 3600;

/**
 * A URL to download the manifest of a run.
 * @returns undefined where the run has no manifest, its folder is not verified, its storage connection does not allow data exploration, or AWS
 * does not give a session: a run is worth showing without the URL.
 */
export async function signManifestUrl(
  { db, aws }: Pick<ApiDependencies, 'db' | 'aws'>,
  log: FastifyBaseLogger,
  run: RunContext,
): Promise<string | undefined> {
  const isShown = run.hasManifest && whyFolderIsUnverified(run) === undefined;
  const storage = isShown ? await findStorageConnection(db, run.storageConnectionId) : undefined;
  if (storage?.use_for_data_exploration !== true) return undefined;
  const key = joinKey(storage.prefix, run.parentPath, run.runFolder, 'RunManifest.csv');
  try {
    const session = await aws.sessionFor(storage.provider_id, MANIFEST_URL_SECONDS);
    const signer = aws.signer(session, storage.region);
    try {
      return await downloadUrl(signer, session, { bucket: storage.bucket, key }, MANIFEST_URL_SECONDS);
    } finally {
      signer.destroy();
    }
  } catch (error) {
    log.warn({ error: loggableError(error), runId: run.id }, 'Signing the URL of a run manifest failed');
    return undefined;
  }
}
