import { type RawBuilder, sql } from 'kysely';
import type { FilterFields, FilterOperator, FilterTerm, FilterValue } from '../domain/filters/filter.js';

/** The SQL expression of each keyword. Null: polony does not know the value, so no row matches. */
export type FilterColumns<Fields> = Readonly<Record<keyof Fields, RawBuilder<unknown> | null>>;

/** A text with the special characters of LIKE escaped. */
const literal = (text: string): string => text.replace(/[\\%_]/g, '\\$&');

const contains = (column: RawBuilder<unknown>, text: string): RawBuilder<boolean> =>
  sql`${column} ilike ${`%${literal(text)}%`}`;

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
    const of = (name: string): RawBuilder<unknown> | null => columns[name as keyof Fields];
    const any = (names: readonly string[]): RawBuilder<boolean> => {
      const each = names.flatMap((name) => {
        const column = of(name);
        return column === null ? [] : values.map((value) => comparison(column, operator, value));
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
