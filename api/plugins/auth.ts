import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ScopeAction } from '../../domain/auth/scopes.js';
import { appendAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { loggableError } from '../../domain/errors.js';
import { ApiError, notFoundError } from '../errors.js';
import type { Authenticate, AuthenticatePerson, AuthenticateSession, Caller } from './caller.js';
import { FailedLogins } from './failedLogins.js';
import { addRateLimit } from './rateLimit.js';
import { checkCsrf, checkOrigin, clearSessionCookie, readSessionCookie } from './sessions.js';

export { hashKey } from './apiKeys.js';
export type { Caller } from './caller.js';

/** What a route requires of its caller. */
export interface RouteRequirements {
  /** Absent where every caller may use the route. */
  permission?: ScopeAction;
  /** The path parameter with the id of the resource. */
  id?: string;
  /** Whether the route needs no caller, as for signing in. `request.caller` is not set then. */
  isPublic?: true;
  /** Whether requests go to the audit log. By default those that change something do, and reads do not. */
  audit?: boolean | ((request: FastifyRequest) => boolean);
}

/** Checks the credentials that a public route gets, as the API checks those in headers. */
export interface Logins {
  /** The caller of an API key. @throws ApiError 401; 429 where logins from the address failed too often */
  byKey: (request: FastifyRequest, reply: FastifyReply, key: string) => Promise<Caller>;
  /**
   * Authenticates with another credential, and counts how that ends.
   * @throws ApiError what `authenticate` throws; 401 counts as a failure
   */
  by: (
    request: FastifyRequest,
    reply: FastifyReply,
    credential: string,
    authenticate: () => Promise<Caller>,
  ) => Promise<Caller>;
}

declare module 'fastify' {
  interface FastifyInstance {
    logins: Logins;
  }
  interface FastifyRequest {
    caller: Caller;
  }
  interface FastifyContextConfig {
    needs?: RouteRequirements;
  }
}

/**
 * The `config` of a route: the scope that its caller needs. Every route below `/v1` must have one.
 * @param id the path parameter with the id of the resource. Absent for lists, which show what the caller may see, and
 * for creations, whose resource has no id yet.
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
/** The `config` of a route that needs no caller. */
export const PUBLIC: { needs: RouteRequirements } = { needs: { isPublic: true } };

const HEALTH_ROUTES = new Set(['/healthz', '/readyz']);

/** The kinds of resources that permissions are about, as {@link notFoundError} names them. */
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
  /** Absent where the installation has no identity provider. */
  authenticatePerson?: AuthenticatePerson;
  /** Absent where browsers cannot sign in. */
  authenticateSession?: AuthenticateSession;
  /** Where clients reach the API. */
  publicUrl?: string;
  /** Failed logins of one address; 0 for no limit. */
  failedLoginsPerMinute: number;
  /** For each caller; 0 for no limit. */
  requestsPerMinute: number;
  /** Whether `/openapi.json` and `/docs` are readable without a key. */
  publicApiDocs: boolean;
}

/**
 * Authenticates callers, limits their requests, and checks their scopes. Every request needs an API key in
 * `x-api-key`, a person's token in `Authorization: Bearer`, or the cookie of a session, also one for a route that does
 * not exist. Exceptions are the health routes, routes that are {@link PUBLIC} and, unless a setting closes it, the API
 * documentation.
 */
