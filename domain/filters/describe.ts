import type { FilterFields, FilterOperator } from './filter.js';
import type { OrderFields } from './order.js';

/** The kinds of values for which a client shows different inputs. */
export type DescribedType = 'text' | 'id' | 'status' | 'choice' | 'time' | 'number' | 'boolean';

/** A keyword, for a client that helps a person to write a filter. */
export interface DescribedField {
  name: string;
  type: DescribedType;
  operators: FilterOperator[];
  /** All values, in the spelling of the filter; empty where they are not finite. */
  values: string[];
  /** Whether `filter-values` lists the values that occur. */
  listsValues: boolean;
  /** Whether `orderBy` takes it. */
  isSortable: boolean;
  description: string;
}

const EQUALITY = [':', '!='] as const;
const COMPARISON = [':', '!=', '>=', '<=', '>', '<'] as const;
const IDS = new Set(['id', 'storage.connection_id', 'input.run.id', 'input.execution.id']);

/** Describes the keywords of a list. */
export function describeFields<Fields extends FilterFields>(
  fields: Fields,
  descriptions: Readonly<Record<keyof Fields, string>>,
  order: OrderFields,
): DescribedField[] {
  return Object.entries(fields).map(([name, field]) => {
    const type = typeOf(name, fields);
    return {
      name,
      type,
      operators: field.kind === 'date' || field.kind === 'number' ? [...COMPARISON] : [...EQUALITY],
      values:
        field.kind === 'enum'
          ? field.values.map((value) => value.toLowerCase())
          : field.kind === 'boolean'
            ? ['true', 'false']
            : [],
      listsValues: canListValues(fields, name),
      isSortable: Object.hasOwn(order, name),
      description: descriptions[name as keyof Fields],
    };
  });
}

/** Whether the values of a keyword that occur can be listed: those of texts and enumerations. */
export function canListValues(fields: FilterFields, name: string): boolean {
  const kind = Object.hasOwn(fields, name) ? fields[name]!.kind : undefined;
  return kind === 'string' || kind === 'enum';
}

function typeOf(name: string, fields: FilterFields): DescribedType {
  switch (fields[name]!.kind) {
    case 'string':
      return IDS.has(name) ? 'id' : 'text';
    case 'enum':
      return name === 'status' ? 'status' : 'choice';
    case 'date':
      return 'time';
    case 'number':
      return 'number';
    case 'boolean':
      return 'boolean';
  }
}
