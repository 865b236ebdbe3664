/** How long calls stay slow after AWS throttled one. */
export const RECOVERY_MS = 60_000;
const SLOWEST_FACTOR = 16;

/** Makes one call; must not throw. */
export type SpacedCall = () => void;

/**
 * Spaces the calls of this worker to one account and region evenly. The first to become due is the first to be called,
 * and urgent calls go before all others.
 */
export class CallSpacing {
  readonly #urgent = new Set<SpacedCall>();
  readonly #due = new Set<SpacedCall>();
  /** By the clock of `performance.now()`, which nobody sets. So are the other times here. */
  #lastCall = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #slowUntil = -Infinity;
  #slowFactor = 1;

  /** @param perSecond how many calls this worker may make */
  constructor(private readonly perSecond: number) {}

  /** Makes a call as soon as its turn comes. A call that waits already becomes urgent where it is added as such. */
  add(call: SpacedCall, isUrgent: boolean): void {
    if (isUrgent) {
      this.#due.delete(call);
      this.#urgent.add(call);
    } else if (!this.#urgent.has(call)) this.#due.add(call);
    this.#callNext();
  }

  remove(call: SpacedCall): void {
    this.#urgent.delete(call);
    this.#due.delete(call);
  }

  /** Halves the rate for a while, because AWS throttled a call. Each further throttling halves it again. */
  slowDown(): void {
    this.#slowFactor = this.#isSlow ? Math.min(SLOWEST_FACTOR, this.#slowFactor * 2) : 2;
    this.#slowUntil = performance.now() + RECOVERY_MS;
  }

  /** How many calls are due and wait. */
  get waiting(): number {
    return this.#urgent.size + this.#due.size;
  }

  /** Calls per second at the moment. */
  get currentPerSecond(): number {
    return 1000 / this.#spacingMs;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  get #isSlow(): boolean {
    return performance.now() < this.#slowUntil;
  }

  get #spacingMs(): number {
    return (1000 / this.perSecond) * (this.#isSlow ? this.#slowFactor : 1);
  }

  #callNext(): void {
    while (this.#timer === undefined) {
      const [call] = this.#urgent.size > 0 ? this.#urgent : this.#due;
      if (call === undefined) return;
      const wait = this.#lastCall + this.#spacingMs - performance.now();
      if (wait > 0) return this.#waitForNext(wait);
      this.remove(call);
      this.#lastCall = performance.now();
      call();
    }
  }

  #waitForNext(milliseconds: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#callNext();
    }, Math.ceil(milliseconds));
  }
}
