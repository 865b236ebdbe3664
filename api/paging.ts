import { Type } from 'typebox';
import { isId } from '../store/database.js';
import { ApiError } from './errors.js';

/** Paging of the vendor's contract: 100 a page unless told, 1,000 at most. */
export const PageQuery = Type.Object(
  {
    pageSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
    pageToken: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);
export const CountedPageQuery = Type.Object({ ...PageQuery.properties, includeTotalCount: Type.Optional(Type.Boolean()) }, { additionalProperties: false });

/** Where a page begins: behind (`after`) or before (`before`) the row with this id. */
export interface Position {
  direction: 'after' | 'before';
  id: string;
}

/** Page tokens name the list they are of, so that one of another list is refused. */
export function encodePageToken(list: string, position: Position): string {
  return Buffer.from(JSON.stringify([list, position.direction, position.id])).toString('base64url');
}

export function decodePageToken(list: string, token: string | undefined): Position | undefined {
  if (token === undefined || token === '') return undefined;
  try {
    const [of, direction, id] = JSON.parse(Buffer.from(token, 'base64url').toString()) as [string, Position['direction'], string];
    if (of === list && (direction === 'after' || direction === 'before') && isId(id)) return { direction, id };
  } catch {
    // Said below.
  }
  throw new ApiError(400, 'INVALID_PAGE_TOKEN', 'pageToken is not one that this list has answered; start again without it');
}

/** A page out of rows that were asked for with one more than its size. */
export function toPage<T extends { id: string }>(list: string, rows: T[], size: number): { items: T[]; nextPageToken: string } {
  const items = rows.slice(0, size);
  return { items, nextPageToken: rows.length > size ? encodePageToken(list, { direction: 'after', id: items.at(-1)!.id }) : '' };
}

/** A page of a list that is newest first and can be walked both ways. */
export async function pageBothWays<T extends { id: string }>(
  list: string,
  query: { pageSize?: number; pageToken?: string },
  read: (slice: { limit: number; after?: string; before?: string }) => Promise<T[]>,
): Promise<{ items: T[]; nextPageToken: string; previousPageToken: string }> {
  const size = query.pageSize ?? 100;
  const position = decodePageToken(list, query.pageToken);
  const rows = await read({ limit: size + 1, ...(position !== undefined && { [position.direction]: position.id }) });
  const more = rows.length > size;
  const items = rows.slice(0, size);
  const backwards = position?.direction === 'before';
  if (backwards) items.reverse();
  const token = (direction: Position['direction'], row: T | undefined): string => (row === undefined ? '' : encodePageToken(list, { direction, id: row.id }));
  return {
    items,
    nextPageToken: more || backwards ? token('after', items.at(-1)) : '',
    previousPageToken: position !== undefined && (!backwards || more) ? token('before', items[0]) : '',
  };
}
