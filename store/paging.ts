import type { FilterTerm } from '../domain/filters/filter.js';
import type { Order } from '../domain/filters/order.js';
import { isId } from './database.js';

/** One page of a list: at most `limit` items after or before an id. */
export interface Slice {
  limit: number;
  after?: string;
  before?: string;
  /** The value that the row with this id is sorted by. Absent where the list is sorted by id. */
  key?: string;
}

/** A row of a list. */
export type Listed<T> = T & {
  /** The value that it is sorted by, as a text. Absent where the list is sorted by id. */
  sortKey?: string;
};

/** Which resources a caller may see: all, or those with these ids. A text that is no id matches nothing. */
export type Visible = 'all' | readonly string[];

/** The ids in a form that PostgreSQL accepts. SQL has no empty list, so an id that no row has takes its place. */
export function toVisibleIds(ids: readonly string[]): string[] {
  const own = ids.filter(isId);
  return own.length === 0 ? ['00000000-0000-0000-0000-000000000000'] : own;
}

/** What a list shows. */
export interface ListOptions<Keyword extends string = string> {
  /** By default the newest are first. */
  order?: Order<Keyword> | undefined;
  /** What the caller may see. */
  ids?: Visible;
  filter?: readonly FilterTerm[];
  /** Leaves out what nothing blocks. */
  onlyBlocked?: boolean;
}
