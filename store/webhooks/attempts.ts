import type { DeliveryState } from '../../domain/webhooks/webhook.js';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';
import type { DeliveryRow } from './deliveries.js';

/** A delivery with the present URL and state of its webhook. Both are null where the webhook was deleted. */
export type DeliveryContext = DeliveryRow & { url: string | null; enabled: boolean | null };

/** A delivery with its webhook; undefined where there is no such delivery. */
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
 * Records an attempt before it is made, so that a delivery that crashes its worker is not attempted without end.
 * @param within by when the attempt has ended, or its worker is dead
 * @returns the number of the attempt in its round, from 1; undefined where the round has ended or another one began
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

/** How an attempt ended. */
export interface DeliveryAttemptEnd {
  state: DeliveryState;
  /** HTTP status; null where the receiver did not answer. */
  status: number | null;
  error: string | null;
  /** Time of the next attempt. */
  next?: Date;
}

/** Records how an attempt ended. Nothing changes where its round is over. */
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
