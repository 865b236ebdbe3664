import { sql } from 'kysely';
import type { Db, DbOrTransaction } from '../database.js';

/** What the triggers notify when something is to be delivered; {@link listenFor} in store/events.ts hears it. */
export const WEBHOOKS_CHANNEL = 'polony_webhooks';

/** A claim that was not followed by a start in this time was made by a process that died. */
const CLAIM_SECONDS = 30;

/** How long after its time a delivery that nothing happens to counts as abandoned: its workflow was terminated or lost. */
const ABANDONED_MINUTES = 10;

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

export async function notifyDeliverer(db: DbOrTransaction): Promise<void> {
  await sql`select pg_notify(${WEBHOOKS_CHANNEL}, '')`.execute(db);
}
