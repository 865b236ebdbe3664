import type { Db } from './database.js';
import { findProvider, listProvidersToReencrypt } from './connections/providers.js';
import { listWebhookSecretsToReencrypt } from './webhooks/secrets.js';
import { providerSecretContext, SecretError, type Secrets, webhookSecretContext } from './secrets.js';
import { inTransaction } from './transaction.js';

/**
 * Encrypts every secret anew whose key is not the current one, row by row, so that an interrupted run goes on where it was and
 * API and workers go on meanwhile, as long as they have both keys.
 * @returns how many were encrypted anew.
 * @throws SecretError where no key is configured, or a secret's key is missing; what was done until then stays done.
 */
export async function reencrypt(db: Db, secrets: Secrets): Promise<number> {
  const keyId = secrets.currentKeyId;
  if (keyId === undefined)
    throw new SecretError(
      'No encryption key is configured: set POLONY_ENCRYPTION_KEYS, the new key first, then those that secrets are encrypted with',
    );
  const anew = async (sealed: string, sealedBy: string, context: string) =>
    secrets.seal(await secrets.open({ keyId: sealedBy, sealed }, context), context);
  const providers = await listProvidersToReencrypt(db, keyId);
  for (const { id } of providers) {
    await inTransaction(db, async (transaction) => {
      const row = await findProvider(transaction, id, 'update');
      if (row === undefined || row.secret_sealed === null || row.secret_key_id === null || row.secret_key_id === keyId)
        return;
      const sealed = await anew(row.secret_sealed, row.secret_key_id, providerSecretContext(id));
      await transaction
        .updateTable('providers')
        .set({ secret_sealed: sealed.sealed, secret_key_id: sealed.keyId })
        .where('id', '=', id)
        .execute();
    });
  }
  const ofWebhooks = await listWebhookSecretsToReencrypt(db, keyId);
  for (const { id } of ofWebhooks) {
    await inTransaction(db, async (transaction) => {
      const row = await transaction
        .selectFrom('webhook_secrets')
        .selectAll()
        .where('id', '=', id)
        .forUpdate()
        .executeTakeFirst();
      if (row === undefined || row.key_id === keyId) return;
      const sealed = await anew(row.sealed, row.key_id, webhookSecretContext(id));
      await transaction
        .updateTable('webhook_secrets')
        .set({ sealed: sealed.sealed, key_id: sealed.keyId })
        .where('id', '=', id)
        .execute();
    });
  }
  return providers.length + ofWebhooks.length;
}
