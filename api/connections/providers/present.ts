import type { ProviderRow } from '../../../store/connections/providers.js';

/** A provider as the API shows it. Its secret access key is never part of it. */
export function presentProvider(row: ProviderRow) {
  return {
    id: row.id,
    name: row.name,
    type: 'aws',
    defaultRegion: row.default_region,
    credentialType: row.credential_type,
    roleArn: row.role_arn,
    externalId: row.external_id,
    accessKeyId: row.access_key_id,
    accountId: row.account_id,
    sessionSeconds: row.session_seconds,
    status: `PROVIDER_STATUS_${row.status}`,
    statusDescription: row.status_description,
    timeVerified: row.time_verified?.toISOString() ?? null,
    timeUsed: row.time_used?.toISOString() ?? null,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}
