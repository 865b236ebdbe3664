import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type OutgoingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import type { ApiDependencies } from '../../api/dependencies.js';
import { apiKeyAuthenticator, createRootCaller } from '../../api/plugins/apiKeys.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createExecution } from '../../store/executions/create.js';
import { updateExecution } from '../../store/executions/update.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { type Db } from '../../store/database.js';
import { Secrets } from '../../store/secrets.js';
import { answerChecker, type OpenApi } from '../openapi.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { stubOrchestrator } from '../stubOrchestrator.js';

const ROOT = 'root-key-0123456789-abcdefgh';
const EVENTS = 'events-key-0123456789-abcdef';
const HTTPS = 'https://polony.example.org';

interface Session {
  kind: string;
  id: string;
  name: string;
  email: string | null;
  scopes: string[];
  timeExpires: string | null;
  csrfToken: string | null;
}
interface Body {
  session: Session;
  signInLink: { path: string; timeExpires: string };
  apiKey: { id: string };
  key: string;
  entries: { action: string; status: number; caller: { kind: string; id: string; name: string }; detail: object }[];
  methods: object;
  installation: object;
  details: { reason: string; metadata: { field?: string; rule?: string } }[];
}
interface Answer {
  status: number;
  body: Body;
  reason: string | undefined;
  text: string;
  location: string;
  headers: Record<string, unknown>;
  /** Cookies that the answer sets, with their attributes. */
  cookies: string[];
}
type Headers = Record<string, string>;

let postgres: TestPostgres;
let db: Db;
let app: FastifyInstance;
let check: ReturnType<typeof answerChecker>;
/** What the API logged, before anything is removed from it. */
let logged = '';
const logger = pino({ level: 'trace' }, { write: (line: string) => void (logged += line) });

const secrets = new Secrets([]);
const build = (overrides: Partial<ApiDependencies> = {}): Promise<FastifyInstance> =>
  buildApp({
    db,
    databaseUrl: postgres.url,
    secrets,
    aws: new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) }),
    orchestrator: stubOrchestrator,
    apiKey: ROOT,
    eventsKey: EVENTS,
    errorDomain: 'polony',
    logger,
    ...overrides,
  });

/** Every answer must match the served document. */
async function send(
  method: 'GET' | 'POST' | 'DELETE',
  url: string,
  headers: Headers = {},
  payload?: object,
  on = app,
): Promise<Answer> {
  const response = await on.inject({ method, url, headers, ...(payload !== undefined && { payload }) });
  const isJson = String(response.headers['content-type']).startsWith('application/json');
  const body = (isJson && response.body !== '' ? JSON.parse(response.body) : undefined) as Body;
  if (isJson || response.statusCode === 204) expect(check(method, url, response.statusCode, body)).toEqual([]);
  return {
    status: response.statusCode,
    body,
    reason: body?.details?.[0]?.reason,
    text: response.body,
    location: String(response.headers.location),
    headers: response.headers,
    cookies: [response.headers['set-cookie'] ?? []].flat(),
  };
}
const asRoot = { 'x-api-key': ROOT };

/** The part of cookies that a browser sends back. */
const pairs = (cookies: readonly string[]): string => cookies.map((cookie) => cookie.split(';')[0]).join('; ');

/** Signs in. @returns what a page sends then: the cookie, and headers for requests that change something */
async function signIn(
  payload: object,
  on = app,
): Promise<{ cookie: Headers; write: Headers; session: Session; cookies: string[] }> {
  const { status, body, cookies } = await send('POST', '/v1/session', {}, payload, on);
  expect([status, body.details]).toEqual([201, undefined]);
  const cookie = { cookie: pairs(cookies) };
  return { cookie, write: { ...cookie, 'x-csrf-token': body.session.csrfToken! }, session: body.session, cookies };
}

let counter = 0;
async function createKey(scopes: string[], more: object = {}): Promise<{ id: string; key: string; name: string }> {
  const name = `key-${++counter}`;
  const { body } = await send('POST', '/v1/api-keys', asRoot, { name, scopes, ...more });
  return { id: body.apiKey.id, key: body.key, name };
}

beforeAll(async () => {
  postgres = await startTestPostgres();
  db = postgres.db;
  app = await build();
  check = answerChecker((await app.inject({ method: 'GET', url: '/openapi.json' })).json<OpenApi>());
});
afterAll(async () => {
  await app?.close();
  await postgres?.stop();
});

