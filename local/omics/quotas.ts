import type { Caller } from './model.js';

/** Counts calls with one token bucket for each operation, account and region, as AWS does. */
export class CallQuotas {
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  /** Counts a call. @returns false when the caller has no call left. @param rate calls per second. */
  take(operation: string, { accountId, region }: Caller, rate: number): boolean {
    const key = `${accountId}/${region}/${operation}`;
    const now = Date.now();
    // With a rate below one per second, the bucket must still hold one whole token.
    const most = Math.max(1, rate);
    const bucket = this.#buckets.get(key) ?? { tokens: most, at: now };
    bucket.tokens = Math.min(most, bucket.tokens + ((now - bucket.at) / 1000) * rate);
    bucket.at = now;
    this.#buckets.set(key, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }
}
