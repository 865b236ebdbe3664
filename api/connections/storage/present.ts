import { storageUri } from '../../../domain/files/paths.js';
import type { StorageConnectionRow } from '../../../store/connections/storage.js';

/** A storage connection as the vendor's contract shows it. */
export function presentStorageConnection(row: StorageConnectionRow) {
  return {
    id: row.id,
    name: row.name,
    type: 's3',
    status: `STORAGE_CONNECTION_STATUS_${row.status}`,
    uri: storageUri(row.bucket, row.prefix).replace(/\/$/, ''),
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

/** A storage connection with polony's own settings beside it. */
export function presentStorageConnectionDetails(row: StorageConnectionRow) {
  return {
    storageConnection: presentStorageConnection(row),
    details: {
      providerId: row.provider_id,
      region: row.region,
      bucket: row.bucket,
      prefix: row.prefix,
      useForRunUpload: row.use_for_run_upload,
      useForDataExploration: row.use_for_data_exploration,
      allowPolicyProbe: row.allow_policy_probe,
      runDepth: row.run_depth,
      statusDescription: row.status_description,
      timeVerified: row.time_verified?.toISOString() ?? null,
      timeUsed: row.time_used?.toISOString() ?? null,
    },
  };
}