describe('the session of a browser', () => {
  it('acts as the key that it was made of, with its scopes', async () => {
    const { key, id, name } = await createKey(['runs:read', 'keys:write']);
    const { cookie, write, session } = await signIn({ apiKey: key });
    expect(session).toMatchObject({ kind: 'key', id, name, email: null, scopes: ['runs:read', 'keys:write'] });
    const hours = (Date.parse(session.timeExpires!) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(11.9);
    expect(hours).toBeLessThanOrEqual(12);
    expect((await send('GET', '/v1/runs', cookie)).status).toBe(200);
    expect((await send('GET', '/v1/flows', cookie)).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await send('GET', '/v1/session', cookie)).body.session).toEqual(session);
    // A key that the session creates may last as long as one that the key itself creates.
    const made = await send('POST', '/v1/api-keys', write, { name: `key-${++counter}`, scopes: ['runs:read'] });
    expect(Date.parse((made.body.apiKey as unknown as { timeExpires: string }).timeExpires)).toBeGreaterThan(
      Date.now() + 86_400_000,
    );
  });

  it('of the root key has all scopes, and the events key has none', async () => {
    const { session, cookie } = await signIn({ apiKey: ROOT });
    expect(session).toMatchObject({ kind: 'root', id: 'default', scopes: ['*'] });
    expect((await send('GET', '/v1/audit-log', cookie)).status).toBe(200);
    expect((await send('POST', '/v1/session', {}, { apiKey: EVENTS })).reason).toBe('SIGN_IN_NOT_ALLOWED');
    expect((await send('POST', '/v1/session/sign-in-links', { 'x-api-key': EVENTS })).reason).toBe(
      'SIGN_IN_NOT_ALLOWED',
    );
  });

  it('says who the caller is also to keys, without a CSRF token', async () => {
    expect((await send('GET', '/v1/session', asRoot)).body.session).toEqual({
      kind: 'root',
      id: 'default',
      name: 'default',
      email: null,
      scopes: ['*'],
      timeExpires: null,
      csrfToken: null,
    });
    const { key } = await createKey(['runs:read']);
    expect((await send('GET', '/v1/session', { 'x-api-key': key })).body.session).toMatchObject({ csrfToken: null });
  });

  it('has a cookie that scripts, other sites and plain HTTP do not get', async () => {
    const { cookies } = await signIn({ apiKey: ROOT });
    expect(cookies).toEqual([
      expect.stringMatching(/^polony_session=[\w-]{43}; Path=\/; Max-Age=43\d{3}; HttpOnly; SameSite=Strict$/),
    ]);
    const behindTls = await build({ publicUrl: HTTPS });
    const secure = await signIn({ apiKey: ROOT }, behindTls);
    expect(secure.cookies).toEqual([
      expect.stringMatching(
        /^__Host-polony_session=[\w-]{43}; Path=\/; Max-Age=43\d{3}; HttpOnly; Secure; SameSite=Strict$/,
      ),
    ]);
    expect((await send('GET', '/v1/session', secure.cookie, undefined, behindTls)).status).toBe(200);
    // Another host of the domain could set a cookie without the prefix.
    const planted = { cookie: secure.cookie.cookie!.replace('__Host-', '') };
    expect((await send('GET', '/v1/session', planted, undefined, behindTls)).reason).toBe('MISSING_API_KEY');
    await behindTls.close();
    // A name in the network is not this machine.
    const named = await send('POST', '/v1/session', { host: 'polony.lab:8080' }, { apiKey: ROOT });
    expect(named.cookies[0]).toMatch(/^__Host-.*; Secure;/);
    const plain = { host: 'polony.lab:8080', origin: 'http://polony.lab:8080' };
    expect((await send('POST', '/v1/session', plain, { apiKey: ROOT })).reason).toBe('TLS_REQUIRED');
  });

  it('stores neither secrets nor keys', async () => {
    const { key } = await createKey(['runs:read']);
    const { cookie } = await signIn({ apiKey: key });
    const secret = cookie.cookie!.split('=')[1]!;
    const { rows } = await sql<{ row: string }>`
      select to_jsonb(s)::text as row from sessions s union all select to_jsonb(l)::text from sign_in_links l
    `.execute(db);
    expect(rows.length).toBeGreaterThan(0);
    const all = rows.map(({ row }) => row).join();
    for (const each of [secret, key, ROOT, Buffer.from(secret).toString('hex')]) expect(all).not.toContain(each);
    expect(all).toContain(createHash('sha256').update(secret).digest('hex'));
  });

  it('needs the CSRF token for requests that change something, and a page of this origin', async () => {
    const { key } = await createKey(['keys:write']);
    const { cookie, write, session } = await signIn({ apiKey: key });
    const body = (): object => ({ name: `key-${++counter}`, scopes: ['keys:write'] });
    const post = async (headers: Headers): Promise<string | number> => {
      const { reason, status } = await send('POST', '/v1/api-keys', headers, body());
      return reason ?? status;
    };
    expect(await post(cookie)).toBe('CSRF_TOKEN_MISSING');
    const { session: another } = await signIn({ apiKey: key });
    for (const wrong of [another.csrfToken!, session.csrfToken!.slice(1), 'x'])
      expect([wrong, await post({ ...cookie, 'x-csrf-token': wrong })]).toEqual([wrong, 'CSRF_TOKEN_INVALID']);
    expect((await send('DELETE', '/v1/session', cookie)).reason).toBe('CSRF_TOKEN_MISSING');
    for (const origin of ['https://evil.example', 'http://localhost:81', 'null'])
      expect([origin, await post({ ...write, origin })]).toEqual([origin, 'FOREIGN_ORIGIN']);
    for (const site of ['cross-site', 'same-site'])
      expect((await send('GET', '/v1/api-keys', { ...cookie, 'sec-fetch-site': site })).reason).toBe('FOREIGN_ORIGIN');
    expect(await post({ ...write, host: 'localhost', origin: 'http://localhost' })).toBe(201);
    // Somebody else's page must not sign a browser in either.
    const login = await send('POST', '/v1/session', { origin: 'https://evil.example' }, { apiKey: key });
    expect(login.reason).toBe('FOREIGN_ORIGIN');
    const answer = await send('GET', '/v1/session', { ...cookie, 'sec-fetch-site': 'same-origin' });
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  });

  it('does not count where the request has a key or a token', async () => {
    const { cookie } = await signIn({ apiKey: ROOT });
    const { key, id } = await createKey(['keys:write']);
    const both = { ...cookie, 'x-api-key': key };
    expect((await send('GET', '/v1/session', both)).body.session.id).toBe(id);
    // No CSRF token is needed, because no page can make a browser send this.
    expect((await send('POST', '/v1/api-keys', both, { name: 'with both', scopes: ['keys:write'] })).status).toBe(201);
    expect((await send('GET', '/v1/session', { ...cookie, 'x-api-key': 'wrong' })).reason).toBe('INVALID_API_KEY');
    expect((await send('GET', '/v1/session', { ...cookie, authorization: 'Bearer x' })).reason).toBe('MISSING_API_KEY');
    expect((await send('DELETE', '/v1/session', asRoot)).reason).toBe('NO_SESSION');
  });

  it('ends with the key: revoked, expired, rotated away, or replaced in the settings', async () => {
    const expectEnd = async (cookie: Headers, on = app): Promise<void> => {
      const { status, reason, cookies } = await send('GET', '/v1/session', cookie, undefined, on);
      expect([status, reason]).toEqual([401, 'SESSION_EXPIRED']);
      expect(cookies[0]).toMatch(/^polony_session=; Path=\/; Max-Age=0;/);
    };
    const revoked = await createKey(['runs:read']);
    const first = await signIn({ apiKey: revoked.key });
    await send('POST', `/v1/api-keys/${revoked.id}/revoke`, asRoot);
    await expectEnd(first.cookie);
    expect((await send('POST', '/v1/session', {}, { apiKey: revoked.key })).reason).toBe('INVALID_API_KEY');

    const rotated = await createKey(['runs:read']);
    const second = await signIn({ apiKey: rotated.key });
    await send('POST', `/v1/api-keys/${rotated.id}/rotate`, asRoot, { graceHours: 0 });
    await expectEnd(second.cookie);

    const expired = await createKey(['runs:read']);
    const third = await signIn({ apiKey: expired.key });
    await sql`update api_keys set time_expires = now() - interval '1 second' where id = ${expired.id}`.execute(db);
    await expectEnd(third.cookie);

    const root = await signIn({ apiKey: ROOT });
    const changed = await build({ apiKey: 'another-root-key-0123456789' });
    await expectEnd(root.cookie, changed);
    await changed.close();
    expect((await send('GET', '/v1/session', root.cookie)).status).toBe(200);
  });

  it('loses what the key loses', async () => {
    const { key, id } = await createKey(['runs:read', 'flows:read']);
    const { cookie } = await signIn({ apiKey: key });
    expect((await send('GET', '/v1/flows', cookie)).status).toBe(200);
    await sql`update api_keys set scopes = '["runs:read"]' where id = ${id}`.execute(db);
    expect((await send('GET', '/v1/flows', cookie)).reason).toBe('INSUFFICIENT_SCOPE');
  });

  it('has on this machine a cookie for each port, so that two stacks do not end the sessions of each other', async () => {
    const stacks = ['127.0.0.1:4001', '127.0.0.1:4002'].map((host) => ({ host, origin: `http://${host}` }));
    const cookies: string[] = [];
    for (const headers of stacks) {
      const answer = await send('POST', '/v1/session', { ...headers, cookie: cookies.join('; ') }, { apiKey: ROOT });
      cookies.push(pairs(answer.cookies));
    }
    expect(cookies.map((each) => each.split('=')[0])).toEqual(['polony_session_4001', 'polony_session_4002']);
    for (const headers of stacks) {
      const answer = await send('GET', '/v1/session', { ...headers, cookie: cookies.join('; ') });
      expect(answer.status).toBe(200);
    }
  });

  it('ends after 12 hours and on sign-out, and its row goes', async () => {
    const expired = await signIn({ apiKey: ROOT });
    await sql`update sessions set time_expires = now() - interval '1 second'`.execute(db);
    expect((await send('GET', '/v1/session', expired.cookie)).reason).toBe('SESSION_EXPIRED');
    const { cookie, write } = await signIn({ apiKey: ROOT });
    const count = async (): Promise<number> =>
      Number((await sql<{ count: string }>`select count(*) from sessions`.execute(db)).rows[0]!.count);
    // The next sign-in removed the rows that had ended.
    expect(await count()).toBe(1);
    const out = await send('DELETE', '/v1/session', write);
    expect([out.status, out.cookies[0]]).toEqual([204, expect.stringMatching(/^polony_session=; .*Max-Age=0/)]);
    expect((await send('GET', '/v1/session', cookie)).reason).toBe('SESSION_EXPIRED');
    expect(await count()).toBe(0);
    for (const wrong of ['polony_session=', 'polony_session=x', `polony_session=${'a'.repeat(43)}`])
      expect((await send('GET', '/v1/runs', { cookie: wrong })).reason).toBe('SESSION_EXPIRED');
  });

  it('replaces the one that the browser had, and the oldest of a caller with many', async () => {
    const { key, id } = await createKey(['runs:read']);
    const first = await signIn({ apiKey: key });
    await send('POST', '/v1/session', first.cookie, { apiKey: key });
    expect((await send('GET', '/v1/session', first.cookie)).reason).toBe('SESSION_EXPIRED');
    for (let at = 0; at < 101; at++) await signIn({ apiKey: key });
    const { rows } = await sql<{ count: string }>`
      select count(*) from sessions where caller_id = ${id}`.execute(db);
    expect(rows[0]!.count).toBe('100');
  });

  it('is in the audit log as its key: sign-in, what it does, sign-out', async () => {
    const { key, id, name } = await createKey(['runs:read']);
    const { write } = await signIn({ apiKey: key });
    await send('DELETE', '/v1/session', write);
    const { entries } = (await send('GET', `/v1/audit-log?callerId=${id}`, asRoot)).body;
    expect(entries.map(({ action, status, caller }) => ({ action, status, caller }))).toEqual([
      { action: 'SessionService_DeleteSession', status: 204, caller: { kind: 'key', id, name } },
      { action: 'SessionService_CreateSession', status: 201, caller: { kind: 'key', id, name } },
    ]);
    expect(entries[1]!.detail).toMatchObject({ method: 'apiKey' });
  });

  it('cannot be made with bad fields, and counts wrong keys as failed logins', async () => {
    const problem = async (payload: object): Promise<(string | undefined)[]> => {
      const { status, body } = await send('POST', '/v1/session', {}, payload);
      return [String(status), body.details[0]!.metadata.field, body.details[0]!.metadata.rule];
    };
    expect(await problem({})).toEqual(['400', 'apiKey', 'ONE_OF_TWO']);
    expect(await problem({ apiKey: ROOT, signInToken: 'x' })).toEqual(['400', 'apiKey', 'ONE_OF_TWO']);
    expect(await problem({ apiKey: '' })).toEqual(['400', 'apiKey', 'MIN_LENGTH']);
    expect(await problem({ apiKey: 'x'.repeat(1025) })).toEqual(['400', 'apiKey', 'MAX_LENGTH']);
    expect(await problem({ password: 'x' })).toEqual(['400', 'password', 'UNKNOWN_FIELD']);
    const limited = await build({ failedLoginsPerMinute: 3 });
    const reasons: (string | undefined)[] = [];
    for (const payload of [{ apiKey: 'guess-1' }, { signInToken: 'guess-2' }, { apiKey: 'guess-3' }, { apiKey: 'g-4' }])
      reasons.push((await send('POST', '/v1/session', {}, payload, limited)).reason);
    expect(reasons).toEqual(['INVALID_API_KEY', 'SIGN_IN_LINK_INVALID', 'INVALID_API_KEY', 'TOO_MANY_FAILED_LOGINS']);
    await limited.close();
  });

  it('counts towards the request limit of its key', async () => {
    const limited = await build({ requestsPerMinute: 4 });
    const { key } = await createKey(['runs:read']);
    const { cookie } = await signIn({ apiKey: key }, limited);
    const statuses: number[] = [];
    for (const headers of [cookie, { 'x-api-key': key }, cookie, { 'x-api-key': key }, cookie])
      statuses.push((await send('GET', '/v1/runs', headers, undefined, limited)).status);
    expect(statuses).toEqual([200, 200, 200, 200, 429]);
    await limited.close();
  });
});

