import { Type } from 'typebox';
import { InputError } from '../domain/errors.js';
import { canListValues } from '../domain/filters/describe.js';
import type { FilterFields } from '../domain/filters/filter.js';
import { normalizeKeyword } from '../domain/filters/parse.js';
import { component } from './openapi/components.js';
import { closed, errors, oneOf, responseBody, strings } from './openapi/shared.js';

const FilterField = component(
  'FilterField',
  Type.Object(
    {
      name: Type.String({ description: 'The keyword' }),
      type: oneOf(['text', 'id', 'status', 'choice', 'time', 'number', 'boolean']),
      operators: Type.Array(oneOf([':', '!=', '>=', '<=', '>', '<'])),
      values: strings('All values; empty where they are not finite'),
      listsValues: Type.Boolean({ description: 'Whether filter-values lists the values that occur' }),
      isSortable: Type.Boolean({ description: 'Whether orderBy takes it' }),
      description: Type.String(),
    },
    closed,
  ),
);

/** The responses of a route that describes the keywords of a list. */
export const filterFieldsResponse = {
  200: responseBody('The keywords', { fields: Type.Array(FilterField) }),
  ...errors(),
};

/** The query of a route that lists the values of a keyword. */
export const FilterValuesQuery = Type.Object(
  {
    field: Type.String({ maxLength: 100, description: 'A keyword of the filter whose values are texts' }),
    prefix: Type.Optional(Type.String({ maxLength: 200, description: 'How the values begin, in any case' })),
  },
  closed,
);

/** The responses of a route that lists the values of a keyword. */
export const filterValuesResponse = {
  200: responseBody('The values', {
    values: strings('At most 50, in alphabetical order'),
    isTruncated: Type.Boolean({ description: 'Whether there are more' }),
  }),
  ...errors(),
};

/** The keyword that a query names. @throws InputError where there is none, or its values cannot be listed */
export function requireKeyword<Fields extends FilterFields>(fields: Fields, given: string): keyof Fields & string {
  const keyword = normalizeKeyword(given);
  if (canListValues(fields, keyword)) return keyword;
  const isKnown = Object.hasOwn(fields, keyword);
  const listed = Object.keys(fields).filter((name) => canListValues(fields, name));
  throw new InputError([
    {
      field: 'field',
      rule: isKnown ? 'FILTER_VALUES' : 'FILTER_KEYWORD',
      message:
        (isKnown
          ? `the values of ${keyword} cannot be listed, because they are no texts. `
          : `there is no keyword ${JSON.stringify(given.slice(0, 100))}. `) +
        `Keywords with lists of values are ${listed.join(', ')}`,
    },
  ]);
}
