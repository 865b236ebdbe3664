import { type RawBuilder, sql } from 'kysely';
import type { FilterFields, FilterOperator, FilterTerm, FilterValue } from '../domain/filters/filter.js';
import { isId, isOwnId } from './database.js';

/** A keyword whose values are ids. */
export interface IdColumn {
  id: RawBuilder<unknown>;
  /** The text of the id, as an index has it. */
  text: RawBuilder<unknown>;
  /** A small table with all ids, which is searched for a part of an id instead. */
  among?: RawBuilder<unknown>;
}

/** The SQL expression of each keyword. Null: polony does not know the value, so no row matches. */
export type FilterColumns<Fields> = Readonly<Record<keyof Fields, RawBuilder<unknown> | IdColumn | null>>;

const isIdColumn = (column: RawBuilder<unknown> | IdColumn): column is IdColumn => 'id' in column;

/** The expression of a keyword whose values are listed. */
export const valueOf = (column: RawBuilder<unknown> | IdColumn | null): RawBuilder<unknown> | null =>
  column !== null && isIdColumn(column) ? column.id : column;

/** A text with the special characters of LIKE escaped. */
const literal = (text: string): string => text.replace(/[\\%_]/g, '\\$&');

const contains = (column: RawBuilder<unknown>, text: string): RawBuilder<boolean> =>
  sql`${column} ilike ${`%${literal(text)}%`}`;

/** Compares ids. A whole id is found by the index of the id, and what no id contains is found nowhere. */
function compareId(
  { id, text: idText, among }: IdColumn,
  { text, exact }: FilterValue & { kind: 'string' },
): RawBuilder<boolean> {
  if (exact ? isOwnId(text) : isId(text)) return sql`${id} = ${text}::uuid`;
  if (exact || !/^[0-9a-f-]+$/i.test(text)) return sql`false`;
  return among === undefined
    ? contains(idText, text)
    : sql`${id} = any(array(select i.id from ${among} i where ${contains(sql`i.id::text`, text)}))`;
}

function comparison(column: RawBuilder<unknown>, operator: FilterOperator, value: FilterValue): RawBuilder<boolean> {
  switch (value.kind) {
    case 'string':
      return value.exact ? sql`${column} = ${value.text}` : contains(column, value.text);
    case 'enum':
      return sql`${column} = ${value.text}`;
    case 'boolean':
      // Not a comparison: PostgreSQL finds a partial index only by the condition itself.
      return value.boolean ? sql`${column}` : sql`not ${column}`;
    case 'number': {
      const compared = operator === ':' || operator === '!=' ? '=' : operator;
      return sql`${column} ${sql.raw(compared)} ${value.number}`;
    }
    case 'date':
      switch (operator) {
        case '>=':
          return sql`${column} >= ${value.from}`;
        case '>':
          return sql`${column} >= ${value.until}`;
        case '<':
          return sql`${column} < ${value.from}`;
        case '<=':
          return sql`${column} < ${value.until}`;
        default:
          return sql`(${column} >= ${value.from} and ${column} < ${value.until})`;
      }
  }
}

/**
 * A filter as an SQL condition. Unknown values never match `:` and always match `!=`.
 * @param strings the keywords that a term without keyword searches
 */
export function filterCondition<Fields>(
  terms: readonly FilterTerm[],
  columns: FilterColumns<Fields>,
  strings: readonly string[],
): RawBuilder<boolean> {
  const conditions = terms.map(({ keyword, operator, values }) => {
    const of = (name: string): RawBuilder<unknown> | IdColumn | null => columns[name as keyof Fields];
    const any = (names: readonly string[]): RawBuilder<boolean> => {
      const each = names.flatMap((name) => {
        const column = of(name);
        if (column === null) return [];
        return values.map((value) => {
          if (!isIdColumn(column)) return comparison(column, operator, value);
          return value.kind === 'string' ? compareId(column, value) : sql<boolean>`false`;
        });
      });
      return each.length === 0 ? sql<boolean>`false` : sql<boolean>`(${sql.join(each, sql` or `)})`;
    };
    if (keyword === undefined) return any(strings);
    // A row without the value matches neither. Only the negation must say so: around a plain comparison, coalesce would
    // hide it from the indexes.
    return operator === '!=' ? sql<boolean>`not coalesce(${any([keyword])}, false)` : any([keyword]);
  });
  return conditions.length === 0 ? sql<boolean>`true` : sql<boolean>`(${sql.join(conditions, sql` and `)})`;
}

/** The keywords whose values are texts. A term without keyword searches them. */
export const listTextKeywords = (fields: FilterFields): string[] =>
  Object.keys(fields).filter((name) => fields[name]!.kind === 'string');