describe('a sign-in link', () => {
  const linkOf = async (headers: Headers, on = app): Promise<string> => {
    const { status, body } = await send('POST', '/v1/session/sign-in-links', headers, undefined, on);
    expect(status).toBe(201);
    return /^\/sign-in#([\w-]{43})$/.exec(body.signInLink.path)![1]!;
  };

  it('signs in once, as its maker', async () => {
    const { key, id } = await createKey(['runs:read']);
    const signInToken = await linkOf({ 'x-api-key': key });
    expect((await signIn({ signInToken })).session).toMatchObject({ kind: 'key', id, scopes: ['runs:read'] });
    expect((await send('POST', '/v1/session', {}, { signInToken })).reason).toBe('SIGN_IN_LINK_INVALID');
    const both = await linkOf(asRoot);
    const answers = await Promise.all([1, 2].map(() => send('POST', '/v1/session', {}, { signInToken: both })));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 401]);
    const { entries } = (await send('GET', `/v1/audit-log?callerId=${id}`, asRoot)).body;
    expect(entries.map(({ action }) => action)).toEqual([
      'SessionService_CreateSession',
      'SessionService_CreateSignInLink',
    ]);
    expect(entries[0]!.detail).toMatchObject({ method: 'signInLink' });
  });

  it('ends after 15 minutes, and with the key or the session that made it', async () => {
    const refused = async (signInToken: string): Promise<void> =>
      expect((await send('POST', '/v1/session', {}, { signInToken })).reason).toBe('SIGN_IN_LINK_INVALID');
    const late = await linkOf(asRoot);
    await sql`update sign_in_links set time_expires = now() - interval '1 second'`.execute(db);
    await refused(late);
    const { key, id } = await createKey(['runs:read']);
    const ofKey = await linkOf({ 'x-api-key': key });
    await send('POST', `/v1/api-keys/${id}/revoke`, asRoot);
    await refused(ofKey);
    const { write } = await signIn({ apiKey: ROOT });
    const ofSession = await linkOf(write);
    await send('DELETE', '/v1/session', write);
    await refused(ofSession);
  });

  it('of a session lasts no longer than that session', async () => {
    const { write } = await signIn({ apiKey: ROOT });
    await sql`update sessions set time_expires = now() + interval '1 hour'`.execute(db);
    const { session } = await signIn({ signInToken: await linkOf(write) });
    expect(Date.parse(session.timeExpires!) - Date.now()).toBeLessThanOrEqual(3_600_000);
  });
});

