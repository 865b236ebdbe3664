import { isId } from '../../store/database.js';
import { findWebhook, type WebhookRow } from '../../store/webhooks/endpoints.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';

/** @throws ApiError 404 */
export async function requireWebhook(db: ApiDependencies['db'], id: string): Promise<WebhookRow> {
  const webhook = isId(id) ? await findWebhook(db, id) : undefined;
  if (webhook === undefined) throw notFoundError('webhook', id);
  return webhook;
}

/** @throws ApiError 404; 409 when the webhook is switched off */
export async function requireEnabledWebhook(db: ApiDependencies['db'], id: string): Promise<WebhookRow> {
  const webhook = await requireWebhook(db, id);
  if (webhook.enabled) return webhook;
  const why = webhook.disabled_reason === null ? '' : ` (${webhook.disabled_reason})`;
  throw new ApiError(
    409,
    'WEBHOOK_DISABLED',
    `The webhook is switched off${why}, so polony sends nothing to it. Set enabled to true first`,
  );
}
