import { createHash } from 'node:crypto';
import { Type } from 'typebox';
import type { OrderKind } from '../domain/filters/order.js';
import { isId } from '../store/database.js';
import type { Listed, Slice } from '../store/paging.js';
import { ApiError } from './errors.js';

/** Most items on a page. */
const MOST = 1000;
const pageToken = Type.Optional(
  Type.String({ description: 'nextPageToken or previousPageToken of another page of this list' }),
);
const pageSize = Type.Optional(
  Type.Integer({ minimum: 1, maximum: MOST, description: 'The default is 100, the maximum 1,000' }),
);
/** Paging as in the vendor's contract: 100 items per page by default, at most 1,000. */
export const PageQuery = Type.Object({ pageSize, pageToken }, { additionalProperties: false });
/**
 * Paging of lists that accept any page size and return at most 1,000 items, as the contract's storage connections do.
 */
export const CappedPageQuery = Type.Object(
  {
    pageSize: Type.Optional(
      Type.Integer({ minimum: 1, description: 'The default is 100. More than 1,000 counts as 1,000' }),
    ),
    pageToken,
  },
  { additionalProperties: false },
);
const filter = Type.Optional(
  Type.String({
    examples: ['status:failed time_completed>=7d'],
    description:
      'Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with ' +
      'commas. Instead of the colon you can use >=, <=, >, < and !=. ' +
      'Unknown values never match : and always match !=. ' +
      'Text without a keyword matches all string fields. Quotes make a value exact. ' +
      'Dates are ISO 8601, or a time ago such as 7d',
  }),
);
/** Only the filter of a filtered list, for what says something about all its pages. */
export const FilterQuery = Type.Object({ filter }, { additionalProperties: false });
const FilteredPageQuery = Type.Object(
  { filter, pageSize, pageToken, includeTotalCount: Type.Optional(Type.Boolean()) },
  { additionalProperties: false },
);

/** The query of a list with a filter and an order. @param keywords that can sort it */
export const OrderedPageQuery = (keywords: readonly string[]) =>
  Type.Object(
    {
      ...FilteredPageQuery.properties,
      orderBy: Type.Optional(
        Type.String({
          maxLength: 200,
          examples: ['time_created desc'],
          description:
            `One of ${keywords.join(', ')}, and " desc" for the opposite direction. ` +
            'Unknown numbers and times count as the lowest. The default is newest first',
        }),
      ),
    },
    { additionalProperties: false },
  );

/** Where a page begins: after or before the row with this id. */
export interface Position {
  direction: 'after' | 'before';
  id: string;
  /** The value that this row is sorted by. Absent where the list is sorted by id. */
  key?: string;
}

/** Detects a token that was cut or changed. A token grants nothing, so the checksum needs no secret. */
function checksum(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8);
}

/** The name of a filtered list. With another filter or order, a page token would silently skip rows. */
export function filteredList(list: string, filter: Readonly<Record<string, string | undefined>>): string {
  const text = JSON.stringify(filter, (_name, value: unknown) => (value === '' ? undefined : value));
  return text === '{}' ? list : `${list}?${checksum(text)}`;
}

/** A page token. It names its list, so that other lists reject it. */
export function encodePageToken(list: string, position: Position): string {
  const { direction, id, key } = position;
  const text = JSON.stringify(key === undefined ? [list, direction, id] : [list, direction, id, key]);
  return Buffer.from(`${checksum(text)}${text}`).toString('base64url');
}

/** @throws ApiError 400 INVALID_PAGE_TOKEN for a token that this list did not return */
function decodePageToken(
  list: string,
  token: string | undefined,
  isKey: (id: string) => boolean = isId,
  orderKind?: OrderKind,
): Position | undefined {
  if (token === undefined || token === '') return undefined;
  try {
    const decoded = Buffer.from(token, 'base64url').toString();
    const text = decoded.slice(8);
    const [of, direction, id, key] = JSON.parse(text) as [string, Position['direction'], unknown, string?];
    // An array with one id would pass the pattern and PostgreSQL as that id. PostgreSQL has no character NUL.
    if (typeof id !== 'string' || id.includes('\0')) throw new Error('no key');
    // Base64 has several spellings of the same content. Only the one that the list returned is valid.
    if (
      checksum(text) === decoded.slice(0, 8) &&
      of === list &&
      (direction === 'after' || direction === 'before') &&
      isKey(id) &&
      (orderKind === undefined ? key === undefined : isSortKey(key, orderKind)) &&
      encodePageToken(list, { direction, id, ...(key !== undefined && { key }) }) === token
    )
      return { direction, id, ...(key !== undefined && { key }) };
  } catch {
    // The token is not ours.
  }
  throw new ApiError(
    400,
    'INVALID_PAGE_TOKEN',
    'pageToken does not come from this list with this filter and order. Start again without pageToken',
    { field: 'pageToken' },
  );
}

