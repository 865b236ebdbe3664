import { createHash } from 'node:crypto';
import { Type } from 'typebox';
import { isId } from '../store/database.js';
import { ApiError } from './errors.js';

const MOST = 1000;
const pageToken = Type.Optional(
  Type.String({ description: 'nextPageToken (or previousPageToken) of another page of this list' }),
);
const pageSize = Type.Optional(
  Type.Integer({ minimum: 1, maximum: MOST, description: '100 where it is left out, 1,000 at most' }),
);
/** Paging of the vendor's contract: 100 a page unless told, 1,000 at most. */
export const PageQuery = Type.Object({ pageSize, pageToken }, { additionalProperties: false });
/** The contract's storage connections alone take any size and answer 1,000 at most. */
export const CappedPageQuery = Type.Object(
  {
    pageSize: Type.Optional(
      Type.Integer({ minimum: 1, description: '100 where it is left out; over 1,000 counts as 1,000' }),
    ),
    pageToken,
  },
  { additionalProperties: false },
);
const filter = Type.Optional(
  Type.String({
    examples: ['status:failed time_completed>=7d'],
    description:
      'keyword:value, separated by spaces, all of which must hold; commas between alternatives; >=, <=, >, < and != in place of the colon; text alone is looked for in all string fields; quotes make a value exact; dates are ISO 8601 or a time ago such as 7d',
  }),
);
export const FilteredPageQuery = Type.Object(
  { filter, pageSize, pageToken, includeTotalCount: Type.Optional(Type.Boolean()) },
  { additionalProperties: false },
);

/** Where a page begins: behind (`after`) or before (`before`) the row with this id. */
export interface Position {
  direction: 'after' | 'before';
  id: string;
}

/** A token that was cut short or changed is told from one of ours by this. It grants nothing, so it needs no secret. */
function checksum(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8);
}

/** The name of a list as it is filtered: read on with another filter it would leave out rows, and nobody would be told. */
export function filteredList(list: string, filter: Readonly<Record<string, string | undefined>>): string {
  const text = JSON.stringify(filter, (_name, value: unknown) => (value === '' ? undefined : value));
  return text === '{}' ? list : `${list}?${checksum(text)}`;
}

/** Page tokens name the list they are of, so that one of another list is refused. */
export function encodePageToken(list: string, position: Position): string {
  const text = JSON.stringify([list, position.direction, position.id]);
  return Buffer.from(`${checksum(text)}${text}`).toString('base64url');
}

/** @throws ApiError 400 INVALID_PAGE_TOKEN for anything that this list has not answered. */
export function decodePageToken(
  list: string,
  token: string | undefined,
  isKey: (id: string) => boolean = isId,
): Position | undefined {
  if (token === undefined || token === '') return undefined;
  try {
    const decoded = Buffer.from(token, 'base64url').toString();
    const text = decoded.slice(8);
    const [of, direction, id] = JSON.parse(text) as [string, Position['direction'], unknown];
    // A list of one id passes as that id, to a pattern and to PostgreSQL; and PostgreSQL has no character NUL.
    if (typeof id !== 'string' || id.includes('\0')) throw new Error('no key');
    // Base64 has several spellings of one content: only ours is taken.
    if (
      checksum(text) === decoded.slice(0, 8) &&
      of === list &&
      (direction === 'after' || direction === 'before') &&
      isKey(id) &&
      encodePageToken(list, { direction, id }) === token
    )
      return { direction, id };
  } catch {
    // Said below.
  }
  throw new ApiError(
    400,
    'INVALID_PAGE_TOKEN',
    'pageToken is not one that this list, with this filter, has answered; start again without it',
    { field: 'pageToken' },
  );
}

/** A page of a list that is oldest first and is read forwards. */
export async function pageForwards<T extends { id: string }>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (limit: number, after?: string) => Promise<T[]>,
): Promise<{ items: T[]; nextPageToken: string }> {
  return pageByKey(list, query, read, ({ id }) => id, isId);
}

/** The same of a list in the order of another key. */
export async function pageByKey<T>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (limit: number, after?: string) => Promise<T[]>,
  keyOf: (row: T) => string,
  isKey: (key: string) => boolean,
): Promise<{ items: T[]; nextPageToken: string }> {
  const size = Math.min(query.pageSize ?? 100, MOST);
  const rows = await read(size + 1, decodePageToken(list, query.pageToken, isKey)?.id);
  const items = rows.slice(0, size);
  return {
    items,
    nextPageToken: rows.length > size ? encodePageToken(list, { direction: 'after', id: keyOf(items.at(-1)!) }) : '',
  };
}

/** A page of a list that is newest first and can be walked both ways. */
export async function pageBothWays<T extends { id: string }>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (slice: { limit: number; after?: string; before?: string }) => Promise<T[]>,
): Promise<{ items: T[]; nextPageToken: string; previousPageToken: string }> {
  const size = Math.min(query.pageSize ?? 100, MOST);
  const position = decodePageToken(list, query.pageToken);
  const rows = await read({ limit: size + 1, ...(position !== undefined && { [position.direction]: position.id }) });
  const more = rows.length > size;
  const items = rows.slice(0, size);
  const backwards = position?.direction === 'before';
  if (backwards) items.reverse();
  const token = (direction: Position['direction'], row: T | undefined): string =>
    row === undefined ? '' : encodePageToken(list, { direction, id: row.id });
  return {
    items,
    nextPageToken: more || backwards ? token('after', items.at(-1)) : '',
    previousPageToken: position !== undefined && (!backwards || more) ? token('before', items[0]) : '',
  };
}
