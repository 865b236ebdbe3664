import pLimit from 'p-limit';
import { errorMessage } from '../../domain/errors.js';
import type { Db } from '../../store/database.js';
import {
  claimDeliveries,
  type ClaimedDelivery,
  markDeliveryStarted,
  reclaimAbandoned,
} from '../../store/webhooks/claims.js';
import { pruneDeliveries } from '../../store/webhooks/deliveries.js';
import type { Dependencies } from '../dependencies.js';

/** How many deliveries are claimed in one query, and how many workflows are started at the same time. */
const CLAIMED_AT_ONCE = 100;
const STARTS_AT_ONCE = 10;

type DeliveryStarter = Dependencies['orchestrator']['webhooks'];

/** Starts the workflows of all deliveries that the database triggers wrote. @returns how many. */
export async function startPendingDeliveries(db: Db, starter: DeliveryStarter): Promise<number> {
  const limit = pLimit(STARTS_AT_ONCE);
  let count = 0;
  for (;;) {
    const claimed = await claimDeliveries(db, CLAIMED_AT_ONCE);
    await limit.map(claimed, (delivery) => startDelivery(db, starter, delivery));
    count += claimed.length;
    if (claimed.length < CLAIMED_AT_ONCE) return count;
  }
}

async function startDelivery(db: Db, starter: DeliveryStarter, delivery: ClaimedDelivery): Promise<void> {
  await starter.startDelivery({
    deliveryId: delivery.id,
    round: delivery.round,
    eventType: delivery.event_type,
    host: delivery.url === null ? 'a deleted webhook' : new URL(delivery.url).host,
  });
  await markDeliveryStarted(db, delivery);
}

/** Starts deliveries that nobody started, or whose workflow was lost. Deletes old ones. A step of the sweep. */
export async function sweepDeliveries(db: Db, starter: DeliveryStarter): Promise<void> {
  await reclaimAbandoned(db);
  await startPendingDeliveries(db, starter);
  await pruneDeliveries(db);
}

/** Starts deliveries as soon as the database reports them. The sweep finds what it misses. */
export class DeliveryDispatcher {
  #running: Promise<void> | undefined;
  #isWoken = false;
  #isClosed = false;

  constructor(
    private readonly db: Db,
    private readonly starter: DeliveryStarter,
    private readonly onError: (message: string) => void,
  ) {}

  /** To be called when there may be new deliveries, however often. */
  wake(): void {
    this.#isWoken = true;
    if (!this.#isClosed) this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async #run(): Promise<void> {
    while (this.#isWoken && !this.#isClosed) {
      this.#isWoken = false;
      try {
        await startPendingDeliveries(this.db, this.starter);
      } catch (error) {
        this.onError(errorMessage(error));
      }
    }
  }

  /** Starts nothing more. @returns when what is under way has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }
}