export async function addAuth(app: FastifyInstance, options: AuthOptions): Promise<void> {
  app.decorateRequest('caller', null as never);
  app.addHook('onRoute', ({ url, config, method }) => {
    if (url.startsWith('/v1/') && config?.needs === undefined)
      throw new Error(`${String(method)} ${url} does not say what it requires of its caller: add requireScope()`);
  });
  const failedLogins = new FailedLogins(options.db, app.log, options.failedLoginsPerMinute);
  app.addHook('onClose', () => failedLogins.close());
  app.decorate('logins', {
    byKey: async (request, reply, key) => {
      const found = await limitFailures(failedLogins, request, reply, key, () => options.authenticate(key));
      if (found === undefined) throw invalidKeyError('Check it');
      return found;
    },
    by: (request, reply, credential, authenticate) =>
      limitFailures(failedLogins, request, reply, credential, authenticate),
  });
  app.addHook('onRequest', async (request, reply) => {
    if (isHealthRoute(request) || isPublicRoute(request) || (options.publicApiDocs && isDocsRoute(request))) return;
    request.caller = await authenticateRequest(options, failedLogins, request, reply);
  });
  await addRateLimit(app, options.requestsPerMinute, isHealthRoute);
  app.addHook('preValidation', async (request) => {
    const error = findDenial(request);
    if (error === undefined) return;
    await recordDenial(options.db, request, error);
    throw error;
  });
}

function isHealthRoute(request: FastifyRequest): boolean {
  return HEALTH_ROUTES.has(request.routeOptions.url ?? '');
}

function isPublicRoute(request: FastifyRequest): boolean {
  return !request.is404 && request.routeOptions.config?.needs?.isPublic === true;
}

/** Whether the request matches a route of the API documentation. An unknown path below `/docs` does not. */
function isDocsRoute(request: FastifyRequest): boolean {
  return !request.is404 && /^\/(docs|openapi\.json)(\/|$)/.test(request.routeOptions.url ?? '');
}

/** Whether a browser may ask for this address. It cannot send `x-api-key` for a page, so HTTP Basic works there too. */
function isDocsAddress({ method, url }: FastifyRequest): boolean {
  return (method === 'GET' || method === 'HEAD') && /^\/(docs|openapi\.json)(\/|$|\?)/.test(url);
}

/** @throws ApiError 401; 403 for the cookie of a session; 429 where logins from the address failed too often */
async function authenticateRequest(
  options: AuthOptions,
  failedLogins: FailedLogins,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Caller> {
  const { authenticate, authenticatePerson } = options;
  const { authorization } = request.headers;
  const isDocs = isDocsAddress(request);
  const key = request.headers['x-api-key'] ?? (isDocs ? parseBasicPassword(authorization) : undefined);
  const token = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  if (key === undefined && token !== undefined && authenticatePerson !== undefined) {
    // Goes with the 401 that authenticatePerson may throw.
    void reply.header('www-authenticate', 'Bearer');
    const person = await limitFailures(failedLogins, request, reply, token, () => authenticatePerson(token));
    void reply.removeHeader('www-authenticate');
    return person;
  }
  // A credential that the client chose to send counts, and never the cookie that its browser adds.
  const session = key === undefined && token === undefined ? readSessionCookie(request, options.publicUrl) : undefined;
  if (session !== undefined && options.authenticateSession !== undefined)
    return authenticateCookie(options, failedLogins, request, reply, session);
  const found =
    typeof key === 'string' && key !== ''
      ? await limitFailures(failedLogins, request, reply, key, () => authenticate(key))
      : undefined;
  if (found !== undefined) return found;
  if (isDocs) void reply.header('www-authenticate', 'Basic realm="polony: any user, the API key as password"');
  else if (authenticatePerson !== undefined) void reply.header('www-authenticate', 'Bearer');
  if (key === undefined || key === '')
    throw new ApiError(
      401,
      'MISSING_API_KEY',
      'The request has no API key, and every route needs one. Send your API key in the header x-api-key',
    );
  throw invalidKeyError('Check the header x-api-key');
}

/** @param check what the client can check */
function invalidKeyError(check: string): ApiError {
  return new ApiError(
    401,
    'INVALID_API_KEY',
    `The API key is not valid: it is unknown or was revoked. ${check}, or ask your administrator for a new key`,
  );
}

/**
 * The caller of the session that the cookie of a browser names.
 * @throws ApiError 401 for a session that has ended, whose cookie goes; 403 for a request that no page of polony sent
 */
async function authenticateCookie(
  { authenticateSession, publicUrl }: AuthOptions,
  failedLogins: FailedLogins,
  request: FastifyRequest,
  reply: FastifyReply,
  secret: string,
): Promise<Caller> {
  checkOrigin(request, publicUrl);
  const caller = await limitFailures(failedLogins, request, reply, secret, async () => {
    const found = await authenticateSession!(secret);
    if (found !== undefined) return found;
    clearSessionCookie(request, reply, publicUrl);
    throw new ApiError(
      401,
      'SESSION_EXPIRED',
      'Your session has ended: it expired, you signed out, or its API key was revoked. Sign in again',
    );
  });
  checkCsrf(request, caller.session!);
  return caller;
}

/** Authenticates with a credential, and counts how that ends. @throws ApiError 429 instead, after too many failures */
async function limitFailures<T extends Caller | undefined>(
  failedLogins: FailedLogins,
  request: FastifyRequest,
  reply: FastifyReply,
  credential: string,
  authenticate: () => Promise<T>,
): Promise<T> {
  let end: (() => void) | undefined;
  try {
    end = await failedLogins.begin(request.ip, credential);
    const found = await authenticate();
    if (found === undefined) failedLogins.fail(request.ip, credential, 'INVALID_API_KEY');
    else failedLogins.succeed(credential);
    return found;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) failedLogins.fail(request.ip, credential, error.reason);
    if (error instanceof ApiError && error.status === 429)
      void reply.removeHeader('www-authenticate').header('retry-after', String(error.metadata.retry_after));
    throw error;
  } finally {
    end?.();
  }
}

