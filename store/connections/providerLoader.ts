import { createHash } from 'node:crypto';
import type { ProviderAccess, SessionScope } from '../../domain/iam/sessionPolicies.js';
import type { Db } from '../database.js';
import { loadProviderWithScope, recordProviderUse } from './providers.js';
import { listWithoutSession, type ResourceToVerify } from '../verification/resources.js';
import { providerSecretContext, type Secrets } from '../secrets.js';

/**
 * Loads providers with their decrypted credentials, for `AwsSessions`.
 * @param verify verifies a resource again whose last verification got no session, since AWS has given one now.
 * @param allowsOpenRoles whether polony uses roles that can be assumed without their external ID.
 * @throws SecretError where no configured key decrypts a secret
 */
export function createProviderLoader(
  db: Db,
  secrets: Secrets,
  verify: (resource: ResourceToVerify) => Promise<void> = async () => undefined,
  allowsOpenRoles = false,
): { loadProvider: (id: string) => Promise<ProviderAccess>; onSession: (id: string) => Promise<void> } {
  return {
    loadProvider: async (id) => {
      const found = await loadProviderWithScope(db, id);
      if (found === undefined) throw new Error(`Provider ${id} is not in the store`);
      const { provider, scope } = found;
      const region = provider.default_region;
      // A new or changed role has no session yet, so no verification has tried it without the external ID.
      const mustTestExternalId = (provider.is_role_open || provider.session_seconds === null) && !allowsOpenRoles;
      if (provider.credential_type === 'role')
        return {
          type: 'role',
          region,
          // A session from before the role was found open is not used any more.
          version: `${provider.role_arn} ${provider.external_id} ${provider.is_role_open} ${mustTestExternalId}`,
          roleArn: provider.role_arn!,
          externalId: provider.external_id!,
          mustTestExternalId,
        };
      return {
        type: 'accessKeys',
        region,
        version: `${provider.access_key_id} ${provider.secret_sealed} ${hashScope(scope)}`,
        accessKeyId: provider.access_key_id!,
        secretAccessKey: await secrets.open(
          { keyId: provider.secret_key_id!, sealed: provider.secret_sealed! },
          providerSecretContext(id),
        ),
        scope,
      };
    },
    onSession: async (id) => {
      await recordProviderUse(db, id);
      for (const resource of await listWithoutSession(db, id)) await verify(resource);
    },
  };
}

function hashScope(scope: SessionScope): string {
  return createHash('sha256').update(JSON.stringify(scope)).digest('base64');
}