/** A time of day with its offset. Offsets of the 19th century have seconds. */
const CLOCK = String.raw`([01]\d|2[0-3])(:[0-5]\d){2}(\.\d{1,6})?[+-](0\d|1[0-4])(:[0-5]\d){0,2}`;
const SORT_KEYS: Readonly<Record<OrderKind, RegExp>> = {
  text: /^[^\0\p{Cs}]*$/u,
  number: /^(-?Infinity|NaN|-?\d{1,400}(\.\d{1,400})?(e[+-]?\d{1,3})?)$/,
  // In another time zone, the first and the last year that a run can have end in the years before and after them.
  time: new RegExp(String.raw`^(-infinity|(\d{4}-\d{2}-\d{2}|10000-01-01) ${CLOCK}|0001-12-31 ${CLOCK} BC)$`),
};

/** Whether PostgreSQL accepts a text as a value to continue after. Only a forged token has another one. */
function isSortKey(key: unknown, kind: OrderKind): boolean {
  if (typeof key !== 'string' || !SORT_KEYS[kind].test(key)) return false;
  if (kind === 'number') {
    const value = Number(key);
    // PostgreSQL rejects what is too large, and what is too small to differ from 0.
    const isInRange = Number.isFinite(value) && (value !== 0 || !/^[^e]*[1-9]/.test(key));
    return isInRange || /^(-?Infinity|NaN)$/.test(key);
  }
  return kind === 'text' || /^(-inf|10000)/.test(key) || isDay(key.slice(0, 10));
}

/** Whether there is a day: JavaScript takes the 30th of February for a day in March. */
function isDay(text: string): boolean {
  const day = new Date(`${text}T00:00:00Z`);
  return day.getUTCFullYear() > 0 && day.toISOString().startsWith(text);
}

/** Most characters of the rows of a page. To write ten times as many as JSON keeps other requests waiting. */
const PAGE_CHARACTERS = 4_000_000;

/**
 * The rows of a page: as many as were asked for, or fewer where they are large.
 * @param rows one more than asked for, if there are more
 */
function takePage<T>(rows: T[], size: number): { items: T[]; more: boolean } {
  let left = PAGE_CHARACTERS;
  let count = 0;
  while (count < Math.min(rows.length, size) && (count === 0 || left > 0)) left -= countCharacters(rows[count++], left);
  return { items: rows.slice(0, count), more: rows.length > count };
}

/** About how many characters a value has as JSON. Stops at the most that matter. */
function countCharacters(value: unknown, most: number): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 8;
  let count = 2;
  // Not Object.entries: this was 7 % of the work for a page.
  for (const name in value) {
    if (count > most) break;
    count += name.length + countCharacters((value as Record<string, unknown>)[name], most - count);
  }
  return count;
}

/** A page of a list that is oldest first and is read forwards, by id. */
export async function pageForwards<T extends { id: string }>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (limit: number, after?: string) => Promise<T[]>,
): Promise<{ items: T[]; nextPageToken: string }> {
  return pageByKey(list, query, read, ({ id }) => id, isId);
}

/** A page of a list in the order of another key. */
export async function pageByKey<T>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (limit: number, after?: string) => Promise<T[]>,
  keyOf: (row: T) => string,
  isKey: (key: string) => boolean,
): Promise<{ items: T[]; nextPageToken: string }> {
  const size = Math.min(query.pageSize ?? 100, MOST);
  const { items, more } = takePage(await read(size + 1, decodePageToken(list, query.pageToken, isKey)?.id), size);
  return { items, nextPageToken: more ? encodePageToken(list, { direction: 'after', id: keyOf(items.at(-1)!) }) : '' };
}

/**
 * A page of a list that can be read in both directions.
 * @param orderKind how the values sort that the list is sorted by; absent where it is newest first
 */
export async function pageBothWays<T extends Listed<{ id: string }>>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (slice: Slice) => Promise<T[]>,
  orderKind?: OrderKind,
): Promise<{ items: T[]; nextPageToken: string; previousPageToken: string }> {
  const size = Math.min(query.pageSize ?? 100, MOST);
  const position = decodePageToken(list, query.pageToken, isId, orderKind);
  const rows = await read({
    limit: size + 1,
    ...(position !== undefined && { [position.direction]: position.id, key: position.key }),
  });
  const { items, more } = takePage(rows, size);
  const backwards = position?.direction === 'before';
  if (backwards) items.reverse();
  const token = (direction: Position['direction'], row: T | undefined): string =>
    row === undefined
      ? ''
      : encodePageToken(list, { direction, id: row.id, ...(row.sortKey !== undefined && { key: row.sortKey }) });
  return {
    items,
    nextPageToken: more || backwards ? token('after', items.at(-1)) : '',
    previousPageToken: position !== undefined && (!backwards || more) ? token('before', items[0]) : '',
  };
}
