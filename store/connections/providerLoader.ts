import { type ProviderAccess, sessionPolicies } from '../../domain/iam/sessionPolicies.js';
import type { Db } from '../database.js';
import { loadProviderWithScope, recordProviderUse } from './providers.js';
import { providerSecretContext, type Secrets } from '../secrets.js';

/**
 * Loads providers with their decrypted credentials, for `AwsSessions`.
 * @throws SecretError where no configured key decrypts a secret
 */
export function createProviderLoader(
  db: Db,
  secrets: Secrets,
): { loadProvider: (id: string) => Promise<ProviderAccess>; onSession: (id: string) => Promise<void> } {
  return {
    loadProvider: async (id) => {
      const found = await loadProviderWithScope(db, id);
      if (found === undefined) throw new Error(`Provider ${id} is not in the store`);
      const { provider, scope } = found;
      const region = provider.default_region;
      if (provider.credential_type === 'role')
        return {
          type: 'role',
          region,
          version: `${provider.role_arn} ${provider.external_id}`,
          roleArn: provider.role_arn!,
          externalId: provider.external_id!,
        };
      const policies = sessionPolicies(scope);
      return {
        type: 'accessKeys',
        region,
        version: `${provider.access_key_id} ${provider.secret_sealed} ${policies[0]}`,
        accessKeyId: provider.access_key_id!,
        secretAccessKey: await secrets.open(
          { keyId: provider.secret_key_id!, sealed: provider.secret_sealed! },
          providerSecretContext(id),
        ),
        policies,
        scope,
      };
    },
    onSession: (id) => recordProviderUse(db, id),
  };
}
