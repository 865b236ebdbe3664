import type { FastifyInstance, FastifyRequest, FastifySchema } from 'fastify';
import { InputError } from '../../domain/errors.js';
import { checkBodySize } from './limits.js';

/** How bodies and queries are read before their schemas check them. */
export function addInput(app: FastifyInstance): void {
  acceptJsonOnly(app);
  app.addHook('preValidation', async (request) => {
    rejectNul(request);
    convertQuery(request, request.routeOptions.schema);
    fillOptionalBody(request, request.routeOptions.schema);
  });
}

function acceptJsonOnly(app: FastifyInstance): void {
  app.removeContentTypeParser('text/plain');
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // Clients send the content type without a body too, with DELETE or where the body is optional.
    if (body === '') return done(null, undefined);
    try {
      checkBodySize(body as string);
    } catch (error) {
      return done(error as Error);
    }
    void parseJson(request, body as string, done);
  });
}

/** PostgreSQL cannot store or compare the character NUL. */
function rejectNul(request: FastifyRequest): void {
  for (const [name, value] of Object.entries((request.query ?? {}) as Record<string, unknown>)) {
    const hasNul = [value].flat().some((each) => typeof each === 'string' && each.includes('\0'));
    if (!hasNul) continue;
    const field = name.replaceAll('\0', '').slice(0, 200);
    throw new InputError([{ field, rule: 'CHARACTERS', message: 'must not contain the character NUL' }]);
  }
}

/** Query parameters are text. Those whose schema wants an integer or a boolean become one. */
function convertQuery(request: FastifyRequest, schema: FastifySchema | undefined): void {
  const query = request.query as Record<string, unknown>;
  const { properties = {} } = (schema?.querystring ?? {}) as { properties?: Record<string, { type?: string }> };
  for (const [name, { type }] of Object.entries(properties)) {
    const value = query[name];
    if (type === 'integer' && typeof value === 'string' && /^-?\d{1,15}$/.test(value)) query[name] = Number(value);
    if (type === 'boolean' && (value === 'true' || value === 'false')) query[name] = value === 'true';
  }
}

/** A body that may be left out is an empty object then. */
function fillOptionalBody(request: FastifyRequest, schema: FastifySchema | undefined): void {
  const isOptional = (schema?.body as { 'x-optional'?: boolean } | undefined)?.['x-optional'] === true;
  if (request.body === undefined && isOptional) request.body = {};
}
