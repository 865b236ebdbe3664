import type { LeftOutEntry, SessionEntry } from '../domain/iam/sessionPolicies.js';

/**
 * How many policies the search tries at most. One bad entry among a hundred takes about 10 calls, ten take about 60, and
 * a policy of 2,048 characters holds no more than that.
 */
const MOST_TRIES = 60;

/** Entries that the search asks about together. */
interface Part {
  entries: readonly SessionEntry[];
  /** What AWS said about them, or about entries with them whose others it accepts. */
  refusal?: string;
  /** What it said about the part that this is a half of. */
  refusalOfWhole: string;
  /** The second half, where this is the first one. */
  otherHalf?: Part;
}

/**
 * Finds entries that a session policy must leave out so that AWS accepts the rest. AWS judges a policy as a whole and
 * does not say which part is at fault, so this tries halves of halves, the largest first. AWS has accepted everything
 * that is kept in one policy. At the limit of tries, the search leaves out what was not shown to be good.
 * @param entries that AWS does not accept together
 * @param refusal what AWS said about them
 * @param findRefusal what AWS says about a policy with these entries; undefined if it accepts them. It must accept a
 * policy without any.
 */
export async function findRefusedEntries(
  entries: readonly SessionEntry[],
  refusal: string,
  findRefusal: (entries: readonly SessionEntry[]) => Promise<string | undefined>,
): Promise<LeftOutEntry[]> {
  const kept: SessionEntry[] = [];
  const leftOut: LeftOutEntry[] = [];
  const parts: Part[] = [{ entries, refusal, refusalOfWhole: refusal }];
  let tries = 0;
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const [first, ...others] = part.entries;
    // A single entry is asked about even if it must be at fault: only then is the reason its own.
    if ((part.refusal === undefined || others.length === 0) && tries < MOST_TRIES) {
      tries++;
      part.refusal = await findRefusal([...kept, ...part.entries]);
      if (part.refusal === undefined) {
        kept.push(...part.entries);
        // Nothing but the other half can be what AWS does not accept.
        if (part.otherHalf !== undefined) part.otherHalf.refusal ??= part.refusalOfWhole;
        continue;
      }
    }
    if (part.refusal !== undefined && others.length === 0) leftOut.push({ entry: first!, reason: part.refusal });
    else if (part.refusal !== undefined && tries < MOST_TRIES) parts.push(...halve(part.entries, part.refusal));
    else leftOut.push(...part.entries.map((entry) => toUntried(entry, part.refusal ?? part.refusalOfWhole)));
  }
  return leftOut;
}

function halve(entries: readonly SessionEntry[], refusalOfWhole: string): [Part, Part] {
  const middle = Math.ceil(entries.length / 2);
  const otherHalf: Part = { entries: entries.slice(middle), refusalOfWhole };
  return [{ entries: entries.slice(0, middle), refusalOfWhole, otherHalf }, otherHalf];
}

function toUntried(entry: SessionEntry, refusal: string): LeftOutEntry {
  return {
    entry,
    isUntried: true,
    reason:
      `AWS does not accept it together with others, and polony stopped after ${MOST_TRIES} tries to find out which ` +
      `are at fault: ${refusal}`,
  };
}
