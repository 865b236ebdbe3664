import { findProvider, type ProviderRow } from '../../store/connections/providers.js';
import type { DbTransaction } from '../../store/database.js';
import { requireReference } from '../references.js';

/**
 * Finds the provider that a storage or compute connection names, and locks it until the connection is written.
 * @throws InputError PROVIDER_NOT_FOUND
 */
export function requireProvider(transaction: DbTransaction, providerId: string): Promise<ProviderRow> {
  return requireReference('provider', 'providerId', providerId, (id) => findProvider(transaction, id, 'share'));
}
