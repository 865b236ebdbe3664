import type { Cycles, ReadName } from './runParameters.js';

const MASK = /^\s*(I1|I2|R1|R2)\s*:\s*((?:[YN](?:\d+|\*)?)+)\s*$/i;

/** Whether a text is a mask of Bases2Fastq, such as `I1:Y8N*`. */
export function isMask(text: string): boolean {
  return MASK.test(text);
}

/** How many cycles the read of a mask has. */
export function cyclesOfMaskedRead(mask: string, cycles: Cycles): number {
  return cycles[mask.trim().slice(0, 2).toUpperCase() as ReadName] ?? 0;
}

/**
 * How many cycles of its read a mask uses. Undefined when the text is not a mask, uses more cycles than the read has,
 * or has several parts of open length.
 */
export function countUsedCycles(mask: string, cycles: Cycles): number | undefined {
  const match = MASK.exec(mask);
  if (match === null) return undefined;
  const total = cycles[match[1]!.toUpperCase() as ReadName] ?? 0;
  const parts = [...match[2]!.matchAll(/([YN])(\d+|\*)?/gi)].map(([, kind, count]) => ({
    isUsed: kind!.toUpperCase() === 'Y',
    count: count === '*' ? undefined : Number(count ?? 1),
  }));
  if (parts.filter((part) => part.count === undefined).length > 1) return undefined;
  const fixed = parts.reduce((sum, part) => sum + (part.count ?? 0), 0);
  if (fixed > total) return undefined;
  return parts.reduce((sum, part) => sum + (part.isUsed ? (part.count ?? total - fixed) : 0), 0);
}
