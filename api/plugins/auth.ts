import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { ApiError } from '../errors.js';

/** Who calls. */
export interface Caller {
  id: string;
  name: string;
  /** The only route that its key is for. */
  only?: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    apiKey: Caller;
  }
}

/** Finds out whose key this is; undefined when it is nobody's. */
export type Authenticate = (key: string) => Promise<Caller | undefined>;

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The one API key of an installation, and one for events alone. Hashes are compared, in constant time, so neither length nor content can be measured. */
export function oneKey(apiKey: string, eventsKey?: string): Authenticate {
  const hash = sha256(apiKey);
  const eventsHash = eventsKey === undefined ? undefined : sha256(eventsKey);
  return async (key) => {
    const given = sha256(key);
    if (timingSafeEqual(given, hash)) return { id: 'default', name: 'default' };
    return eventsHash !== undefined && timingSafeEqual(given, eventsHash) ? { id: 'events', name: 'events', only: '/v1/events' } : undefined;
  };
}

const OPEN_ROUTES = new Set(['/healthz', '/readyz']);

/**
 * Every route but the health ones needs `x-api-key`, those that do not exist too. A browser cannot send that header for a page:
 * `/docs` and `/openapi.json` also take HTTP Basic, with any user and the key as password.
 */
export function addAuth(app: FastifyInstance, authenticate: Authenticate): void {
  app.decorateRequest('apiKey', null as never);
  app.addHook('onRequest', async (request, reply) => {
    if (OPEN_ROUTES.has(request.routeOptions.url ?? '')) return;
    let key = request.headers['x-api-key'];
    const page = (request.method === 'GET' || request.method === 'HEAD') && /^\/(docs|openapi\.json)(\/|$|\?)/.test(request.url);
    const refused = (reason: string, message: string): ApiError => {
      if (page) void reply.header('www-authenticate', 'Basic realm="polony: any user, the API key as password"');
      return new ApiError(401, reason, message);
    };
    if (key === undefined && page) {
      const basic = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(request.headers.authorization ?? '')?.[1];
      if (basic !== undefined) key = Buffer.from(basic, 'base64').toString().replace(/^[^:]*:/, '');
    }
    if (key === undefined || key === '') throw refused('MISSING_API_KEY', 'Send your API key in the header x-api-key');
    const caller = typeof key === 'string' ? await authenticate(key) : undefined;
    if (caller === undefined) throw refused('INVALID_API_KEY', 'This API key is not valid');
    if (caller.only !== undefined && request.routeOptions.url !== caller.only) throw new ApiError(403, 'INSUFFICIENT_SCOPE', `This API key is for ${caller.only} only`);
    request.apiKey = caller;
  });
}
