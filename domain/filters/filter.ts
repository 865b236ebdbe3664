import { InputError } from '../errors.js';

/** How polony compares the values of a keyword. */
export type FilterKind = 'string' | 'enum' | 'date' | 'number' | 'boolean';

/** A keyword. `prefix` may precede each value of an enumeration, as in `RUN_STATUS_FAILED`. */
export type FilterField =
  { kind: Exclude<FilterKind, 'enum'> } | { kind: 'enum'; values: readonly string[]; prefix?: string };

/** The keywords that can filter a resource. */
export type FilterFields = Readonly<Record<string, FilterField>>;

export type FilterOperator = ':' | '!=' | '>=' | '<=' | '>' | '<';

/** A value to compare with. For a date it is the time span that the text names: a day, or a moment. */
export type FilterValue =
  | { kind: 'string'; text: string; exact: boolean }
  | { kind: 'enum'; text: string }
  | { kind: 'number'; number: number }
  | { kind: 'boolean'; boolean: boolean }
  | { kind: 'date'; from: Date; until: Date };

/**
 * One condition. A row matches a filter when it meets all conditions, and it meets a condition when one value matches.
 * A condition without a keyword searches all string fields.
 */
export type FilterTerm = { keyword?: string; operator: FilterOperator; values: FilterValue[] };

/** The error for a filter that polony cannot parse. Columns count from 1. */
export function filterError(column: number, rule: string, message: string): InputError {
  return new InputError([{ field: 'filter', rule, message: `at column ${column}: ${message}` }]);
}
