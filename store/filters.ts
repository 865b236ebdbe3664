import { type RawBuilder, sql } from 'kysely';
import type { FilterFields, FilterOperator, FilterTerm, FilterValue } from '../domain/filter.js';

/** What a keyword stands for in a query; null where polony knows nothing of it, so that no row has it. */
export type FilterColumns<Fields> = Readonly<Record<keyof Fields, RawBuilder<unknown> | null>>;

/** A text as LIKE takes it literally. */
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
      return sql`${column} = ${value.boolean}`;
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

/** A filter as a condition; what is not known of a row is never what was asked for, and always other than it. */
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
        return column === null
          ? []
          : values.map((value) => sql<boolean>`coalesce(${comparison(column, operator, value)}, false)`);
      });
      return each.length === 0 ? sql<boolean>`false` : sql<boolean>`(${sql.join(each, sql` or `)})`;
    };
    if (keyword === undefined) return any(strings);
    return operator === '!=' ? sql<boolean>`not ${any([keyword])}` : any([keyword]);
  });
  return conditions.length === 0 ? sql<boolean>`true` : sql<boolean>`(${sql.join(conditions, sql` and `)})`;
}

export const listTextKeywords = (fields: FilterFields): string[] =>
  Object.keys(fields).filter((name) => fields[name]!.kind === 'string');
