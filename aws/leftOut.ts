import { describeEntry, type LeftOutEntry } from '../domain/iam/sessionPolicies.js';

const LEFT_OUT = Symbol('polony.leftOut');

/**
 * Adds to a denial what the session policy leaves out, which may be why AWS denied the call.
 * @returns the same error.
 */
export function noteLeftOut(error: unknown, leftOut: readonly LeftOutEntry[]): unknown {
  if (!(error instanceof Error) || leftOut.length === 0) return error;
  error.message = `${error.message.replace(/\.$/, '')}. ${explainLeftOut(leftOut)}`;
  return Object.assign(error, { [LEFT_OUT]: leftOut });
}

/** What {@link noteLeftOut} added to an error, as a sentence; undefined for nothing. */
export function readLeftOutNote(error: unknown): string | undefined {
  const { [LEFT_OUT]: leftOut } = (error ?? {}) as { [LEFT_OUT]?: readonly LeftOutEntry[] };
  return leftOut && explainLeftOut(leftOut);
}

function explainLeftOut(leftOut: readonly LeftOutEntry[]): string {
  const entries = leftOut.map(({ entry, reason }) => `${describeEntry(entry)} (${reason})`);
  return (
    'polony leaves out of the session policy of the provider what AWS does not accept there, so no call for it is ' +
    `allowed: ${entries.join(', ')}`
  );
}