/** The password of HTTP Basic (RFC 7617), which holds the API key. */
function parseBasicPassword(authorization: string | undefined): string | undefined {
  const credentials = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(authorization ?? '')?.[1];
  return credentials === undefined
    ? undefined
    : Buffer.from(credentials, 'base64')
        .toString()
        .replace(/^[^:]*:/, '');
}

/** The id of the resource in the path of a request. */
function findResourceId(request: FastifyRequest): string | undefined {
  const parameter = request.routeOptions.config.needs?.id;
  return parameter === undefined ? undefined : (request.params as Record<string, string | undefined>)[parameter];
}

/** Why a caller may not do what it asks for: 403, or 404 for a resource that its scopes leave out. */
function findDenial(request: FastifyRequest): ApiError | undefined {
  const permission = request.routeOptions.config?.needs?.permission;
  if (permission === undefined || request.is404) return undefined;
  const id = findResourceId(request);
  const { access } = request.caller;
  // A scope for some resources does not allow to create one: what is created has no id yet.
  const isCreation = id === undefined && request.method !== 'GET' && request.method !== 'HEAD';
  const isAllowed = isCreation ? access.ids(permission) === 'all' : access.covers(permission, id);
  if (isAllowed) return undefined;
  const [resource = ''] = permission.split(':');
  if (id !== undefined && access.covers(permission)) return notFoundError(KINDS[resource] ?? resource, id);
  return new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `This ${request.caller.kind === 'person' ? 'person' : 'API key'} lacks the scope \`${permission}\`` +
      `${isCreation && access.covers(permission) ? ' for all resources' : ''}. Ask your administrator for it`,
    { required_scope: permission },
  );
}

/**
 * Records in the audit log that a caller asked for something it may not do. Only for requests that have no entry
 * anyway. If the log cannot be written, the caller is denied all the same.
 */
export async function recordDenial(db: Db, request: FastifyRequest, { status }: ApiError): Promise<void> {
  const { schema, config } = request.routeOptions;
  const [resourceType] = config.needs!.permission!.split(':');
  const id = findResourceId(request);
  try {
    await appendAudit(
      db,
      {
        caller: request.caller,
        action: schema?.operationId ?? `${request.method} ${request.routeOptions.url}`,
        requestId: request.id,
        resourceType,
        address: request.ip,
        ...(id !== undefined && { resourceId: id }),
      },
      { status, reason: 'INSUFFICIENT_SCOPE' },
    );
  } catch (error) {
    request.log.error({ error: loggableError(error) }, 'Writing a denial to the audit log failed');
  }
}
