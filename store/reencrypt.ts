import type { Db } from './database.js';
import { findProvider, providersToReencrypt } from './resources.js';
import { providerSecretContext, SecretError, type Secrets } from './secrets.js';
import { inTransaction } from './transaction.js';

/**
 * Encrypts every secret anew whose key is not the current one, row by row, so that an interrupted run goes on where it was and
 * API and workers go on meanwhile, as long as they have both keys.
 * @returns how many were encrypted anew.
 * @throws SecretError where no key is configured, or a secret's key is missing; what was done until then stays done.
 */
export async function reencrypt(db: Db, secrets: Secrets): Promise<number> {
  const keyId = secrets.currentKeyId;
  if (keyId === undefined) throw new SecretError('No encryption key is configured: set POLONY_ENCRYPTION_KEYS, the new key first, then those that secrets are encrypted with');
  const providers = await providersToReencrypt(db, keyId);
  for (const { id } of providers) {
    await inTransaction(db, async (transaction) => {
      const row = await findProvider(transaction, id, 'update');
      if (row === undefined || row.secret_sealed === null || row.secret_key_id === null || row.secret_key_id === keyId) return;
      const context = providerSecretContext(id);
      const sealed = await secrets.seal(await secrets.open({ keyId: row.secret_key_id, sealed: row.secret_sealed }, context), context);
      await transaction.updateTable('providers').set({ secret_sealed: sealed.sealed, secret_key_id: sealed.keyId }).where('id', '=', id).execute();
    });
  }
  return providers.length;
}
