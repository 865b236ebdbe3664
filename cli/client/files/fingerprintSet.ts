import { hash } from 'node:crypto';

const FIRST_SLOTS = 1024;

/**
 * A set of texts that keeps 8 bytes of each: a hash. Two texts with the same hash count as one, which is likely only
 * among billions of texts.
 */
export class FingerprintSet {
  /** Open addressing with linear probing; 0 is an empty slot. */
  #slots = new BigUint64Array(FIRST_SLOTS);
  #size = 0;

  add(text: string): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    if (this.#insert(fingerprintOf(text))) this.#size++;
  }

  has(text: string): boolean {
    const fingerprint = fingerprintOf(text);
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
