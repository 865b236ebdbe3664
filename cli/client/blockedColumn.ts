import type { Schema } from '../../client/index.js';
import { column } from './output.js';

/** Since when something is blocked, and by what. */
export function describeBlocked(blocked: unknown): string {
  if (blocked === undefined || blocked === null) return '';
  const { since, action, kind } = blocked as Schema<'Blocked'>;
  return `${since ?? 'yes'} ${action ?? kind}`;
}

/** The column that a list has for what is blocked. */
export const BLOCKED_COLUMN = column('blocked', 'BLOCKED', describeBlocked);