describe('a caller that ends during its request', () => {
  it('gets neither a session nor a link', async () => {
    const { key, id } = await createKey(['runs:read']);
    const removed = await build({
      authenticate: async () => {
        const caller = await apiKeyAuthenticator(db, ROOT)(key);
        await db.deleteFrom('api_keys').where('id', '=', id).execute();
        return caller;
      },
    });
    expect((await send('POST', '/v1/session', {}, { apiKey: key }, removed)).reason).toBe('SESSION_EXPIRED');
    const other = await createKey(['runs:read']);
    const deletes = await build({
      authenticate: async () => {
        const caller = await apiKeyAuthenticator(db, ROOT)(other.key);
        await db.deleteFrom('api_keys').where('id', '=', other.id).execute();
        return caller;
      },
    });
    const link = await send('POST', '/v1/session/sign-in-links', { 'x-api-key': other.key }, undefined, deletes);
    expect([link.status, link.reason]).toEqual([401, 'SESSION_EXPIRED']);
    await removed.close();
    await deletes.close();
  });
});

describe('streams', () => {
  it('do not count for a caller whose client went before they began', async () => {
    // More than a caller may have.
    const clients = 101;
    let arrived = 0;
    let gone = 0;
    let answer!: () => void;
    const mayAnswer = new Promise<void>((resolve) => (answer = resolve));
    const on = await build({
      authenticate: async () => {
        arrived++;
        await mayAnswer;
        return createRootCaller();
      },
    });
    on.server.on('connection', (socket) => socket.on('close', () => gone++));
    const address = await on.listen({ host: '127.0.0.1', port: 0 });
    const path = '/v1/changes?topics=runs';
    const requests = Array.from({ length: clients }, () => get(`${address}${path}`, { headers: { ...asRoot } }));
    for (const request of requests) request.on('error', () => undefined);
    await expect.poll(() => arrived).toBe(clients);
    for (const request of requests) request.destroy();
    await expect.poll(() => gone).toBe(clients);
    answer();
    const after = await on.inject({ method: 'HEAD', url: path, headers: asRoot });
    expect(after.statusCode).toBe(200);
    await on.close();
  });
  it('of an execution and of changes end before they show something to a session that has ended', async () => {
    const address = await app.listen({ host: '127.0.0.1', port: 0 });
    const post = async (path: string, payload: object): Promise<string> =>
      Object.values((await send('POST', path, asRoot, payload)).body as unknown as Record<string, { id: string }>)[0]!
        .id;
    const providerId = await post('/v1/providers', {
      name: 'lab',
      defaultRegion: 'us-west-2',
      credentialType: 'role',
      roleArn: 'arn:aws:iam::111122223333:role/lab',
      externalId: 'lab-7f3a',
    });
    const storageConnectionId = await post('/v1/storage-connections', {
      name: 'runs',
      providerId,
      region: 'us-west-2',
      bucket: 'lab-aviti',
      prefix: 'runs',
      useForRunUpload: true,
      useForDataExploration: true,
    });
    const computeConnectionId = await post('/v1/compute-connections', {
      name: 'omics',
      providerId,
      executionRoleArn: 'arn:aws:iam::111122223333:role/omics',
      region: 'us-west-2',
    });
    const flowId = await post('/v1/flows', {
      name: 'b2f',
      computeConnectionId,
      sharedWorkflowId: '1234567',
      workflowOwnerId: '588258415937',
    });
    const runId = (await insertRuns(db, storageConnectionId, 'AV1', 'AV1', [{ folder: 'r', runName: 'r' }])).get(
      'r',
    )!.id;
    const storage = await db
      .selectFrom('storage_connections')
      .selectAll()
      .where('id', '=', storageConnectionId)
      .executeTakeFirstOrThrow();
    const { id } = await createExecution(db, {
      flow: { id: flowId, name: 'b2f', computeConnectionId },
      run: { id: runId, name: 'r', storageConnectionId, uploadState: 'complete' },
      storage,
      trigger: 'api',
      startedBy: 'test',
    });
    const { cookie, write } = await signIn({ apiKey: ROOT });
    const open = async (path: string, headers: OutgoingHttpHeaders) => {
      // The port is a part of the name of the cookie, and the sign-in had none.
      const request = get(`${address}${path}`, { headers: { host: 'localhost', ...headers } });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      expect(response.statusCode).toBe(200);
      const stream = { text: '', ended: once(response, 'end') };
      response.on('data', (chunk) => (stream.text += String(chunk)));
      return stream;
    };
    const execution = await open(`/v1/executions/${id!}/events`, cookie);
    const changes = await open('/v1/changes?topics=executions', cookie);
    const others = await open('/v1/changes?topics=executions', asRoot);
    await expect.poll(() => execution.text).toContain('event: execution');
    await expect.poll(() => changes.text).toContain('event: ready');
    await expect.poll(() => others.text).toContain('event: ready');
    await send('DELETE', '/v1/session', write);
    await updateExecution(db, id!, { statusDescription: 'not for those who signed out' });
    await Promise.all([execution.ended, changes.ended]);
    expect(execution.text).not.toContain('not for those who signed out');
    expect(changes.text).not.toContain('event: change');
    // The key itself still sees it.
    await expect.poll(() => others.text).toContain(id!);

    const key = await createKey(['executions:read']);
    const ofKey = await signIn({ apiKey: key.key });
    const untilRevoked = await open('/v1/changes?topics=executions', ofKey.cookie);
    await expect.poll(() => untilRevoked.text).toContain('event: ready');
    await send('POST', `/v1/api-keys/${key.id}/revoke`, asRoot);
    await updateExecution(db, id!, { statusDescription: 'not for a revoked key' });
    await untilRevoked.ended;
    expect(untilRevoked.text).not.toContain('event: change');

    const expiring = await signIn({ apiKey: ROOT });
    const untilExpired = await open('/v1/changes?topics=executions', expiring.cookie);
    await expect.poll(() => untilExpired.text).toContain('event: ready');
    await sql`update sessions set time_expires = now()`.execute(db);
    await updateExecution(db, id!, { statusDescription: 'not for an expired session' });
    await untilExpired.ended;
    expect(untilExpired.text).not.toContain('event: change');
  });
});

