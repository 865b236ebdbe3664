import { InputError } from '../errors.js';
import { normalizeKeyword } from './parse.js';

/** How the values of a keyword sort. */
export type OrderKind = 'text' | 'time' | 'number';

/** The keywords that can sort a list. Each has an index. */
export type OrderFields = Readonly<Record<string, OrderKind>>;

/** The order of a list. Rows with the same value sort by id, in the same direction. */
export interface Order<Keyword extends string = string> {
  keyword: Keyword;
  descending: boolean;
}

/** An order as `orderBy` has it; undefined for none. */
export const formatOrder = (order: Order | undefined): string | undefined =>
  order && `${order.keyword}${order.descending ? ' desc' : ''}`;

/**
 * Parses `orderBy` (AIP-132): a keyword of the filter, and ` desc` for the opposite direction.
 * @returns undefined where it is empty
 * @throws InputError
 */
export function parseOrder<Fields extends OrderFields>(
  orderBy: string,
  fields: Fields,
): Order<keyof Fields & string> | undefined {
  const text = orderBy.trim();
  if (text === '') return undefined;
  if (text.includes(','))
    throw orderError('ORDER_KEYWORDS', 'sorts by one keyword only. Rows with the same value are sorted by id');
  const [name = '', direction = 'asc', ...others] = text.split(/\s+/);
  const keyword = normalizeKeyword(name);
  if (!Object.hasOwn(fields, keyword))
    throw orderError(
      'ORDER_KEYWORD',
      `cannot sort by ${JSON.stringify(name.slice(0, 100))}. Keywords are ${Object.keys(fields).join(', ')}`,
    );
  if (!/^(asc|desc)$/i.test(direction) || others.length > 0)
    throw orderError('ORDER_DIRECTION', `only "desc" or "asc" can follow the keyword, as in "${keyword} desc"`);
  return { keyword, descending: direction.toLowerCase() === 'desc' };
}

function orderError(rule: string, message: string): InputError {
  return new InputError([{ field: 'orderBy', rule, message }]);
}
