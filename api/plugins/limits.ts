import type { FastifyInstance, FastifyRequest } from 'fastify';
import { InputError } from '../../domain/errors.js';
import { findJsonExcess, type JsonLimits } from '../../domain/json.js';

/**
 * Largest JSON of a body. A text counts as one value, whatever its length. A validator that reports everything that is
 * wrong with a larger body would stop the event loop.
 */
export const BODY_SIZE: JsonLimits = { depth: 32, values: 6000 };
/** Longest text, in characters, and longest list of a request, where the schema of a field states no limit. */
const DEFAULT_LIMITS = { maxLength: 4096, maxItems: 1000 };
/** Most parameters in a query; a repeated one counts each time. */
const MOST_PARAMETERS = 200;

type Schema = Record<string, unknown>;

/**
 * Limits every text and every list in bodies and queries: the time of a check follows from their length. The limits are
 * in the schemas, so the OpenAPI document shows them. Call it before routes are added.
 */
export function addLimits(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (route.schema === undefined) return;
    const { body, querystring } = route.schema;
    route.schema = {
      ...route.schema,
      ...(body !== undefined && { body: limitSchema(body as Schema) }),
      ...(querystring !== undefined && { querystring: limitSchema(querystring as Schema) }),
    };
  });
  app.addHook('preValidation', async (request) => checkQuerySize(request));
}

/** A copy of a schema whose texts and lists all have a limit. */
function limitSchema(schema: Schema): Schema {
  const types = [schema.type].flat();
  const isChoice = schema.enum !== undefined || schema.const !== undefined;
  const limited: Schema = {
    ...(types.includes('string') && !isChoice && { maxLength: DEFAULT_LIMITS.maxLength }),
    ...(types.includes('array') && { maxItems: DEFAULT_LIMITS.maxItems }),
    ...schema,
  };
  for (const name of ['items', 'additionalProperties']) {
    const inner = schema[name];
    if (isSchema(inner)) limited[name] = limitSchema(inner);
  }
  for (const name of ['anyOf', 'oneOf', 'allOf']) {
    const inner = schema[name];
    if (Array.isArray(inner))
      limited[name] = inner.map((each) => (isSchema(each) ? limitSchema(each) : (each as unknown)));
  }
  if (isSchema(schema.properties))
    limited.properties = Object.fromEntries(
      Object.entries(schema.properties).map(([name, inner]) => [name, isSchema(inner) ? limitSchema(inner) : inner]),
    );
  return limited;
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws InputError */
function checkQuerySize({ query }: FastifyRequest): void {
  const count = Object.values((query ?? {}) as Record<string, unknown>).flat().length;
  if (count <= MOST_PARAMETERS) return;
  throw new InputError([
    {
      field: 'querystring',
      rule: 'TOO_MANY_PARAMETERS',
      message: `must have at most ${MOST_PARAMETERS} parameters, but has ${count}`,
    },
  ]);
}

/**
 * Checks that the text of a body is neither nested too deep nor has too many values, before it is parsed.
 * @throws InputError that names the field which is too large
 */
export function checkBodySize(text: string): void {
  const excess = findJsonExcess(text, BODY_SIZE);
  if (excess === undefined) return;
  const field = excess.member?.slice(0, 200) ?? 'body';
  throw new InputError([
    excess.limit === 'depth'
      ? { field, rule: 'TOO_DEEP', message: `must not be nested deeper than ${BODY_SIZE.depth} levels in the body` }
      : {
          field,
          rule: 'TOO_MANY_VALUES',
          message: `must be smaller: a body may have at most ${BODY_SIZE.values.toLocaleString('en-US')} values`,
        },
  ]);
}
