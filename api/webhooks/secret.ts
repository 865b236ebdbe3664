import { randomBytes } from 'node:crypto';
import { type Db, newId } from '../../store/database.js';
import { type SealedSecret, type Secrets, webhookSecretContext } from '../../store/secrets.js';
import type { WebhookRow } from '../../store/webhooks/endpoints.js';
import { listSigningSecrets } from '../../store/webhooks/secrets.js';
import { ApiError } from '../errors.js';

/** A new signing secret, as the caller sees it and as the store keeps it. */
export interface NewSigningSecret {
  /** As Standard Webhooks writes it: `whsec_` and 24 to 64 random bytes in base64. */
  secret: string;
  sealed: SealedSecret & { id: string };
}

/** @throws ApiError 409 when the API has no encryption key */
export async function createSigningSecret(secrets: Secrets): Promise<NewSigningSecret> {
  if (secrets.currentKeyId === undefined)
    throw new ApiError(
      409,
      'ENCRYPTION_KEYS_MISSING',
      'polony cannot store a signing secret because it has no encryption key. ' +
        'Ask the administrator of polony to set POLONY_ENCRYPTION_KEYS for the API and the workers',
    );
  const id = newId();
  const secret = `whsec_${randomBytes(32).toString('base64')}`;
  return { secret, sealed: { id, ...(await secrets.seal(secret, webhookSecretContext(id))) } };
}

/**
 * The secret that a webhook was created with, for a repeated request: the stored response does not have it.
 * @returns null after a rotation
 */
export async function readFirstSecret(
  db: Db,
  secrets: Secrets,
  webhook: { id: WebhookRow['id']; timeCreated: string },
): Promise<string | null> {
  const [only, ...others] = await listSigningSecrets(db, webhook.id);
  const isFirst =
    only !== undefined &&
    others.length === 0 &&
    Math.abs(only.time_created.getTime() - Date.parse(webhook.timeCreated)) < 1000;
  if (!isFirst) return null;
  return secrets.open({ keyId: only.key_id, sealed: only.sealed }, webhookSecretContext(only.id));
}
