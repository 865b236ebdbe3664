import { createHash, timingSafeEqual } from 'node:crypto';
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Authorization, parseScopes, type ScopeAction, type Scope, scopesAmong } from '../../domain/auth/scopes.js';
import { findApiKey, recordKeyUse } from '../../store/auth.js';
import { type AuditCaller, appendAudit } from '../../store/audit.js';
import { type Db, isId } from '../../store/database.js';
import { ApiError, loggableError, notFoundError } from '../errors.js';

/** Who calls. */
export interface Caller extends AuditCaller {
  access: Authorization;
  scopes: readonly Scope[];
  email?: string;
  /** When what it shows ends; absent for never. */
  expires?: Date;
}

/** What a route needs of its caller. */
export interface RouteRequirements {
  /** Absent where any caller will do. */
  permission?: ScopeAction;
  /** The path parameter that holds the id of the resource. */
  id?: string;
  /** Whether it is written to the audit log: what changes something is, what reads is not, unless said otherwise. */
  audit?: boolean | ((request: FastifyRequest) => boolean);
}

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller;
  }
  interface FastifyContextConfig {
    needs?: RouteRequirements;
  }
}

/**
 * The `config` of a route: what its caller must be allowed. A route below `/v1` without it cannot be added.
 * @param id the path parameter that holds the id of the resource; absent for lists, which leave out what the caller may not see, and for what has no id yet.
 */
export function requireScope(
  permission: ScopeAction,
  id?: string,
  { audit }: Pick<RouteRequirements, 'audit'> = {},
): { needs: RouteRequirements } {
  return { needs: { permission, ...(id !== undefined && { id }), ...(audit !== undefined && { audit }) } };
}
/** The `config` of a route that every caller may use. */
export const ANY_CALLER: { needs: RouteRequirements } = { needs: {} };

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** How keys begin that the API makes, so that scanners for secrets know them: `polony_<id in 32 digits>_<secret>`. */
export const KEY_PATTERN = /^polony_([0-9a-f]{32})_([A-Za-z0-9_-]{43})$/;
/** What is kept of a key. */
export function hashKey(key: string): Buffer {
  return sha256(key);
}

/** Finds out whose key this is; undefined when it is nobody's. */
export type Authenticate = (key: string) => Promise<Caller | undefined>;
/** Finds out who shows a token. @throws ApiError 401, or 503 where the provider of identities does not answer. */
export type AuthenticatePerson = (token: string) => Promise<Caller>;

function caller(kind: Caller['kind'], id: string, name: string, scopes: readonly Scope[], expires?: Date): Caller {
  return { kind, id, name, scopes, access: new Authorization(scopes), ...(expires !== undefined && { expires }) };
}

/** Of how many milliseconds ago a key's last use may be when it is not written anew. */
const USE_NOTED_MS = 60_000;

/**
 * The keys of an installation: the one of its configuration, which may do everything, the one for events, and those in the store.
 * Hashes are compared, in constant time, so that neither length nor content of a key can be measured. The store is asked at each
 * request: a key that was revoked is refused at once.
 */
export function apiKeyAuthenticator(db: Db, apiKey: string, eventsKey?: string): Authenticate {
  const root = caller('root', 'default', 'default', parseScopes('scopes', ['*']));
  const events = caller('root', 'events', 'events', parseScopes('scopes', ['events:write']));
  const hash = sha256(apiKey);
  const eventsHash = eventsKey === undefined ? undefined : sha256(eventsKey);
  return async (key) => {
    const given = sha256(key);
    if (timingSafeEqual(given, hash)) return root;
    if (eventsHash !== undefined && timingSafeEqual(given, eventsHash)) return events;
    const digits = KEY_PATTERN.exec(key)?.[1];
    const id = digits?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5') ?? '';
    const found = isId(id) ? await findApiKey(db, id) : undefined;
    if (found === undefined || !timingSafeEqual(given, found.hash) || found.time_revoked !== null) return undefined;
    const now = Date.now();
    if (found.time_expires.getTime() <= now)
      throw new ApiError(
        401,
        'API_KEY_EXPIRED',
        `The API key ${found.name} expired at ${found.time_expires.toISOString()}; ask for a new one`,
      );
    if (found.time_used === null || now - found.time_used.getTime() > USE_NOTED_MS) await recordKeyUse(db, found.id);
    // A scope that this version does not know grants nothing.
    return caller('key', found.id, found.name, scopesAmong(found.scopes), found.time_expires);
  };
}

/** What a token of a provider of identities says, as a caller. */
export function personCaller(
  subject: string,
  name: string,
  email: string | undefined,
  scopes: readonly Scope[],
  expires: Date,
): Caller {
  // Apart from the ids of keys, whatever the provider calls its people.
  return { ...caller('person', `person:${subject}`, name, scopes, expires), ...(email !== undefined && { email }) };
}

const OPEN_ROUTES = new Set(['/healthz', '/readyz']);

/** Of what a permission is about, as `notFound` calls it. */
const KINDS: Record<string, string> = {
  runs: 'run',
  executions: 'execution',
  instruments: 'instrument',
  storage: 'storage connection',
  providers: 'provider',
  compute: 'compute connection',
  flows: 'flow',
  webhooks: 'webhook',
};