describe('signing in at an identity provider', () => {
  let provider: Server;
  let issuer: string;
  let signing: CryptoKey;
  let foreign: CryptoKey;
  let console_: FastifyInstance;
  /** What the provider was asked at its token endpoint. */
  let asked: { form: URLSearchParams; authorization: string | undefined }[] = [];
  /** What it answers for the next code. */
  let next: { claims: JWTPayload; key?: CryptoKey; audience?: string; from?: string; access?: JWTPayload };
  /** Challenge and nonce of the sign-in that the provider saw. */
  let begun: { challenge: string; nonce: string; used: boolean };
  let down = false;
  const CLIENT = { clientId: 'polony-console', clientSecret: 'client secret: +/&' };

  const token = (claims: JWTPayload, { key = signing, audience = 'polony-console', from = issuer } = {}) =>
    new SignJWT({ sub: 'u-1', name: 'Rosalind', email: 'rosalind@example.org', ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer(from)
      .setAudience(audience)
      .setExpirationTime('5m')
      .setIssuedAt()
      .sign(key);

  beforeAll(async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    signing = pair.privateKey;
    foreign = (await generateKeyPair('ES256')).privateKey;
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' };
    provider = createServer((request, response) => {
      const json = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      };
      if (down) return json(503, {});
      if (request.url === '/keys') return json(200, { keys: [jwk] });
      if (request.url === '/.well-known/openid-configuration')
        return json(200, {
          issuer,
          jwks_uri: `${issuer}/keys`,
          authorization_endpoint: `${issuer}/authorize?tenant=lab`,
          token_endpoint: `${issuer}/token`,
          token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
        });
      let body = '';
      request.on('data', (chunk) => (body += String(chunk)));
      request.on('end', () => {
        void (async () => {
          const form = new URLSearchParams(body);
          asked.push({ form, authorization: request.headers.authorization });
          const challenge = createHash('sha256').update(form.get('code_verifier')!).digest('base64url');
          if (challenge !== begun.challenge || begun.used) return json(400, { error: 'invalid_grant' });
          begun.used = true;
          const { claims, access, ...how } = next;
          const idToken = await token({ nonce: begun.nonce, ...claims }, how);
          json(200, {
            token_type: 'Bearer',
            id_token: idToken,
            access_token: access === undefined ? 'opaque' : await token(access, { audience: 'polony' }),
          });
        })();
      });
    });
    await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
    const oidc = {
      issuer,
      audience: 'polony',
      scopesClaim: 'realm_access.roles',
      scopeMap: { analyst: ['runs:read'], admin: ['*'] },
    };
    console_ = await build({ publicUrl: `${HTTPS}/lab`, oidc, oidcClient: CLIENT });
  });
  afterAll(async () => {
    await console_?.close();
    provider?.close();
  });
  beforeEach(() => {
    down = false;
    asked = [];
    next = { claims: { realm_access: { roles: ['analyst', 'other'] } } };
  });

  /** Begins in a browser. @returns the cookie, and the parameters that the provider gets */
  async function begin(
    returnTo = '/runs?filter=status:completed',
  ): Promise<{ cookie: Headers; query: URLSearchParams }> {
    const url = `/v1/session/oidc/start?returnTo=${encodeURIComponent(returnTo)}`;
    const { status, location, cookies } = await send('GET', url, {}, undefined, console_);
    expect(status).toBe(302);
    expect(cookies).toEqual([
      expect.stringMatching(/^__Host-polony_sign_in=\S+; Path=\/; Max-Age=600; HttpOnly; Secure; SameSite=Lax$/),
    ]);
    const query = new URL(location).searchParams;
    begun = { challenge: query.get('code_challenge')!, nonce: query.get('nonce')!, used: false };
    return { cookie: { cookie: pairs(cookies) }, query };
  }
  const finish = (cookie: Headers, query: Record<string, string>): Promise<Answer> =>
    send('GET', `/v1/session/oidc/callback?${new URLSearchParams(query).toString()}`, cookie, undefined, console_);
  const signInError = (reason: string): [number, string] => [302, `/lab/sign-in?error=${reason}`];

  it('is among the methods only if it is configured', async () => {
    const methods = async (on: FastifyInstance) =>
      (await send('GET', '/v1/session/methods', {}, undefined, on)).body.methods;
    expect([await methods(app), await methods(console_)]).toEqual([
      { apiKey: true, oidc: false },
      { apiKey: true, oidc: true },
    ]);
    const { status, location } = await send('GET', '/v1/session/oidc/start');
    expect([status, location]).toEqual([302, '/sign-in?error=OIDC_NOT_CONFIGURED']);
  });

  it('makes a session of the person, by code and PKCE, and opens the page that was asked for', async () => {
    const { cookie, query } = await begin('/runs?filter=a"<b>&c');
    expect(Object.fromEntries(query)).toMatchObject({
      tenant: 'lab',
      response_type: 'code',
      client_id: 'polony-console',
      redirect_uri: `${HTTPS}/lab/v1/session/oidc/callback`,
      scope: 'openid profile email',
      code_challenge_method: 'S256',
    });
    const answer = await finish(cookie, {
      code: 'code-1',
      state: query.get('state')!,
      session_state: 'x',
      iss: issuer,
    });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'");
    expect(answer.text).toContain('<meta http-equiv="refresh" content="0;url=/lab/runs?filter=a%22%3Cb%3E&amp;c">');
    expect(asked.map(({ form }) => Object.fromEntries(form))).toEqual([
      {
        grant_type: 'authorization_code',
        code: 'code-1',
        redirect_uri: `${HTTPS}/lab/v1/session/oidc/callback`,
        code_verifier: expect.stringMatching(/^[\w-]{43}$/) as string,
      },
    ]);
    expect(Buffer.from(asked[0]!.authorization!.replace('Basic ', ''), 'base64').toString()).toBe(
      'polony-console:client+secret%3A+%2B%2F%26',
    );
    const session = answer.cookies.find((each) => each.startsWith('__Host-polony_session='))!;
    expect(session).toMatch(/HttpOnly; Secure; SameSite=Strict$/);
    expect(answer.cookies.find((each) => each.startsWith('__Host-polony_sign_in=;'))).toMatch(/Max-Age=0/);
    const headers = { cookie: pairs([session]) };
    const me = (await send('GET', '/v1/session', headers, undefined, console_)).body.session;
    expect(me).toMatchObject({
      kind: 'person',
      id: 'person:u-1',
      name: 'Rosalind',
      email: 'rosalind@example.org',
      scopes: ['runs:read'],
    });
    expect(Date.parse(me.timeExpires!) - Date.now()).toBeGreaterThan(11.9 * 3_600_000);
    expect((await send('GET', '/v1/runs', headers, undefined, console_)).status).toBe(200);
    expect((await send('GET', '/v1/flows', headers, undefined, console_)).reason).toBe('INSUFFICIENT_SCOPE');
    const { entries } = (await send('GET', '/v1/audit-log?callerId=person:u-1', asRoot)).body;
    expect(
      entries.map(({ action, detail }) => [action, (detail as { method?: string } | null)?.method]),
    ).toContainEqual(['SessionService_CreateSession', 'oidc']);

    // The person has what the settings give to the values of the claim now, and only of this provider.
    const settings = { issuer, audience: 'polony', scopesClaim: 'realm_access.roles' };
    const narrowed = await build({ publicUrl: HTTPS, oidc: { ...settings, scopeMap: { other: ['flows:read'] } } });
    expect((await send('GET', '/v1/session', headers, undefined, narrowed)).body.session.scopes).toEqual([
      'flows:read',
    ]);
    await narrowed.close();
    const moved = await build({ publicUrl: HTTPS, oidc: { ...settings, issuer: 'https://login.example.org' } });
    expect((await send('GET', '/v1/session', headers, undefined, moved)).reason).toBe('SESSION_EXPIRED');
    await moved.close();
  });

  it('takes roles from the access token if the ID token has none', async () => {
    next = { claims: {}, access: { realm_access: { roles: ['admin'] } } };
    const first = await begin();
    const answer = await finish(first.cookie, { code: 'c', state: first.query.get('state')! });
    const headers = { cookie: pairs(answer.cookies) };
    expect((await send('GET', '/v1/session', headers, undefined, console_)).body.session.scopes).toEqual(['*']);
    next = { claims: {}, access: { sub: 'u-2', realm_access: { roles: ['admin'] } } };
    const second = await begin();
    const refused = await finish(second.cookie, { code: 'c', state: second.query.get('state')! });
    expect([refused.status, refused.location]).toEqual(signInError('NO_SCOPES'));
  });

  it('is refused with another state, without the cookie, and a second time', async () => {
    const { cookie, query } = await begin();
    const state = query.get('state')!;
    const outcome = async (headers: Headers, parameters: Record<string, string>): Promise<[number, string]> => {
      const { status, location, cookies } = await finish(headers, parameters);
      expect(cookies.filter((each) => each.includes('polony_session'))).toEqual([]);
      return [status, location];
    };
    const iss = 'https://evil.example';
    const wrongs: Record<string, string>[] = [{}, { state: 'x' }, { state: state.slice(1) }, { state, iss }];
    for (const wrong of wrongs)
      expect(await outcome(cookie, { code: 'c', ...wrong })).toEqual(signInError('SIGN_IN_STATE_INVALID'));
    expect(await outcome({}, { code: 'c', state })).toEqual(signInError('SIGN_IN_STATE_INVALID'));
    const other = await begin();
    expect(await outcome(other.cookie, { code: 'c', state })).toEqual(signInError('SIGN_IN_STATE_INVALID'));
    expect(asked).toEqual([]);
    expect(await outcome(cookie, { error: 'access_denied', state })).toEqual(signInError('SIGN_IN_DENIED'));
    expect(await outcome(cookie, { error: 'server_error', state })).toEqual(signInError('SIGN_IN_FAILED'));
    expect(await outcome(cookie, { state })).toEqual(signInError('SIGN_IN_FAILED'));
    // The code of another sign-in: its verifier is not the one of this browser.
    expect(await outcome(cookie, { code: 'c', state })).toEqual(signInError('SIGN_IN_FAILED'));
    const last = await begin();
    const parameters = { code: 'c', state: last.query.get('state')! };
    expect((await finish(last.cookie, parameters)).status).toBe(200);
    expect(await outcome(last.cookie, parameters)).toEqual(signInError('SIGN_IN_FAILED'));
  });

  it('is refused with an ID token that is forged, or made for another sign-in, client or provider', async () => {
    const claims = { realm_access: { roles: ['admin'] } };
    for (const bad of [
      { claims: { ...claims, nonce: 'of another sign-in' } },
      { claims: { ...claims, nonce: undefined } },
      { claims: { ...claims, azp: 'another' } },
      { claims: { ...claims, typ: 'Refresh' } },
      { claims, audience: 'polony' },
      { claims, from: 'https://evil.example' },
      { claims, key: foreign },
    ]) {
      next = bad;
      const { cookie, query } = await begin();
      const { status, location } = await finish(cookie, { code: 'c', state: query.get('state')! });
      expect([bad, status, location]).toEqual([bad, ...signInError('INVALID_TOKEN')]);
    }
  });

  it('never leads to another site', async () => {
    for (const returnTo of [
      'https://evil.example',
      '//evil.example',
      '/\\evil.example',
      '\\\\evil.example',
      '/\t/evil.example',
      '/..//evil.example',
      'javascript:alert(1)',
      'runs',
      '',
    ]) {
      const url = `/v1/session/oidc/start?returnTo=${encodeURIComponent(returnTo)}`;
      const { status, body } = await send('GET', url, {}, undefined, console_);
      expect([returnTo, status, body?.details[0]!.metadata.rule]).toEqual([returnTo, 400, 'OWN_PATH']);
    }
    // Nor where somebody changed the cookie.
    const { cookie, query } = await begin();
    const [name, value = ''] = cookie.cookie!.split('=');
    const changed = `${name}=${value.split('.')[0]}.${Buffer.from('//evil.example').toString('base64url')}`;
    const answer = await finish({ cookie: changed }, { code: 'c', state: query.get('state')! });
    expect([answer.status, answer.text.includes('evil')]).toEqual([400, false]);
  });

  it('says that the provider is away', async () => {
    const { cookie, query } = await begin();
    down = true;
    const { status, location } = await finish(cookie, { code: 'c', state: query.get('state')! });
    expect([status, location]).toEqual(signInError('IDENTITY_PROVIDER_UNAVAILABLE'));
    const fresh = await build({
      publicUrl: HTTPS,
      oidc: { issuer, audience: 'polony', scopesClaim: 'scope' },
      oidcClient: { clientId: 'public' },
    });
    const start = await send('GET', '/v1/session/oidc/start', {}, undefined, fresh);
    expect(start.location).toBe('/sign-in?error=IDENTITY_PROVIDER_UNAVAILABLE');
    await fresh.close();
  });
});

