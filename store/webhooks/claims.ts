import { sql } from 'kysely';
import type { Db, DbOrTransaction } from '../database.js';

/** The channel that triggers notify about new deliveries; `listenForWakes` listens on it. */
export const WEBHOOKS_CHANNEL = 'polony_webhooks';

/** After this time without a start, the process that claimed a delivery counts as dead. */
const CLAIM_SECONDS = 30;

/** How long after its time a delivery counts as abandoned: somebody terminated its workflow, or Temporal lost it. */
const ABANDONED_MINUTES = 10;

/** A delivery whose workflow is to start. */
export interface ClaimedDelivery {
  id: string;
  round: number;
  event_type: string;
  /** Null: the webhook was deleted. */
  url: string | null;
}

/** Claims deliveries whose workflows have not started, so that no other process starts them meanwhile. */
export async function claimDeliveries(db: Db, limit: number): Promise<ClaimedDelivery[]> {
  const { rows } = await sql<ClaimedDelivery>`
    update webhook_deliveries set time_handed = now() where id in (
      select id from webhook_deliveries
      where not handed_over and (time_handed is null or time_handed < now() - make_interval(secs => ${CLAIM_SECONDS}))
      order by id limit ${limit} for update skip locked
    ) returning id, round, event_type, (select url from webhooks w where w.id = webhook_id) as url`.execute(db);
  return rows;
}

/** Records that the workflow of a delivery's round exists. */
export async function markDeliveryStarted(db: Db, { id, round }: Pick<ClaimedDelivery, 'id' | 'round'>): Promise<void> {
  await db
    .updateTable('webhook_deliveries')
    .set({ handed_over: true })
    .where('id', '=', id)
    .where('round', '=', round)
    .execute();
}

/** Releases abandoned deliveries, so that their workflows start again. */
export async function reclaimAbandoned(db: Db): Promise<void> {
  await sql`
    update webhook_deliveries set handed_over = false, time_handed = null where id in (
      select id from webhook_deliveries where state in ('pending', 'retrying') and handed_over
        and coalesce(time_next, time_handed) < now() - make_interval(mins => ${ABANDONED_MINUTES})
      order by id limit 500 for update skip locked
    )`.execute(db);
}

/** Tells the workers that deliveries wait. PostgreSQL sends it when the transaction commits. */
export async function notifyDeliverer(db: DbOrTransaction): Promise<void> {
  await sql`select pg_notify(${WEBHOOKS_CHANNEL}, '')`.execute(db);
}