export interface AuthOptions {
  db: Db;
  authenticate: Authenticate;
  /** Absent where people have no tokens. */
  authenticatePerson?: AuthenticatePerson;
  /** Of one caller; 0 for any number. */
  requestsPerMinute: number;
}

/**
 * Every route but the health ones needs an API key in `x-api-key`, or a person's token as `Authorization: Bearer`; those that do not
 * exist too. A browser cannot send a header for a page: `/docs` and `/openapi.json` also take HTTP Basic, with any user and the key
 * as password. Then the caller's pace and scopes are looked at.
 */
export async function addAuth(app: FastifyInstance, options: AuthOptions): Promise<void> {
  app.decorateRequest('caller', null as never);
  app.addHook('onRoute', ({ url, config, method }) => {
    if (url.startsWith('/v1/') && config?.needs === undefined)
      throw new Error(`${String(method)} ${url} does not say what it needs of its caller`);
  });
  app.addHook('onRequest', async (request, reply) => {
    if (OPEN_ROUTES.has(request.routeOptions.url ?? '')) return;
    let key = request.headers['x-api-key'];
    const page =
      (request.method === 'GET' || request.method === 'HEAD') && /^\/(docs|openapi\.json)(\/|$|\?)/.test(request.url);
    const refused = (reason: string, message: string): ApiError => {
      if (page) void reply.header('www-authenticate', 'Basic realm="polony: any user, the API key as password"');
      else if (options.authenticatePerson !== undefined) void reply.header('www-authenticate', 'Bearer');
      return new ApiError(401, reason, message);
    };
    if (key === undefined && page) {
      const basic = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(request.headers.authorization ?? '')?.[1];
      if (basic !== undefined)
        key = Buffer.from(basic, 'base64')
          .toString()
          .replace(/^[^:]*:/, '');
    }
    const token = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    if (key === undefined && token !== undefined && options.authenticatePerson !== undefined) {
      void reply.header('www-authenticate', 'Bearer');
      request.caller = await options.authenticatePerson(token);
      void reply.removeHeader('www-authenticate');
      return;
    }
    if (key === undefined || key === '') throw refused('MISSING_API_KEY', 'Send your API key in the header x-api-key');
    const found = typeof key === 'string' ? await options.authenticate(key) : undefined;
    if (found === undefined) throw refused('INVALID_API_KEY', 'This API key is not valid');
    request.caller = found;
  });
  if (options.requestsPerMinute > 0) {
    await app.register(rateLimit, {
      global: true,
      // After the caller is known: hooks of onRequest come before.
      hook: 'preParsing',
      max: options.requestsPerMinute,
      timeWindow: 60_000,
      cache: 10_000,
      allowList: (request) => OPEN_ROUTES.has(request.routeOptions.url ?? ''),
      keyGenerator: (request) => (request.caller as Caller | null)?.id ?? request.ip,
      errorResponseBuilder: (_request, { max, ttl }) =>
        new ApiError(
          429,
          'RATE_LIMITED',
          `This caller has made ${max} requests within a minute; go on in ${Math.ceil(ttl / 1000)} seconds`,
        ),
    });
  }
  app.addHook('preValidation', async (request) => {
    const need = request.routeOptions.config?.needs;
    if (need?.permission === undefined || request.is404) return;
    const id = need.id === undefined ? undefined : (request.params as Record<string, string | undefined>)[need.id];
    // What is made has no id yet: to make it takes the scope for all.
    const making = id === undefined && request.method !== 'GET' && request.method !== 'HEAD';
    if (
      making ? request.caller.access.ids(need.permission) === 'all' : request.caller.access.covers(need.permission, id)
    )
      return;
    const [resource = ''] = need.permission.split(':');
    const narrowed = id !== undefined && request.caller.access.covers(need.permission);
    const error = narrowed
      ? notFoundError(KINDS[resource] ?? resource, id)
      : new ApiError(403, 'INSUFFICIENT_SCOPE', `This needs the scope ${need.permission}`, {
          required_scope: need.permission,
        });
    await recordDenial(options.db, request, error);
    throw error;
  });
}

/**
 * Writes that a caller asked for what it may not, for requests that are not audited anyway. A log that cannot be written does not make a
 * denial something else.
 */
export async function recordDenial(db: Db, request: FastifyRequest, { status }: ApiError): Promise<void> {
  const { schema, config } = request.routeOptions;
  const { permission, id: parameter } = config.needs!;
  const [resourceType] = permission!.split(':');
  const id = parameter === undefined ? undefined : (request.params as Record<string, string | undefined>)[parameter];
  try {
    const action = schema?.operationId ?? `${request.method} ${request.routeOptions.url}`;
    await appendAudit(
      db,
      {
        caller: request.caller,
        action,
        requestId: request.id,
        resourceType,
        address: request.ip,
        ...(id !== undefined && { resourceId: id }),
      },
      { status, reason: 'INSUFFICIENT_SCOPE' },
    );
  } catch (error) {
    request.log.error({ error: loggableError(error) }, 'a denial could not be written to the audit log');
  }
}
