import { NAME_LENGTH } from '../names.js';

/** `b2f NA12878 (2)`: a name, and which repetition it is. */
const NUMBERED = /^(.*\S) \((\d{1,6})\)$/s;

function parseName(name: string): { base: string; number: number } {
  const [, base, number] = NUMBERED.exec(name) ?? [];
  return base === undefined ? { base: name, number: 1 } : { base, number: Number(number) };
}

/**
 * The name of an execution that repeats another one: `b2f NA12878`, `b2f NA12878 (2)`, `b2f NA12878 (3)`.
 * @param name of the repeated execution
 * @param taken names of the executions of the same flow and run
 */
export function nameRelaunch(name: string, taken: readonly string[]): string {
  const { base, number: own } = parseName(name);
  const numbers = taken
    .map(parseName)
    .filter((each) => each.base === base)
    .map(({ number }) => number);
  const suffix = ` (${Math.max(own, ...numbers) + 1})`;
  const characters = [...base];
  return characters.length + suffix.length <= NAME_LENGTH
    ? `${base}${suffix}`
    : `${characters
        .slice(0, NAME_LENGTH - suffix.length)
        .join('')
        .trimEnd()}${suffix}`;
}
