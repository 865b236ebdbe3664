import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { throwIfInvalid } from '../../../domain/errors.js';
import { appendAudit } from '../../../store/audit.js';
import {
  deleteSession,
  insertSession,
  insertSignInLink,
  type SignInLinkRow,
  takeSignInLink,
} from '../../../store/authSessions.js';
import { type Db, newId } from '../../../store/database.js';
import { inTransaction } from '../../../store/transaction.js';
import { FOREIGN_KEY_VIOLATION } from '../../conflicts.js';
import { ApiError } from '../../errors.js';
import { ANY_CALLER, type Caller, hashKey, PUBLIC } from '../../plugins/auth.js';
import { accessEnds } from '../../plugins/caller.js';
import {
  checkOrigin,
  checkTls,
  clearSessionCookie,
  readCookie,
  readSessionCookie,
  SECRET_PATTERN,
  setCookie,
  setSessionCookie,
  type SignedInCallers,
  toCallerSession,
} from '../../plugins/sessions.js';
import type { RequestOf } from '../../requests.js';
import { openPage } from './openPage.js';
import type { OidcSignIn } from './oidcSignIn.js';
import { presentSession } from './present.js';
import { parseReturnTo } from './returnTo.js';
import { operations } from './schemas.js';

/** How long a session lasts, and how long a link that signs in can wait, in milliseconds. */
const SESSION_MS = 12 * 3_600_000;
const LINK_MS = 15 * 60_000;
/** How long a person may take to sign in at the provider, in seconds. */
const SIGN_IN_SECONDS = 600;
/** The cookie of a sign-in at the provider that has begun. */
const SIGN_IN_COOKIE = 'polony_sign_in';

/** What the routes of sessions need. */
export interface SessionDependencies {
  db: Db;
  callers: SignedInCallers;
  publicUrl: string | undefined;
  /** Absent where people do not sign in at a provider. */
  oidcSignIn?: OidcSignIn;
}

/** Signing in and out, with a browser. */
export function sessionRoutes(scope: FastifyInstance, dependencies: SessionDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db, publicUrl, oidcSignIn } = dependencies;

  app.get('/v1/session/methods', { config: PUBLIC, schema: operations.methods }, async () => ({
    methods: { apiKey: true, oidc: oidcSignIn !== undefined },
  }));
  app.post('/v1/session', { config: PUBLIC, schema: operations.create }, (request, reply) =>
    signIn(app, dependencies, request, reply),
  );
  app.get('/v1/session', { config: ANY_CALLER, schema: operations.get }, async (request) => ({
    session: presentSession(request.caller),
  }));
  app.delete('/v1/session', { config: ANY_CALLER, schema: operations.delete }, async (request, reply) => {
    if (request.caller.session === undefined)
      throw new ApiError(
        409,
        'NO_SESSION',
        'The request has an API key or a token and no session of a browser, so there is nothing to sign out from',
      );
    await deleteSession(db, hashKey(readSessionCookie(request, publicUrl)!));
    clearSessionCookie(request, reply, publicUrl);
    return reply.code(204).send(null);
  });
  app.post('/v1/session/sign-in-links', { config: ANY_CALLER, schema: operations.createLink }, (request, reply) =>
    createLink(dependencies, request, reply),
  );
  // A HEAD request must not use a code up.
  const forBrowsers = { config: PUBLIC, exposeHeadRoute: false };
  app.get('/v1/session/oidc/start', { ...forBrowsers, schema: operations.oidcStart }, (request, reply) =>
    startOidc(dependencies, request, reply),
  );
  app.get('/v1/session/oidc/callback', { ...forBrowsers, schema: operations.oidcCallback }, (request, reply) =>
    finishOidc(app, dependencies, request, reply),
  );
}

const newSecret = (): string => randomBytes(32).toString('base64url');

