/** How many deliveries one worker attempts at the same time. */
export const WEBHOOK_SLOTS = 50;
/** How many of them may be for one webhook. */
export const SLOTS_PER_WEBHOOK = 5;

const SHORTEST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 600_000;
/** How long a delivery takes, before there is a measurement. */
const ASSUMED_DURATION_MS = 1000;
/** The weight of the newest measurement in the average. */
const NEWEST_WEIGHT = 0.2;

/** A place that a delivery holds while it is attempted. */
interface WebhookSlot {
  release: () => void;
}

interface WebhookLoad {
  active: number;
  averageMs: number;
  /** Milliseconds since 1970: when the deliveries that were sent away will all have had their turn. */
  reservedUntil: number;
}

/** Shares the slots of a worker, so that a slow receiver does not hold up the others. */
export class WebhookSlots {
  readonly #loads = new Map<string, WebhookLoad>();

  /** @returns a slot; where the webhook has none free, after how many milliseconds to ask again. */
  acquire(webhookId: string): WebhookSlot | { waitMs: number } {
    const load = this.#findOrCreate(webhookId);
    if (load.active >= SLOTS_PER_WEBHOOK) return { waitMs: this.#reserve(load) };
    load.active++;
    const start = Date.now();
    return { release: () => this.#release(webhookId, load, Date.now() - start) };
  }

  #findOrCreate(webhookId: string): WebhookLoad {
    const load = this.#loads.get(webhookId) ?? { active: 0, averageMs: ASSUMED_DURATION_MS, reservedUntil: 0 };
    this.#loads.set(webhookId, load);
    return load;
  }

  /** Each delivery that waits gets a later turn than the one before, so that they do not all come back at once. */
  #reserve(load: WebhookLoad): number {
    const now = Date.now();
    load.reservedUntil = Math.max(now, load.reservedUntil) + load.averageMs / SLOTS_PER_WEBHOOK;
    return Math.round(Math.min(LONGEST_WAIT_MS, Math.max(SHORTEST_WAIT_MS, load.reservedUntil - now)));
  }

  #release(webhookId: string, load: WebhookLoad, durationMs: number): void {
    load.active--;
    load.averageMs = (1 - NEWEST_WEIGHT) * load.averageMs + NEWEST_WEIGHT * durationMs;
    if (load.active === 0 && load.reservedUntil < Date.now()) this.#loads.delete(webhookId);
  }
}
