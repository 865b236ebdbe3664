import type { DeliveryState } from '../../domain/webhooks/webhook.js';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';
import type { DeliveryRow } from './deliveries.js';

/** A delivery with what its webhook says now. */
export type DeliveryContext = DeliveryRow & { url: string | null; enabled: boolean | null };

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
