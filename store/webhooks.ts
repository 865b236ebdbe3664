import { type Selectable, sql } from 'kysely';
import type { DeliveryState } from '../domain/webhooks/webhook.js';
import { MOST_SECRETS, SECRET_OVERLAP_HOURS, TEST_EVENT } from '../domain/webhooks/webhook.js';
import { type Db, type DbOrTransaction, isId, sanitizeText } from './database.js';
import type { Slice } from './listing.js';
import { type Visible, toVisibleIds } from './resources.js';
import type { WebhookDeliveriesTable, WebhookSecretsTable, WebhooksTable } from './schema.js';
import type { SealedSecret } from './secrets.js';

export type Webhook = Selectable<WebhooksTable>;
export type WebhookSecret = Selectable<WebhookSecretsTable>;
export type Delivery = Selectable<WebhookDeliveriesTable>;

/** What the triggers notify when something is to be delivered; {@link listenFor} in store/events.ts hears it. */
export const WEBHOOKS_CHANNEL = 'polony_webhooks';

/** How long what has been delivered or given up is kept at most, and how much of it for each webhook. */
const KEPT_DAYS = 30;
const KEPT_DELIVERIES = 10_000;
/** A claim that was not followed by a start in this time was made by a process that died. */
const CLAIM_SECONDS = 30;
/** How long after its time a delivery that nothing happens to counts as abandoned: its workflow was terminated or lost. */
const ABANDONED_MINUTES = 10;

