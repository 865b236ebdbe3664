import { type Selectable, sql } from 'kysely';
import { type DeliveryState, TEST_EVENT } from '../../domain/webhooks/webhook.js';
import { type Db, type DbOrTransaction, isId } from '../database.js';
import type { Slice } from '../paging.js';
import type { WebhookDeliveriesTable } from '../schema.js';
import { notifyDeliverer } from './claims.js';

export type DeliveryRow = Selectable<WebhookDeliveriesTable>;

/** How long what has been delivered or given up is kept at most, and how much of it for each webhook. */
const KEPT_DAYS = 30;

const KEPT_DELIVERIES = 10_000;

/** Deliveries of a webhook, newest first; before an id they come nearest first. */
export async function listDeliveries(
  db: Db,
  webhookId: string,
  slice: Slice,
  state?: DeliveryState,
): Promise<DeliveryRow[]> {
  let query = db.selectFrom('webhook_deliveries').selectAll().where('webhook_id', '=', webhookId).limit(slice.limit);
  if (state !== undefined) query = query.where('state', '=', state);
  if (slice.after !== undefined) query = query.where('id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('id', '>', slice.before);
  return query.orderBy('id', slice.before === undefined ? 'desc' : 'asc').execute();
}

/** Writes an event that only this webhook is told of. */
export async function insertTestEvent(db: DbOrTransaction, webhookId: string): Promise<DeliveryRow> {
  const { rows } = await sql<DeliveryRow>`
    insert into webhook_deliveries (id, webhook_id, event_id, event_type, event_sequence, event_data, time_event)
    values (webhook_delivery_id(), ${webhookId}, gen_random_uuid(), ${TEST_EVENT}, nextval('webhook_event_sequence'), ${JSON.stringify({ webhookId })}::jsonb, clock_timestamp()) returning *`.execute(
    db,
  );
  await notifyDeliverer(db);
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
  await notifyDeliverer(db);
  return Number(numUpdatedRows);
}

/** Removes a delivery whose webhook has been deleted. */
export async function removeDelivery(db: DbOrTransaction, id: string): Promise<void> {
  await db.deleteFrom('webhook_deliveries').where('id', '=', id).execute();
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
