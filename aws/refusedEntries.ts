import type { LeftOutEntry, SessionEntry } from '../domain/iam/sessionPolicies.js';

/**
 * How many policies the search tries at most. One bad entry among a hundred takes about 15 calls, and a policy of 2,048
 * characters holds no more than that.
 */
const MOST_TRIES = 60;

/**
 * Finds the entries of a session policy that AWS does not accept. AWS judges a policy as a whole and does not say which
 * part is at fault, so this tries halves of halves.
 * @param entries that AWS does not accept together
 * @param findRefusal what AWS says about a policy with these entries; undefined if it accepts them
 * @returns undefined where no single entry is at fault, or too many are.
 */
export async function findRefusedEntries(
  entries: readonly SessionEntry[],
  findRefusal: (entries: readonly SessionEntry[]) => Promise<string | undefined>,
): Promise<LeftOutEntry[] | undefined> {
  let tries = 0;
  const search = async (part: readonly SessionEntry[], isKnownRefused: boolean): Promise<LeftOutEntry[]> => {
    const [first, ...others] = part;
    if (first === undefined || tries >= MOST_TRIES) return [];
    const mustAsk = others.length === 0 || !isKnownRefused;
    if (mustAsk) {
      tries++;
      const reason = await findRefusal(part);
      if (reason === undefined) return [];
      if (others.length === 0) return [{ entry: first, reason }];
    }
    const middle = Math.ceil(part.length / 2);
    return [...(await search(part.slice(0, middle), false)), ...(await search(part.slice(middle), false))];
  };
  const refused = await search(entries, true);
  return refused.length === 0 || tries >= MOST_TRIES ? undefined : refused;
}