async function signIn(
  app: FastifyInstance,
  dependencies: SessionDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  checkOrigin(request, dependencies.publicUrl);
  checkTls(request);
  const { apiKey, signInToken } = request.body;
  throwIfInvalid(
    (apiKey === undefined) === (signInToken === undefined)
      ? [{ field: 'apiKey', rule: 'ONE_OF_TWO', message: 'must be given, or signInToken, but not both' }]
      : [],
  );
  const caller =
    apiKey !== undefined
      ? await app.logins.byKey(request, reply, apiKey)
      : await app.logins.by(request, reply, signInToken!, () => useLink(dependencies, signInToken!));
  const method = apiKey !== undefined ? 'apiKey' : 'signInLink';
  return reply.code(201).send({ session: await beginSession(dependencies, request, reply, { caller, method }) });
}

/** Signs a caller in: stores the session with its entry in the audit log, and sets the cookie. */
async function beginSession(
  { db, callers, publicUrl }: SessionDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
  { caller, method }: { caller: Caller; method: 'apiKey' | 'signInLink' | 'oidc' },
) {
  const secret = newSecret();
  const id = newId();
  const expires = sessionEnd(caller.expires);
  const signedIn = callers.describe(caller, secret);
  const before = readSessionCookie(request, publicUrl);
  const stored = inTransaction(db, async (transaction) => {
    // The browser forgets the session that it had.
    if (before !== undefined) await deleteSession(transaction, hashKey(before));
    await insertSession(transaction, { id, hash: hashKey(secret), caller: signedIn, timeExpires: expires });
    await appendAudit(
      transaction,
      {
        caller,
        action: operations.create.operationId,
        requestId: request.id,
        address: request.ip,
        detail: { method, timeExpires: expires.toISOString() },
      },
      { status: 201 },
    );
  });
  await whileCallerExists(stored);
  setSessionCookie(request, reply, { secret, expires }, publicUrl);
  // For the line of the request in the log.
  request.caller = { ...caller, session: toCallerSession(id, expires, secret) };
  return presentSession(request.caller);
}

/**
 * Waits for a write that refers to the caller's key or session.
 * @throws ApiError 401 where that has ended since the request began
 */
async function whileCallerExists(write: Promise<void>): Promise<void> {
  try {
    await write;
  } catch (error) {
    if ((error as { code?: unknown }).code !== FOREIGN_KEY_VIOLATION) throw error;
    throw new ApiError(401, 'SESSION_EXPIRED', 'Your session or your key ended during this request. Sign in again');
  }
}

/** When a new session ends. @param limit it must not last longer than this */
function sessionEnd(...limits: (Date | null | undefined)[]): Date {
  const times = limits.filter((limit) => limit !== null && limit !== undefined).map((limit) => limit.getTime());
  return new Date(Math.min(Date.now() + SESSION_MS, ...times));
}

/** The caller of a link, which is used up. @throws ApiError 401 */
async function useLink({ db, callers }: SessionDependencies, secret: string): Promise<Caller> {
  const row = SECRET_PATTERN.test(secret) ? await takeSignInLink(db, hashKey(secret)) : undefined;
  const caller = row && (await findLinkCaller(callers, row, secret));
  if (caller !== undefined) return caller;
  throw new ApiError(
    401,
    'SIGN_IN_LINK_INVALID',
    'The sign-in link has been used, is older than 15 minutes, or belongs to a key that was revoked. Create a new ' +
      'one with polony sign-in-link, or sign in in another way',
  );
}

async function findLinkCaller(
  callers: SignedInCallers,
  row: SignInLinkRow,
  secret: string,
): Promise<Caller | undefined> {
  const caller = await callers.find(row, secret);
  if (caller === undefined) return undefined;
  // For a person, the link knows its own end only.
  const { expires: keyExpires, ...rest } = caller;
  return { ...rest, expires: sessionEnd(row.session_expires, row.caller_kind === 'key' ? keyExpires : undefined) };
}

