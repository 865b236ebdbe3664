/**
 * The shortest interval between two checks of the same thing that events cause, in milliseconds. The last event
 * counts.
 */
const CHECK_INTERVAL_MS = 1000;
/** How many things a {@link Debouncer} remembers. */
const REMEMBERED = 10_000;

/** How many unknown run folders one storage connection may have checked at once, and per second after that. */
const UNKNOWN_AT_ONCE = 20;
const UNKNOWN_PER_SECOND = 1;

/**
 * A token bucket per key: limits the checks of unknown run folders, whose names a forged event can invent.
 */
export class TokenBuckets {
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  /** @returns whether the key had a token left */
  take(key: string): boolean {
    const now = Date.now();
    const last = this.#buckets.get(key) ?? { tokens: UNKNOWN_AT_ONCE, at: now };
    const tokens = Math.min(UNKNOWN_AT_ONCE, last.tokens + ((now - last.at) / 1000) * UNKNOWN_PER_SECOND);
    const hasToken = tokens >= 1;
    this.#buckets.set(key, { tokens: hasToken ? tokens - 1 : tokens, at: now });
    return hasToken;
  }
}

/**
 * Of a flood of events about the same thing, runs the first at once and the last after an interval, and drops the
 * others.
 */
export class Debouncer {
  readonly #last = new Map<string, { at: number; timer?: NodeJS.Timeout }>();

  /** Runs `work` now or later; not at all where a run is scheduled already. */
  run(key: string, work: () => void): void {
    const now = Date.now();
    const last = this.#last.get(key);
    if (last === undefined || (last.timer === undefined && now - last.at >= CHECK_INTERVAL_MS)) {
      if (this.#last.size >= REMEMBERED) this.#forget();
      this.#last.set(key, { at: now });
      work();
      return;
    }
    const delay = Math.max(0, last.at + CHECK_INTERVAL_MS - now);
    last.timer ??= setTimeout(() => {
      this.#last.set(key, { at: Date.now() });
      work();
    }, delay).unref();
  }

  #forget(): void {
    for (const [key, { timer }] of this.#last) if (timer === undefined) this.#last.delete(key);
  }
}
