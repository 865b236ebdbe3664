import type { Db } from '../database.js';
import { disableWebhook } from './endpoints.js';
import { endDeliveryAttempt } from './attempts.js';

/** A delivery that a receiver answered with `410 Gone`. */
interface GoneDelivery {
  id: string;
  round: number;
  webhookId: string;
  /** Where it was sent. A webhook with a new URL stays on. */
  url: string;
}

/** Ends a delivery as failed and turns its webhook off, because the receiver no longer wants it. */
export async function endDeliveryAsGone(db: Db, delivery: GoneDelivery, error: string): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    await endDeliveryAttempt(transaction, delivery.id, delivery.round, { state: 'failed', status: 410, error });
    await disableWebhook(transaction, delivery.webhookId, delivery.url, 'The receiver answered 410 Gone');
  });
}
