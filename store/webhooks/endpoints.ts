import type { Selectable } from 'kysely';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { WebhooksTable } from '../schema.js';
import type { SealedSecret } from '../secrets.js';

export type WebhookRow = Selectable<WebhooksTable>;

export interface WebhookFields {
  url: string;
  description: string;
  /** Empty: all events. */
  eventTypes: string[];
  enabled: boolean;
}

const webhookColumns = (fields: WebhookFields) => ({
  url: fields.url,
  description: fields.description,
  event_types: fields.eventTypes,
  enabled: fields.enabled,
});

/** @param secret the sealed secret with the id of its row, to which it is bound */
export async function insertWebhook(
  db: DbOrTransaction,
  id: string,
  fields: WebhookFields,
  secret: SealedSecret & { id: string },
): Promise<WebhookRow> {
  const row = await db
    .insertInto('webhooks')
    .values({ id, ...webhookColumns(fields) })
    .returningAll()
    .executeTakeFirstOrThrow();
  await db
    .insertInto('webhook_secrets')
    .values({ id: secret.id, webhook_id: id, sealed: secret.sealed, key_id: secret.keyId })
    .execute();
  return row;
}

/** @param lock locks the row, so that two changes wait for each other */
export async function findWebhook(db: DbOrTransaction, id: string, lock = false): Promise<WebhookRow | undefined> {
  const query = db.selectFrom('webhooks').selectAll().where('id', '=', id);
  return (lock ? query.forUpdate() : query).executeTakeFirst();
}

/** A page of webhooks, oldest first. */
export async function listWebhooks(db: Db, limit: number, after?: string, ids: Visible = 'all'): Promise<WebhookRow[]> {
  let query = db.selectFrom('webhooks').selectAll();
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** Updates a webhook. Enabling it removes polony's reason for disabling it. */
export async function updateWebhook(db: DbOrTransaction, id: string, fields: WebhookFields): Promise<WebhookRow> {
  return db
    .updateTable('webhooks')
    .set({ ...webhookColumns(fields), ...(fields.enabled && { disabled_reason: null }), time_updated: new Date() })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/**
 * Disables a webhook until a person enables it again.
 * @param url the URL that failed. Nothing changes where the webhook has another one by now.
 */
export async function disableWebhook(db: DbOrTransaction, id: string, url: string, reason: string): Promise<void> {
  await db
    .updateTable('webhooks')
    .set({ enabled: false, disabled_reason: sanitizeText(reason), time_updated: new Date() })
    .where('id', '=', id)
    .where('url', '=', url)
    .execute();
}

/** Deletes a webhook with its secrets and deliveries. @returns whether it existed */
export async function deleteWebhook(db: DbOrTransaction, id: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('webhooks').where('id', '=', id).executeTakeFirst();
  await db.deleteFrom('webhook_deliveries').where('webhook_id', '=', id).execute();
  return numDeletedRows > 0n;
}