export interface WebhookFields {
  url: string;
  description: string;
  /** None for all. */
  eventTypes: string[];
  enabled: boolean;
}
const columns = (fields: WebhookFields) => ({
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
): Promise<Webhook> {
  const row = await db
    .insertInto('webhooks')
    .values({ id, ...columns(fields) })
    .returningAll()
    .executeTakeFirstOrThrow();
  await db
    .insertInto('webhook_secrets')
    .values({ id: secret.id, webhook_id: id, sealed: secret.sealed, key_id: secret.keyId })
    .execute();
  return row;
}

/** @param lock whether the row is locked, so that two changes wait for each other. */
export async function findWebhook(db: DbOrTransaction, id: string, lock = false): Promise<Webhook | undefined> {
  const query = db.selectFrom('webhooks').selectAll().where('id', '=', id);
  return (lock ? query.forUpdate() : query).executeTakeFirst();
}

/** A page of webhooks, oldest first, behind an id. */
export async function listWebhooks(db: Db, limit: number, after?: string, ids: Visible = 'all'): Promise<Webhook[]> {
  let query = db.selectFrom('webhooks').selectAll();
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** A webhook that a person switches on again is no longer off for a reason of polony's. */
export async function updateWebhook(db: DbOrTransaction, id: string, fields: WebhookFields): Promise<Webhook> {
  return db
    .updateTable('webhooks')
    .set({ ...columns(fields), ...(fields.enabled && { disabled_reason: null }), time_updated: new Date() })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Deletes a webhook with its secrets and deliveries. @returns whether there was one. */
export async function deleteWebhook(db: DbOrTransaction, id: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('webhooks').where('id', '=', id).executeTakeFirst();
  await db.deleteFrom('webhook_deliveries').where('webhook_id', '=', id).execute();
  return numDeletedRows > 0n;
}

/** The secrets that sign, the newest first. */
export async function signingSecrets(db: DbOrTransaction, webhookId: string): Promise<WebhookSecret[]> {
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
  if ((await signingSecrets(db, webhookId)).length >= MOST_SECRETS) return false;
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

/** Deliveries of a webhook, newest first; before an id they come nearest first. */
export async function listDeliveries(
  db: Db,
  webhookId: string,
  slice: Slice,
  state?: DeliveryState,
): Promise<Delivery[]> {
  let query = db.selectFrom('webhook_deliveries').selectAll().where('webhook_id', '=', webhookId).limit(slice.limit);
  if (state !== undefined) query = query.where('state', '=', state);
  if (slice.after !== undefined) query = query.where('id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('id', '>', slice.before);
  return query.orderBy('id', slice.before === undefined ? 'desc' : 'asc').execute();
}

/** Writes an event that only this webhook is told of. */
export async function insertTestEvent(db: DbOrTransaction, webhookId: string): Promise<Delivery> {
  const { rows } = await sql<Delivery>`
    insert into webhook_deliveries (id, webhook_id, event_id, event_type, event_sequence, event_data, time_event)
    values (webhook_delivery_id(), ${webhookId}, gen_random_uuid(), ${TEST_EVENT}, nextval('webhook_event_sequence'), ${JSON.stringify({ webhookId })}::jsonb, clock_timestamp()) returning *`.execute(
    db,
  );
  await notify(db);
  return rows[0]!;
}

/** Which deliveries are made once more; all conditions hold together. Times are those of the events. */
export interface Replay {
  since?: Date;
  until?: Date;
  deliveryIds?: readonly string[];
  onlyFailed?: boolean;
}

/** Makes deliveries once more that have ended or wait for their next try. @returns how many. */
export async function replayDeliveries(db: DbOrTransaction, webhookId: string, replay: Replay): Promise<number> {
  let query = db
    .updateTable('webhook_deliveries')
    .set((eb) => ({
      state: 'pending' as const,
      round: eb('round', '+', 1),
      attempts: 0,
      handed_over: false,
      time_handed: null,
      time_next: null,
      time_ended: null,
    }))
    .where('webhook_id', '=', webhookId)
    // What was not tried yet is about to be.
    .where('state', 'in', replay.onlyFailed === true ? ['failed'] : ['retrying', 'delivered', 'failed']);
  if (replay.since !== undefined) query = query.where('time_event', '>=', replay.since);
  if (replay.until !== undefined) query = query.where('time_event', '<=', replay.until);
  if (replay.deliveryIds !== undefined) {
    const ids = replay.deliveryIds.filter(isId);
    if (ids.length === 0) return 0;
    query = query.where('id', 'in', ids);
  }
  const { numUpdatedRows } = await query.executeTakeFirst();
  await notify(db);
  return Number(numUpdatedRows);
}

async function notify(db: DbOrTransaction): Promise<void> {
  await sql`select pg_notify(${WEBHOOKS_CHANNEL}, '')`.execute(db);
}

/** A delivery that is to be handed to Temporal. */
export interface ClaimedDelivery {
  id: string;
  round: number;
  event_type: string;
  /** Null where the webhook has been deleted. */
  url: string | null;
}

/** Takes deliveries that are not handed over, so that no other process takes them for a while. */
export async function claimDeliveries(db: Db, limit: number): Promise<ClaimedDelivery[]> {
  const { rows } = await sql<ClaimedDelivery>`
    update webhook_deliveries set time_handed = now() where id in (
      select id from webhook_deliveries where not handed_over and (time_handed is null or time_handed < now() - make_interval(secs => ${CLAIM_SECONDS}))
      order by id limit ${limit} for update skip locked
    ) returning id, round, event_type, (select url from webhooks w where w.id = webhook_id) as url`.execute(db);
  return rows;
}

/** Notes that the workflow of a delivery's round exists. */
export async function markDeliveryStarted(db: Db, { id, round }: Pick<ClaimedDelivery, 'id' | 'round'>): Promise<void> {
  await db
    .updateTable('webhook_deliveries')
    .set({ handed_over: true })
    .where('id', '=', id)
    .where('round', '=', round)
    .execute();
}

/** Has deliveries handed over again whose time is long over: their workflow was terminated by hand or lost. */
export async function reclaimAbandoned(db: Db): Promise<void> {
  await sql`
    update webhook_deliveries set handed_over = false, time_handed = null where id in (
      select id from webhook_deliveries where state in ('pending', 'retrying') and handed_over and coalesce(time_next, time_handed) < now() - make_interval(mins => ${ABANDONED_MINUTES})
      order by id limit 500 for update skip locked
    )`.execute(db);
}

/** Removes what has been kept long enough, and what is beyond the newest of a webhook. */
export async function pruneDeliveries(db: Db): Promise<void> {
  await sql`delete from webhook_deliveries where id in (select id from webhook_deliveries where time_ended < now() - make_interval(days => ${KEPT_DAYS}) limit 10000)`.execute(
    db,
  );
  for (const { id } of await db.selectFrom('webhooks').select('id').execute()) {
    await sql`
      delete from webhook_deliveries where webhook_id = ${id} and time_ended is not null
        and id <= (select id from webhook_deliveries where webhook_id = ${id} order by id desc offset ${KEPT_DELIVERIES} limit 1)`.execute(
      db,
    );
  }
}

/** A delivery with what its webhook says now. */
export type DeliveryContext = Delivery & { url: string | null; enabled: boolean | null };

export async function findDelivery(db: DbOrTransaction, id: string): Promise<DeliveryContext | undefined> {
  return db
    .selectFrom('webhook_deliveries as d')
    .leftJoin('webhooks as w', 'w.id', 'd.webhook_id')
    .selectAll('d')
    .select(['w.url', 'w.enabled'])
    .where('d.id', '=', id)
    .executeTakeFirst();
}

/**
 * Notes that a delivery is about to be tried, before it is, so that one which ends its worker is not tried without end.
 * @param within by when it has been tried, or its worker has died
 * @returns which try of its round it is, from 1; undefined where it has ended or was begun anew.
 */
export async function beginDeliveryAttempt(
  db: Db,
  id: string,
  round: number,
  within: Date,
): Promise<number | undefined> {
  const row = await db
    .updateTable('webhook_deliveries')
    .set((eb) => ({ attempts: eb('attempts', '+', 1), state: 'retrying' as const, time_next: within }))
    .where('id', '=', id)
    .where('round', '=', round)
    .where('state', 'in', ['pending', 'retrying'])
    .returning('attempts')
    .executeTakeFirst();
  return row?.attempts;
}

/** How a try has ended. */
export interface DeliveryAttemptEnd {
  state: DeliveryState;
  /** HTTP status; null where there was no answer. */
  status: number | null;
  error: string | null;
  /** Of the next try. */
  next?: Date;
}

/** Notes how a try has ended; of a round that is over nothing is noted. */
export async function endDeliveryAttempt(
  db: DbOrTransaction,
  id: string,
  round: number,
  end: DeliveryAttemptEnd,
): Promise<void> {
  await db
    .updateTable('webhook_deliveries')
    .set({
      state: end.state,
      last_status: end.status,
      last_error: end.error === null ? null : sanitizeText(end.error),
      time_next: end.next ?? null,
      time_ended: end.state === 'delivered' || end.state === 'failed' ? new Date() : null,
    })
    .where('id', '=', id)
    .where('round', '=', round)
    .where('state', 'in', ['pending', 'retrying'])
    .execute();
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

/** Removes a delivery whose webhook has been deleted. */
export async function removeDelivery(db: DbOrTransaction, id: string): Promise<void> {
  await db.deleteFrom('webhook_deliveries').where('id', '=', id).execute();
}

/** Secrets that were encrypted with another key than this one. */
export async function listWebhookSecretsToReencrypt(db: DbOrTransaction, keyId: string): Promise<{ id: string }[]> {
  return db.selectFrom('webhook_secrets').select('id').where('key_id', '!=', keyId).orderBy('id').execute();
}