describe('the installation', () => {
  it('says what every caller may know', async () => {
    const { key } = await createKey(['instruments:read']);
    const { body } = await send('GET', '/v1/installation', { 'x-api-key': key });
    expect(body.installation).toEqual({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      publicUrl: null,
      trustedAccountId: null,
      temporal: { namespace: 'default', uiUrl: null },
      auditsReads: false,
    });
    const named = await build({
      publicUrl: HTTPS,
      trustedAccountId: '111122223333',
      temporal: { namespace: 'lab' },
      temporalUiUrl: 'https://temporal.example.org',
      auditsReads: true,
    });
    expect((await send('GET', '/v1/installation', asRoot, undefined, named)).body.installation).toMatchObject({
      publicUrl: HTTPS,
      trustedAccountId: '111122223333',
      temporal: { namespace: 'lab', uiUrl: 'https://temporal.example.org' },
      auditsReads: true,
    });
    await named.close();
    expect((await send('GET', '/v1/installation')).reason).toBe('MISSING_API_KEY');
  });
});

describe('the log', () => {
  it('has no key, cookie, code or secret of a sign-in', async () => {
    const { key, name } = await createKey(['keys:read']);
    const { cookie, write, session } = await signIn({ apiKey: key });
    const link = (await send('POST', '/v1/session/sign-in-links', write)).body.signInLink.path.split('#')[1]!;
    await send('POST', '/v1/session', {}, { signInToken: link });
    await send('GET', '/v1/session/oidc/callback?code=code-of-a-test&state=state-of-a-test');
    expect(logged).toContain(`"caller":"${name}"`);
    expect(logged).toContain('"path":"/v1/session/oidc/callback"');
    for (const secret of [key, ROOT, cookie.cookie!.split('=')[1]!, session.csrfToken!, link, 'code-of-a-test'])
      expect(logged).not.toContain(secret);
    expect(logged).not.toContain('client secret');
  });
});
