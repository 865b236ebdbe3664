import { type RawBuilder, sql } from 'kysely';
import type { Order, OrderFields, OrderKind } from '../domain/filters/order.js';
import type { Slice } from './paging.js';

/** What a list sorts by, as its index has it: unknown numbers and times are infinite and negative. */
export type SortColumns<Fields extends OrderFields> = Readonly<Record<keyof Fields, RawBuilder<unknown>>>;

const TYPES: Readonly<Record<OrderKind, RawBuilder<unknown>>> = {
  text: sql`text`,
  time: sql`timestamptz`,
  number: sql`float8`,
};

/** How to read one page of a sorted list. */
export interface Sorting {
  /** The value that the row is sorted by, as a text: with the id, a page can continue after it. */
  key: RawBuilder<string>;
  /** That value itself. */
  column: RawBuilder<unknown>;
  direction: RawBuilder<unknown>;
  /** Which rows come after or before the position of the slice. */
  isInSlice: RawBuilder<boolean>;
  orderBy: RawBuilder<unknown>;
}

/** A text as the indexes sort it: without case, and by its bytes. */
export const folded = (column: RawBuilder<unknown>): RawBuilder<string> => sql`(lower(${column}) collate "C")`;

/** A time as the indexes sort it. */
export const knownTime = (column: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`(coalesce(${column}, '-infinity'::timestamptz))`;

/**
 * How to read a slice in an order.
 * @param id the column with the id
 * @param isOtherTable whether the column is one of another table than the id, and few rows have the same value
 */
export function sortingOf<Fields extends OrderFields>(
  order: Order<keyof Fields & string>,
  slice: Slice,
  {
    columns,
    fields,
    id,
    isOtherTable = false,
  }: { columns: SortColumns<Fields>; fields: Fields; id: RawBuilder<unknown>; isOtherTable?: boolean },
): Sorting {
  const column = columns[order.keyword];
  const position = slice.after ?? slice.before;
  // Before a position, the nearest rows come first.
  const isDescending = order.descending === (slice.before === undefined);
  const direction = isDescending ? sql`desc` : sql`asc`;
  return {
    key: sql`${column}::text`,
    column,
    direction,
    isInSlice:
      position === undefined
        ? sql`true`
        : isBeyond(
            column,
            id,
            isDescending,
            sql`${slice.key ?? ''}::${TYPES[fields[order.keyword]!]}`,
            position,
            isOtherTable,
          ),
    orderBy: sql`${column} ${direction}, ${id} ${direction}`,
  };
}

function isBeyond(
  column: RawBuilder<unknown>,
  id: RawBuilder<unknown>,
  isDescending: boolean,
  key: RawBuilder<unknown>,
  position: string,
  isOtherTable: boolean,
): RawBuilder<boolean> {
  const [beyond, notBefore] = isDescending ? [sql`<`, sql`<=`] : [sql`>`, sql`>=`];
  // Where column and id are of two tables, no index has both. PostgreSQL would multiply the shares of rows that it expects
  // of two conditions about the column, expect next to none, and not read in the order of the index of the column.
  const isAfter = isOtherTable
    ? sql`(${column} <> ${key} or ${id} ${beyond} ${position}::uuid)`
    : sql`(${column}, ${id}) ${beyond} (${key}, ${position}::uuid)`;
  // The first condition is implied, and can use an index of the column alone.
  return sql`(${column} ${notBefore} ${key} and ${isAfter})`;
}
