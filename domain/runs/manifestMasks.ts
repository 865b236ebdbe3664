import type { Cycles, ReadName } from './runParameters.js';

/** A part of a mask that covers one read. */
interface MaskSection {
  read: ReadName;
  parts: { isUsed: boolean; count: number | undefined }[];
}

const SECTION = /^(?:([IR][12]):)?((?:[YN](?:\d+|\*)?)+)$/i;

/**
 * Parses a mask of Bases2Fastq, such as `Y8N*`, `I1:Y8N*` or `R1:Y*N-R2:Y*N`. A mask of one read may leave out which
 * read it is; a mask of several names each of them.
 * Source: Element's documentation of run manifests, "Base Masks" and "Read Identifiers".
 * @param defaultRead the read of a mask that names none.
 * @returns undefined where the text is not a mask.
 */
export function parseMask(text: string, defaultRead: ReadName): MaskSection[] | undefined {
  const sections = text
    .split(':')
    .map((part) => part.trim())
    .join(':')
    .split(/[\s,;+_|&/-]+|(?=[IR][12]:)/i)
    .filter((section) => section !== '')
    .map((section) => SECTION.exec(section));
  if (sections.length === 0) return undefined;
  const parsed: MaskSection[] = [];
  for (const section of sections) {
    if (section === null || (section[1] === undefined && sections.length > 1)) return undefined;
    parsed.push({
      read: (section[1]?.toUpperCase() as ReadName | undefined) ?? defaultRead,
      parts: [...section[2]!.matchAll(/([YN])(\d+|\*)?/gi)].map(([, kind, count]) => ({
        isUsed: kind!.toUpperCase() === 'Y',
        count: count === '*' ? undefined : Number(count ?? 1),
      })),
    });
  }
  return parsed;
}

/**
 * How many cycles of its reads a mask uses; or the first read that has fewer cycles than the mask names, and how many
 * all its reads have.
 */
export type MaskedCycles = { used: number } | { tooLongFor: ReadName; most: number };

/**
 * Counts the cycles that a mask uses.
 * @returns undefined where a part of the mask has several parts of open length, because their lengths are then unclear.
 */
export function countUsedCycles(sections: readonly MaskSection[], cycles: Cycles): MaskedCycles | undefined {
  let used = 0;
  for (const { read, parts } of sections) {
    const total = cycles[read] ?? 0;
    const fixed = parts.reduce((sum, part) => sum + (part.count ?? 0), 0);
    if (fixed > total) return { tooLongFor: read, most: countAllCycles(sections, cycles) };
    if (parts.filter((part) => part.count === undefined).length > 1) return undefined;
    used += parts.reduce((sum, part) => sum + (part.isUsed ? (part.count ?? total - fixed) : 0), 0);
  }
  return { used };
}

function countAllCycles(sections: readonly MaskSection[], cycles: Cycles): number {
  const reads = new Set(sections.map(({ read }) => read));
  return [...reads].reduce((sum, read) => sum + (cycles[read] ?? 0), 0);
}
