import type { FilterTerm } from '../domain/filter.js';
import { isId } from './database.js';

/** Where a page lies: behind or before an id, newest first. */
export interface Slice {
  limit: number;
  after?: string;
  before?: string;
}

/** Which resources a caller may see: all, or those of these ids, of which some may be none. */
export type Visible = 'all' | readonly string[];

/** The ids as PostgreSQL takes them; a list of none is no SQL, so one that nothing has stands for it. */
export function toVisibleIds(ids: readonly string[]): string[] {
  const own = ids.filter(isId);
  return own.length === 0 ? ['00000000-0000-0000-0000-000000000000'] : own;
}

/** What a list is narrowed to. */
export interface ListOptions {
  /** Those that the caller may see. */
  ids?: Visible;
  filter?: readonly FilterTerm[];
}
