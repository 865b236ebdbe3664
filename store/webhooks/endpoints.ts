import type { Selectable } from 'kysely';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { WebhooksTable } from '../schema.js';
import type { SealedSecret } from '../secrets.js';

export type WebhookRow = Selectable<WebhooksTable>;

export interface WebhookFields {
  url: string;
  description: string;
  /** None for all. */
  eventTypes: string[];
  enabled: boolean;
}

const webhookColumns = (fields: WebhookFields) => ({
  url: fields.url,
  description: fields.description,
  event_types: fields.eventTypes,
  enabled: fields.enabled,
});

/** @param secret with the id of its row, which it is bound to. */
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

/** @param lock whether the row is locked, so that two changes wait for each other. */
export async function findWebhook(db: DbOrTransaction, id: string, lock = false): Promise<WebhookRow | undefined> {
  const query = db.selectFrom('webhooks').selectAll().where('id', '=', id);
  return (lock ? query.forUpdate() : query).executeTakeFirst();
}

/** A page of webhooks, oldest first, behind an id. */
export async function listWebhooks(db: Db, limit: number, after?: string, ids: Visible = 'all'): Promise<WebhookRow[]> {
  let query = db.selectFrom('webhooks').selectAll();
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** A webhook that a person switches on again is no longer off for a reason of polony's. */
export async function updateWebhook(db: DbOrTransaction, id: string, fields: WebhookFields): Promise<WebhookRow> {
  return db
    .updateTable('webhooks')
    .set({ ...webhookColumns(fields), ...(fields.enabled && { disabled_reason: null }), time_updated: new Date() })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Switches a webhook off for good, until a person switches it on again. @param url that it was found at; where it has another since, it stays on. */
export async function disableWebhook(db: DbOrTransaction, id: string, url: string, reason: string): Promise<void> {
  await db
    .updateTable('webhooks')
    .set({ enabled: false, disabled_reason: sanitizeText(reason), time_updated: new Date() })
    .where('id', '=', id)
    .where('url', '=', url)
    .execute();
}

/** Deletes a webhook with its secrets and deliveries. @returns whether there was one. */
export async function deleteWebhook(db: DbOrTransaction, id: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('webhooks').where('id', '=', id).executeTakeFirst();
  await db.deleteFrom('webhook_deliveries').where('webhook_id', '=', id).execute();
  return numDeletedRows > 0n;
}
