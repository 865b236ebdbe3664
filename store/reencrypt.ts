import type { Db } from './database.js';
import { findProvider, listProvidersToReencrypt } from './connections/providers.js';
import { listWebhookSecretsToReencrypt } from './webhooks/secrets.js';
import { providerSecretContext, SecretError, type Secrets, webhookSecretContext } from './secrets.js';
import { inTransaction } from './transaction.js';

/**
 * Encrypts with the current key every secret that another key encrypted. Each row has its own transaction: you can repeat
 * an interrupted call, and the API and the workers keep running as long as they have both keys.
 * @returns how many secrets were encrypted again
 * @throws SecretError where no key is configured, or the key of a secret is missing. Rows before that one stay changed.
 */
export async function reencrypt(db: Db, secrets: Secrets): Promise<number> {
  const keyId = secrets.currentKeyId;
  if (keyId === undefined)
    throw new SecretError(
      'No encryption key is configured. Set POLONY_ENCRYPTION_KEYS: first the new key, then the keys that encrypted the stored secrets.',
    );
  const sealAgain = async (sealed: string, sealedBy: string, context: string) =>
    secrets.seal(await secrets.open({ keyId: sealedBy, sealed }, context), context);
  const providers = await listProvidersToReencrypt(db, keyId);
  for (const { id } of providers) {
    await inTransaction(db, async (transaction) => {
      const row = await findProvider(transaction, id, 'update');
      if (row === undefined || row.secret_sealed === null || row.secret_key_id === null || row.secret_key_id === keyId)
        return;
      const sealed = await sealAgain(row.secret_sealed, row.secret_key_id, providerSecretContext(id));
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
      const sealed = await sealAgain(row.sealed, row.key_id, webhookSecretContext(id));
      await transaction
        .updateTable('webhook_secrets')
        .set({ sealed: sealed.sealed, key_id: sealed.keyId })
        .where('id', '=', id)
        .execute();
    });
  }
  return providers.length + ofWebhooks.length;
}
