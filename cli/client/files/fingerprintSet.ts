import { hash } from 'node:crypto';

/** Parts of a set. Each grows by itself, so that the set is never in memory twice. */
const PARTS = 256;
const FIRST_SLOTS = 16;

/**
 * A set of texts that keeps 8 bytes of each: a hash. Two texts with the same hash count as one, which is likely only
 * among billions of texts.
 */
export class FingerprintSet {
  readonly #parts = Array.from({ length: PARTS }, () => new Part());

  add(text: string): void {
    const fingerprint = fingerprintOf(text);
    this.#partOf(fingerprint).add(fingerprint);
  }

  has(text: string): boolean {
    const fingerprint = fingerprintOf(text);
    return this.#partOf(fingerprint).has(fingerprint);
  }

  /** By the first bits of the fingerprint; the place in the part follows from the last. */
  #partOf(fingerprint: bigint): Part {
    return this.#parts[Number(fingerprint >> 56n)]!;
  }
}

/** A set of fingerprints. */
class Part {
  /** Open addressing with linear probing; 0 is an empty slot. */
  #slots = new BigUint64Array(FIRST_SLOTS);
  #size = 0;

  add(fingerprint: bigint): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    if (this.#insert(fingerprint)) this.#size++;
  }

  has(fingerprint: bigint): boolean {
    return this.#slots[this.#slotOf(fingerprint)] === fingerprint;
  }

  #insert(fingerprint: bigint): boolean {
    const slot = this.#slotOf(fingerprint);
    if (this.#slots[slot] === fingerprint) return false;
    this.#slots[slot] = fingerprint;
    return true;
  }

  /** The slot that has the fingerprint, or the empty one for it. */
  #slotOf(fingerprint: bigint): number {
    const mask = this.#slots.length - 1;
    let slot = Number(fingerprint & 0xffff_ffffn) & mask;
    while (this.#slots[slot] !== 0n && this.#slots[slot] !== fingerprint) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new BigUint64Array(before.length * 2);
    for (const fingerprint of before) if (fingerprint !== 0n) this.#insert(fingerprint);
  }
}

/** The first 8 bytes of an MD5, and never 0. */
function fingerprintOf(text: string): bigint {
  return hash('md5', text, 'buffer').readBigUInt64LE() || 1n;
}