async function createLink({ db, callers }: SessionDependencies, request: FastifyRequest, reply: FastifyReply) {
  const { caller } = request;
  const secret = newSecret();
  const ends = accessEnds(caller);
  const timeExpires = new Date(Math.min(Date.now() + LINK_MS, ends?.getTime() ?? Infinity));
  const link = { id: newId(), hash: hashKey(secret), caller: callers.describe(caller, secret), timeExpires };
  await whileCallerExists(
    inTransaction(db, (transaction) =>
      insertSignInLink(transaction, link, {
        ...(caller.session !== undefined && { sessionId: caller.session.id }),
        ...(ends !== undefined && { sessionExpires: ends }),
      }),
    ),
  );
  request.auditDetail = { timeExpires: timeExpires.toISOString() };
  return reply.code(201).send({ signInLink: { path: `/sign-in#${secret}`, timeExpires: timeExpires.toISOString() } });
}

/** What the cookie of a sign-in at the provider holds: its secret, and the page to open after it. */
function writeSignIn(secret: string, returnTo: string): string {
  return `${secret}.${Buffer.from(returnTo).toString('base64url')}`;
}

function readSignIn(cookie: string | undefined): { secret: string; returnTo: string } | undefined {
  const [secret = '', page = ''] = cookie?.split('.') ?? [];
  if (!SECRET_PATTERN.test(secret)) return undefined;
  return { secret, returnTo: Buffer.from(page, 'base64url').toString() };
}

async function startOidc(
  { oidcSignIn, publicUrl }: SessionDependencies,
  request: RequestOf<typeof operations.oidcStart>,
  reply: FastifyReply,
) {
  const returnTo = parseReturnTo(request.query.returnTo);
  const secret = newSecret();
  try {
    if (oidcSignIn === undefined) throw oidcNotConfigured();
    const url = await oidcSignIn.begin(secret);
    const value = writeSignIn(secret, returnTo);
    // The provider sends the browser back from another site, so this cookie cannot be strict.
    setCookie(request, reply, { name: SIGN_IN_COOKIE, value, seconds: SIGN_IN_SECONDS, sameSite: 'Lax' }, publicUrl);
    return await reply.redirect(url.href, 302);
  } catch (error) {
    return showSignInError(error, oidcSignIn, request, reply);
  }
}

async function finishOidc(
  app: FastifyInstance,
  dependencies: SessionDependencies,
  request: RequestOf<typeof operations.oidcCallback>,
  reply: FastifyReply,
) {
  const { oidcSignIn, publicUrl } = dependencies;
  const begun = readSignIn(readCookie(request, SIGN_IN_COOKIE, publicUrl));
  try {
    if (oidcSignIn === undefined) throw oidcNotConfigured();
    const code = oidcSignIn.checkCallback(request.query, begun?.secret ?? newSecret());
    const { secret, returnTo } = begun!;
    const caller = await app.logins.by(request, reply, code, () => oidcSignIn.finish(code, secret, sessionEnd()));
    await beginSession(dependencies, request, reply, { caller, method: 'oidc' });
    forgetSignIn(request, reply, publicUrl);
    return await openPage(reply, `${oidcSignIn.basePath}${parseReturnTo(returnTo)}`);
  } catch (error) {
    forgetSignIn(request, reply, publicUrl);
    return showSignInError(error, oidcSignIn, request, reply);
  }
}

/** A sign-in works once. */
function forgetSignIn(request: FastifyRequest, reply: FastifyReply, publicUrl: string | undefined): void {
  setCookie(request, reply, { name: SIGN_IN_COOKIE, value: '', seconds: 0, sameSite: 'Lax' }, publicUrl);
}

function oidcNotConfigured(): ApiError {
  return new ApiError(
    409,
    'OIDC_NOT_CONFIGURED',
    'This installation has no identity provider to sign in at. Sign in with an API key',
  );
}

/** A browser shows the error on the page where people sign in. Only its reason is in the address. */
function showSignInError(
  error: unknown,
  oidcSignIn: OidcSignIn | undefined,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  if (!(error instanceof ApiError)) throw error;
  request.log.warn({ reason: `${error.reason}: ${error.message}` }, 'Signing in at the identity provider failed');
  return reply.redirect(`${oidcSignIn?.basePath ?? ''}/sign-in?error=${error.reason}`, 302);
}
