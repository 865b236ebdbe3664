import { type RawBuilder, sql } from 'kysely';
import type { Db } from './database.js';
import { sanitizeText } from './database.js';
import { type Visible, toVisibleIds } from './paging.js';
import { folded } from './sorting.js';

/** Most values that are listed at once. */
const MOST_VALUES = 50;
/** Of a keyword without an index, the values of so many of the newest rows are listed. */
const NEWEST_ROWS = 10_000;

/** Where the values of a keyword are. */
export interface ValueSource {
  /** The tables, for `from`. */
  tables: RawBuilder<unknown>;
  /** The column with the id, by which the caller may see the row. */
  id: RawBuilder<unknown>;
  /** Null: polony knows no value. */
  column: RawBuilder<unknown> | null;
  /** The table and the text column of an index of `folded(column)`; absent without an index. */
  indexed?: { tables: RawBuilder<unknown>; column: RawBuilder<unknown>; condition?: RawBuilder<boolean> } | undefined;
}

/** Values that occur, in alphabetical order. */
export interface FoundValues {
  values: string[];
  /** Whether there are more. */
  isTruncated: boolean;
}

/** Lists the values of a keyword that occur among what a caller may see and that begin with a prefix, in any case. */
export async function listFilterValues(
  db: Db,
  { tables, id, column, indexed }: ValueSource,
  ids: Visible,
  prefix: string,
): Promise<FoundValues> {
  if (column === null) return { values: [], isTruncated: false };
  const begin = sanitizeText(prefix);
  // The ids of a narrow key are few. The index would be read to its end to find them.
  const query =
    indexed === undefined || ids !== 'all'
      ? newestValues({ tables, id, column }, ids, begin)
      : indexedValues(indexed, begin);
  const { rows } = await sql<{ value: string }>`${query}`.execute(db);
  return { values: rows.slice(0, MOST_VALUES).map(({ value }) => value), isTruncated: rows.length > MOST_VALUES };
}

function newestValues(
  { tables, id, column }: { tables: RawBuilder<unknown>; id: RawBuilder<unknown>; column: RawBuilder<unknown> },
  ids: Visible,
  prefix: string,
): RawBuilder<unknown> {
  const isVisible = ids === 'all' ? sql`true` : sql`${id} = any(${toVisibleIds(ids)}::uuid[])`;
  return sql`
    select min(value) as value from (
      select (${column})::text as value from ${tables} where ${isVisible} order by ${id} desc limit ${NEWEST_ROWS}
    ) newest
    where value <> '' and starts_with(lower(value), lower(${prefix}))
    group by lower(value) order by lower(value) collate "C" limit ${MOST_VALUES + 1}`;
}

/** Steps from one value to the next in the index, instead of reading every row. */
function indexedValues(
  { tables, column, condition = sql`true` }: NonNullable<ValueSource['indexed']>,
  prefix: string,
): RawBuilder<unknown> {
  const key = folded(column);
  const start = sql`lower(${prefix})`;
  const isBelow = sql`${key} < ${start} || ${'\u{10ffff}'}`;
  return sql`
    with recursive found (key) as (
      (select ${key} from ${tables} where ${key} >= ${start} and ${isBelow} and ${key} <> '' and ${condition}
        order by ${key} limit 1)
      union all
      select (select ${key} from ${tables} where ${key} > found.key and ${isBelow} and ${condition}
        order by ${key} limit 1)
      from found where found.key is not null
    )
    select (select ${column} from ${tables} where ${key} = found.key and ${condition} limit 1) as value
    from found where key is not null limit ${MOST_VALUES + 1}`;
}
