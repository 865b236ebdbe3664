import { createHmac, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { OidcConfig } from '../../domain/settings.js';
import { findSession, recordSessionUse, type SessionRow, type SignedInCaller } from '../../store/authSessions.js';
import type { Db } from '../../store/database.js';
import { ApiError } from '../errors.js';
import { createRootCaller, findKeyCaller, hashKey, ROOT_ID } from './apiKeys.js';
import type { AuthenticateSession, Caller, CallerSession } from './caller.js';
import { createPerson } from './oidc.js';

/** The last use of a session is recorded at most this often, in milliseconds. */
const RECORD_USE_MS = 60_000;
/** The header in which requests of a session repeat its CSRF token. */
const CSRF_HEADER = 'x-csrf-token';
/** Secrets of sessions, links and sign-ins: 32 random bytes in base64url. */
export const SECRET_PATTERN = /^[A-Za-z0-9_-]{43}$/;

/** Knows for whom a session or a link stands, and whether its caller still has access. */
export class SignedInCallers {
  /** @param apiKey the root key @param oidc absent where the installation has no identity provider */
  constructor(
    private readonly db: Db,
    private readonly apiKey: string,
    private readonly oidc?: OidcConfig,
  ) {}

  /**
   * What the store keeps of a caller that signs in.
   * @param secret of the session or link
   * @throws ApiError 403 for a caller that cannot sign in
   */
  describe({ kind, id, name, email, claimValues }: Caller, secret: string): SignedInCaller {
    if (kind === 'key') return { kind, id, name };
    if (kind === 'root' && id === ROOT_ID) return { kind, id, name, rootProof: this.#rootProof(secret) };
    if (kind === 'person' && this.oidc !== undefined)
      return {
        kind,
        id,
        name,
        issuer: this.oidc.issuer,
        ...(email !== undefined && { email }),
        ...(claimValues !== undefined && { claimValues }),
      };
    throw new ApiError(
      403,
      'SIGN_IN_NOT_ALLOWED',
      `The key ${name} is for programs that send events, so nobody can sign in with it. Use another API key`,
    );
  }

  /**
   * The caller of a session or a link as it is now: a revoked key has none, and a key with fewer scopes has fewer here.
   * @param row as the store has it
   * @param secret of the session or link
   */
  async find(row: Omit<SessionRow, 'time_used'>, secret: string): Promise<Caller | undefined> {
    if (row.caller_kind === 'key') return findKeyCaller(this.db, row.key_id!);
    if (row.caller_kind === 'root')
      return timingSafeEqual(row.root_proof!, this.#rootProof(secret)) ? createRootCaller() : undefined;
    // Another provider may have given the same subject to somebody else.
    if (this.oidc === undefined || row.issuer !== this.oidc.issuer) return undefined;
    const { caller_id: id, caller_name: name, email, claim_values: claimValues } = row;
    return createPerson({ id, name, ...(email !== null && { email }), claimValues }, this.oidc, row.time_expires);
  }

  /** Changes with the root key, and without the secret nobody can test guesses of the key against it. */
  #rootProof(secret: string): Buffer {
    return createHmac('sha256', secret).update(`root key\0${this.apiKey}`).digest();
  }
}

/** Knows the sessions of browsers. It reads the store at every request, so that a session ends at once. */
export function sessionAuthenticator(db: Db, callers: SignedInCallers): AuthenticateSession {
  return async (secret) => {
    if (!SECRET_PATTERN.test(secret)) return undefined;
    const row = await findSession(db, hashKey(secret));
    const caller = row && (await callers.find(row, secret));
    if (row === undefined || caller === undefined) return undefined;
    if (row.time_used === null || Date.now() - row.time_used.getTime() > RECORD_USE_MS)
      await recordSessionUse(db, row.id);
    return { ...caller, session: toCallerSession(row.id, row.time_expires, secret) };
  };
}

/** A session as its caller sees it. */
export function toCallerSession(id: string, expires: Date, secret: string): CallerSession {
  // It follows from the secret, which no script of the page can read. So a page can ask for it again after a reload.
  return { id, expires, csrfToken: createHmac('sha256', secret).update('csrf').digest('base64url') };
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/i;

/**
 * Whether browsers reach polony over plain HTTP on their own machine. Only then a cookie goes without TLS.
 * @param publicUrl where clients reach the API
 */
function isPlainLoopback({ protocol, hostname }: FastifyRequest, publicUrl: string | undefined): boolean {
  return publicUrl?.startsWith('https:') !== true && protocol === 'http' && LOOPBACK.test(hostname);
}

/**
 * The name of a cookie. With the prefix `__Host-`, browsers take it only over TLS and from this host, so that no other
 * host of the domain can set it. Cookies belong to all ports of a host (RFC 6265, 8.5), so the name of a cookie without
 * TLS has the port: otherwise a sign-in at one of two local stacks would end the session at the other.
 */
function cookieName(request: FastifyRequest, name: string, publicUrl: string | undefined): string {
  if (!isPlainLoopback(request, publicUrl)) return `__Host-${name}`;
  // Browsers leave the usual port out.
  return request.port === null || request.port === 80 ? name : `${name}_${request.port}`;
}

const SESSION_COOKIE = 'polony_session';

/** A cookie of the request; undefined without one. */
export function readCookie(request: FastifyRequest, name: string, publicUrl: string | undefined): string | undefined {
  const wanted = cookieName(request, name, publicUrl);
  for (const part of (request.headers.cookie ?? '').split(';')) {
    const at = part.indexOf('=');
    if (at >= 0 && part.slice(0, at).trim() === wanted) return part.slice(at + 1).trim();
  }
  return undefined;
}

/** The secret of the session that the cookie of a request names; undefined without one. */
export function readSessionCookie(request: FastifyRequest, publicUrl: string | undefined): string | undefined {
  return readCookie(request, SESSION_COOKIE, publicUrl);
}

/** Adds a cookie to a response, which scripts cannot read. @param seconds how long it lasts; 0 to remove it */
export function setCookie(
  request: FastifyRequest,
  reply: FastifyReply,
  cookie: { name: string; value: string; seconds: number; sameSite: 'Strict' | 'Lax' },
  publicUrl: string | undefined,
): void {
  const { name, value, seconds, sameSite } = cookie;
  const secure = isPlainLoopback(request, publicUrl) ? '' : '; Secure';
  const pair = `${cookieName(request, name, publicUrl)}=${value}`;
  void reply.header('set-cookie', `${pair}; Path=/; Max-Age=${seconds}; HttpOnly${secure}; SameSite=${sameSite}`);
}

/** Gives the browser the cookie of a session. @param expires when the session ends */
export function setSessionCookie(
  request: FastifyRequest,
  reply: FastifyReply,
  { secret, expires }: { secret: string; expires: Date },
  publicUrl: string | undefined,
): void {
  const seconds = Math.max(1, Math.floor((expires.getTime() - Date.now()) / 1000));
  setCookie(request, reply, { name: SESSION_COOKIE, value: secret, seconds, sameSite: 'Strict' }, publicUrl);
}

/** Takes the cookie of a session from the browser. */
export function clearSessionCookie(request: FastifyRequest, reply: FastifyReply, publicUrl: string | undefined): void {
  setCookie(request, reply, { name: SESSION_COOKIE, value: '', seconds: 0, sameSite: 'Strict' }, publicUrl);
}

/**
 * Checks that a request which a cookie may authenticate comes from a page of this installation.
 * @throws ApiError 403
 */
export function checkOrigin(request: FastifyRequest, publicUrl: string | undefined): void {
  const { origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers;
  const isForeignFetch = (site === 'cross-site' || site === 'same-site') && mode !== 'navigate';
  if (!isForeignFetch && (origin === undefined || isOwnOrigin(origin, request, publicUrl))) return;
  throw new ApiError(
    403,
    'FOREIGN_ORIGIN',
    'The request comes from a page of another origin, and the session of a browser works only on the pages of ' +
      'polony. Programs send an API key in the header x-api-key. If the page is one of polony, its administrator must set ' +
      'POLONY_PUBLIC_URL to the address that browsers use',
  );
}

/**
 * Checks that a browser which signs in reaches polony over TLS, as far as it says so: without, it would refuse the
 * cookie, and the network could read it.
 * @throws ApiError 403
 */
export function checkTls({ headers: { origin } }: FastifyRequest): void {
  if (origin === undefined || !URL.canParse(origin)) return;
  const { protocol, hostname } = new URL(origin);
  if (protocol !== 'http:' || LOOPBACK.test(hostname)) return;
  throw new ApiError(
    403,
    'TLS_REQUIRED',
    'This page was opened over plain HTTP, where others in the network can read what you send. Open polony at its ' +
      'https address. If it has none, its administrator must put a proxy with TLS in front of it',
  );
}

function isOwnOrigin(origin: string, request: FastifyRequest, publicUrl: string | undefined): boolean {
  if (!URL.canParse(origin)) return false;
  const { origin: named, host } = new URL(origin);
  // A proxy may change the host of the request, and then only the setting knows it.
  return host === request.host || (publicUrl !== undefined && named === new URL(publicUrl).origin);
}

/**
 * Checks that a request of a session was meant by the page that it comes from: it repeats the CSRF token if it can
 * change something.
 * @throws ApiError 403
 */
export function checkCsrf(request: FastifyRequest, { csrfToken }: CallerSession): void {
  if (request.method === 'GET' || request.method === 'HEAD') return;
  const given = request.headers[CSRF_HEADER];
  if (given === undefined || given === '')
    throw new ApiError(
      403,
      'CSRF_TOKEN_MISSING',
      `The request comes from the session of a browser and changes something, so it needs the header ${CSRF_HEADER}. ` +
        'GET /v1/session has its value',
    );
  // Hashes have the same length, whatever was sent.
  if (!timingSafeEqual(hashKey(String(given)), hashKey(csrfToken)))
    throw new ApiError(
      403,
      'CSRF_TOKEN_INVALID',
      `The header ${CSRF_HEADER} is not the one of this session. Reload the page, or read it from GET /v1/session`,
    );
}
