import { checkCallerName } from '../../domain/auth/callerNames.js';
import { throwIfInvalid } from '../../domain/errors.js';
import { NAME_LENGTH } from '../../domain/names.js';
import type { ApiKeyRow } from '../../store/auth.js';
import type { Caller } from '../plugins/auth.js';
import { KEY_DAYS } from './schemas.js';

const DAY_MS = 86_400_000;
/** Times of one request differ by less than this, in milliseconds. */
const SAME_TIME_MS = 60_000;

/**
 * Checks the name that a new key would take over: earlier versions allowed names that are rejected today.
 * @throws InputError that says what to do
 */
export function checkNameOfSuccessor({ name }: ApiKeyRow): void {
  const advice = 'The key still works, but it cannot be rotated. Create a key with another name in its place';
  throwIfInvalid(
    checkCallerName('name', name).map((problem) => ({ ...problem, message: `${problem.message}. ${advice}` })),
  );
}

/** How long a key was made to last, in days. */
export function daysOf({ time_created, time_expires }: ApiKeyRow): number {
  const days = Math.round((time_expires.getTime() - time_created.getTime()) / DAY_MS);
  return Math.min(KEY_DAYS.most, Math.max(KEY_DAYS.least, days));
}

/** The name of a key that another one replaces. The end of its id makes the name unique. */
export function retiredName({ id, name }: ApiKeyRow): string {
  const suffix = ` (replaced, ${id.slice(-8)})`;
  return `${[...name].slice(0, NAME_LENGTH - suffix.length).join('')}${suffix}`;
}

/** A rotation that is done. */
interface Rotation {
  caller: Caller;
  /** For how many days the new key was wanted. */
  days: number;
  row: ApiKeyRow;
  replaced: ApiKeyRow;
}

/** Says that a rotation gains less time than somebody expects: a key cannot make a key that lasts longer than itself. */
export function warnOfRotation({ caller, days, row, replaced }: Rotation): string[] {
  if (row.time_expires.getTime() > Date.now() + days * DAY_MS - SAME_TIME_MS) return [];
  const isOwn = caller.kind === 'key' && caller.id === replaced.id;
  return [
    `The new key expires at ${row.time_expires.toISOString()} and not after ${days} days, because a key cannot make ` +
      `keys that last longer than itself. ${isOwn ? 'A key that replaces itself gains no time' : 'Yours expires then'}. ` +
      'For more time, rotate as a person, with the key of the installation, or with a key that lasts longer',
  ];
}
