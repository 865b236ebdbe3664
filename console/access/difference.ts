/** A part of a policy statement that is not as polony wrote it. */
export interface Difference {
  sid: string;
  /** Such as `Action`; the whole statement where the policy has none. */
  member: string;
  expected: unknown;
  found: unknown;
}

type Statement = Readonly<Record<string, unknown>>;

/** Order of lists means nothing in a policy, and one value is the same as a list of it. */
function normalize(value: unknown): unknown {
  if (Array.isArray(value)) {
    const all = value.map(normalize);
    return all.length === 1
      ? all[0]
      : [...all].sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
  }
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value)
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([name, each]) => [name, normalize(each)]),
    );
  return value;
}

const isSame = (one: unknown, other: unknown): boolean =>
  JSON.stringify(normalize(one)) === JSON.stringify(normalize(other));

/**
 * What differs between the statements of a grant and those that the bucket policy has under the same Sids.
 * @param expected what polony wrote
 * @param found what the policy has now
 */
export function differencesOf(expected: readonly object[], found: readonly object[]): Difference[] {
  return (expected as Statement[]).flatMap((own): Difference[] => {
    const sid = String(own.Sid);
    const others = (found as Statement[]).filter((each) => each.Sid === own.Sid);
    if (others.length === 0) return [{ sid, member: 'the whole statement', expected: own, found: undefined }];
    return others.flatMap((other) => {
      const members = [...new Set([...Object.keys(own), ...Object.keys(other)])];
      return members
        .filter((member) => !isSame(own[member], other[member]))
        .map((member) => ({ sid, member, expected: own[member], found: other[member] }));
    });
  });
}
