import { setFlagsFromString } from 'node:v8';
import { beginStart } from '../../startMemory.js';

/** How much a heap may grow before V8 collects it as a whole, in percent of what was in use the last time. */
const GROWTH_PERCENT = 50;

/**
 * Call it before a transfer. V8 lets a small heap grow to about four times of what is in use, and its space for new
 * objects to 32 MB. The garbage of many files then takes more memory than the transfer does.
 */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
  // No transfer ends its start: that space stays small.
  beginStart();
}
