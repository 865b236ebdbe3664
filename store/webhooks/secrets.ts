import type { Selectable } from 'kysely';
import { MOST_SECRETS, SECRET_OVERLAP_HOURS } from '../../domain/webhooks/webhook.js';
import type { DbOrTransaction } from '../database.js';
import type { WebhookSecretsTable } from '../schema.js';
import type { SealedSecret } from '../secrets.js';

export type WebhookSecretRow = Selectable<WebhookSecretsTable>;

/** The secrets that sign, the newest first. */
export async function listSigningSecrets(db: DbOrTransaction, webhookId: string): Promise<WebhookSecretRow[]> {
  return db
    .selectFrom('webhook_secrets')
    .selectAll()
    .where('webhook_id', '=', webhookId)
    .where((where) => where.or([where('time_expires', 'is', null), where('time_expires', '>', new Date())]))
    .orderBy('id', 'desc')
    .execute();
}

/**
 * Puts a new secret in place of the current one, which signs along for {@link SECRET_OVERLAP_HOURS}. The caller holds the webhook's row.
 * @returns false where as many sign already as may; nothing is changed then.
 */
export async function rotateSecret(
  db: DbOrTransaction,
  webhookId: string,
  secret: SealedSecret & { id: string },
): Promise<boolean> {
  await db
    .deleteFrom('webhook_secrets')
    .where('webhook_id', '=', webhookId)
    .where('time_expires', '<=', new Date())
    .execute();
  if ((await listSigningSecrets(db, webhookId)).length >= MOST_SECRETS) return false;
  await db
    .updateTable('webhook_secrets')
    .set({ time_expires: new Date(Date.now() + SECRET_OVERLAP_HOURS * 3_600_000) })
    .where('webhook_id', '=', webhookId)
    .where('time_expires', 'is', null)
    .execute();
  await db
    .insertInto('webhook_secrets')
    .values({ id: secret.id, webhook_id: webhookId, sealed: secret.sealed, key_id: secret.keyId })
    .execute();
  await db.updateTable('webhooks').set({ time_updated: new Date() }).where('id', '=', webhookId).execute();
  return true;
}

/** Secrets that were encrypted with another key than this one. */
export async function listWebhookSecretsToReencrypt(db: DbOrTransaction, keyId: string): Promise<{ id: string }[]> {
  return db.selectFrom('webhook_secrets').select('id').where('key_id', '!=', keyId).orderBy('id').execute();
}
