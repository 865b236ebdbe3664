import { describeShortExternalId, isShortExternalId } from '../../../domain/connections/provider.js';
import type { ProviderRow } from '../../../store/connections/providers.js';
import { presentState } from '../present.js';

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
    isRoleOpen: row.is_role_open,
    warnings:
      row.external_id !== null && isShortExternalId(row.external_id) ? [describeShortExternalId(row.external_id)] : [],
    accessKeyId: row.access_key_id,
    accountId: row.account_id,
    sessionSeconds: row.session_seconds,
    ...presentState('PROVIDER_STATUS', row),
  };
}
