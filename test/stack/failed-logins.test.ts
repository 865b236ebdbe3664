/** @module-tag long */
import { sql } from 'kysely';
import type { FastifyInstance } from 'fastify';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import type { ApiDependencies } from '../../api/dependencies.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { Secrets } from '../../store/secrets.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { stubOrchestrator } from '../stubOrchestrator.js';
import { waitFor } from '../support.js';

const ROOT_KEY = 'root-key-0123456789-abcdefgh';
let postgres: TestPostgres;
let aws: AwsSessions;
let app: FastifyInstance;

beforeAll(async () => {
  postgres = await startTestPostgres();
  aws = new AwsSessions({ sessionSeconds: 900, ...createProviderLoader(postgres.db, new Secrets([])) });
});
afterAll(async () => {
  aws?.close();
  await postgres?.stop();
});
const start = (options: Partial<ApiDependencies> = {}): Promise<FastifyInstance> =>
  buildApp({
    db: postgres.db,
    databaseUrl: postgres.url,
    secrets: new Secrets([]),
    aws,
    orchestrator: stubOrchestrator,
    apiKey: ROOT_KEY,
    errorDomain: 'polony',
    failedLoginsPerMinute: 3,
    ...options,
  });
let before: string;
beforeEach(async () => {
  before = (await sql<{ now: Date }>`select clock_timestamp() as now`.execute(postgres.db)).rows[0]!.now.toISOString();
  app = await start();
});
afterEach(() => app.close());

/** @returns the status of a request from an address. */
async function login(remoteAddress: string, headers: Record<string, string>): Promise<number> {
  return (await app.inject({ url: '/v1/runs', remoteAddress, headers })).statusCode;
}
/** Each with another key. */
let badKeys = 0;
const bad = (ip: string, count: number, headers: Record<string, string> = {}): Promise<number[]> =>
  Array.from({ length: count }).reduce<Promise<number[]>>(
    async (sum) => [...(await sum), await login(ip, { 'x-api-key': `wrong-${++badKeys}`, ...headers })],
    Promise.resolve([]),
  );
const good = (ip: string, headers = {}): Promise<number> => login(ip, { 'x-api-key': ROOT_KEY, ...headers });

interface Entry {
  address: string | null;
  status: number;
  caller: object;
  detail: { attempts: number; reasons: Record<string, number> };
}
/** The entries of this test, the oldest first. */
async function listEntries(): Promise<Entry[]> {
  const reader = await start();
  const { entries } = (
    await reader.inject({
      url: `/v1/audit-log?action=AuthService_FailedLogin&pageSize=1000&since=${before}`,
      headers: { 'x-api-key': ROOT_KEY },
    })
  ).json<{ entries: Entry[] }>();
  await reader.close();
  return entries.reverse();
}

describe('failed logins', () => {
  it('are limited by address before authentication, and other addresses are not', async () => {
    expect(await bad('192.0.2.1', 5)).toEqual([401, 401, 401, 429, 429]);
    const refused = await app.inject({
      url: '/v1/runs',
      remoteAddress: '192.0.2.1',
      headers: { 'x-api-key': ROOT_KEY },
    });
    expect([refused.statusCode, Number(refused.headers['retry-after']) > 0]).toEqual([429, true]);
    expect(refused.json<{ details: { reason: string }[] }>().details[0]!.reason).toBe('TOO_MANY_FAILED_LOGINS');
    expect([await good('192.0.2.2'), await login('192.0.2.2', { 'x-api-key': 'wrong' })]).toEqual([200, 401]);
    // Health checks and public documentation need no key.
    for (const url of ['/healthz', '/openapi.json'])
      expect((await app.inject({ url, remoteAddress: '192.0.2.1' })).statusCode, url).toBe(200);
  });
  it('do not lock out clients of the same address whose keys work', async () => {
    expect(await good('192.0.2.3')).toBe(200);
    expect(await bad('192.0.2.3', 4)).toEqual([401, 401, 401, 429]);
    expect(await good('192.0.2.3')).toBe(200);
  });
  it('count for the whole network of an IPv6 host, and for an IPv4 address in either spelling', async () => {
    expect(await bad('2001:db8::1', 3)).toEqual([401, 401, 401]);
    expect([await good('2001:db8:0:0:ffff::2'), await good('2001:db8:0:1::1')]).toEqual([429, 200]);
    expect(await bad('198.51.100.1', 3)).toEqual([401, 401, 401]);
    expect(await login('::ffff:198.51.100.1', { 'x-api-key': 'x' })).toBe(429);
  });
  it('are tokens, too, and requests without any key are none', async () => {
    for (let index = 0; index < 5; index++) expect(await login('192.0.2.4', {})).toBe(401);
    expect(await good('192.0.2.4')).toBe(200);
    await app.close();
    app = await start({ oidc: { issuer: 'http://127.0.0.1:1', audience: 'a', scopesClaim: 'scope' } });
    // A provider that does not answer is not the fault of the client.
    const token = ['{"alg":"RS256"}', '{}', 'x'].map((part) => Buffer.from(part).toString('base64url')).join('.');
    for (let index = 0; index < 4; index++)
      expect(await login('192.0.2.5', { authorization: `Bearer ${token}` })).not.toBe(429);
  });
  it('with the same old key again and again lock nobody out', async () => {
    for (let index = 0; index < 10; index++) expect(await login('192.0.2.9', { 'x-api-key': 'revoked' })).toBe(401);
    expect(await good('192.0.2.9')).toBe(200);
  });
  it('that are sent at once do not pass the limit, in any mixture with keys that work', async () => {
    const createKey = async (): Promise<string> => {
      const payload = { name: `parallel ${++badKeys}`, scopes: ['runs:read'] };
      const headers = { 'x-api-key': ROOT_KEY };
      const answer = await app.inject({ method: 'POST', url: '/v1/api-keys', headers, payload });
      return answer.json<{ key: string }>().key;
    };
    const atOnce = (ip: string, keys: readonly string[]): Promise<number[]> =>
      Promise.all(keys.map((key) => login(ip, { 'x-api-key': key })));
    const wrong = (count: number): string[] => Array.from({ length: count }, () => `wrong-${++badKeys}`);
    const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);
    const valid: string[] = [];
    for (let index = 0; index < 8; index++) valid.push(await createKey());

    expect((await atOnce('192.0.2.20', wrong(40))).sort()).toEqual([401, 401, 401, ...times(37, 429)]);
    // More keys than the limit that work for the first time, beside as many wrong ones as the limit still allows.
    const few = wrong(2);
    expect(await atOnce('192.0.2.21', [...few, ...valid])).toEqual([401, 401, ...times(8, 200)]);
    expect(await atOnce('192.0.2.21', valid)).toEqual(times(8, 200));
    // The same wrong key counts once, also at once.
    expect(await atOnce('192.0.2.22', times(20, 'revoked'))).toEqual(times(20, 401));
    expect(await good('192.0.2.22')).toBe(200);
    // Each of many mixed requests has an answer, and only as many wrong keys as the limit are told to be wrong.
    const mixed = await atOnce('192.0.2.23', [...wrong(20), ...valid, ...wrong(20)]);
    expect(mixed.filter((status) => status === 401)).toHaveLength(3);
    expect(mixed.slice(20, 28)).toEqual(times(8, 200));
    expect(await bad('192.0.2.23', 1)).toEqual([429]);
  });
  it('give back their part of the limit where the check itself failed', async () => {
    await app.close();
    app = await start({ oidc: { issuer: 'http://127.0.0.1:1', audience: 'a', scopesClaim: 'scope' } });
    const token = (name: string): string =>
      ['{"alg":"RS256"}', `{"n":"${name}"}`, 'x'].map((part) => Buffer.from(part).toString('base64url')).join('.');
    const statuses = await Promise.all(
      Array.from({ length: 12 }, (_, n) => login('192.0.2.24', { authorization: `Bearer ${token(String(n))}` })),
    );
    expect(statuses).not.toContain(429);
    expect(await good('192.0.2.24')).toBe(200);
  });
  it('believe X-Forwarded-For of named proxies only', async () => {
    // Nobody is trusted: a client cannot escape by forging the header.
    const forged = [];
    for (let index = 0; index < 4; index++)
      forged.push(...(await bad('192.0.2.6', 1, { 'x-forwarded-for': `203.0.113.${index}` })));
    expect(forged).toEqual([401, 401, 401, 429]);
    await app.close();
    app = await start({ trustProxy: ['10.0.0.0/8'] });
    const client = { 'x-forwarded-for': '203.0.113.50' };
    expect(await bad('10.0.0.1', 4, client)).toEqual([401, 401, 401, 429]);
    expect(await good('10.0.0.1', { 'x-forwarded-for': '203.0.113.51' })).toBe(200);
    // What the client itself wrote stands before what the proxy adds.
    expect(await good('10.0.0.1', { 'x-forwarded-for': '1.2.3.4, 203.0.113.50' })).toBe(200);
    expect(await login('10.0.0.1', { 'x-api-key': 'x', 'x-forwarded-for': '1.2.3.5, 203.0.113.50' })).toBe(429);
    expect(await bad('192.0.2.7', 4, client)).toEqual([401, 401, 401, 429]);
  });
  it('are in the audit log with their address: the first at once, the others together', async () => {
    await bad('192.0.2.8', 1);
    await waitFor('the first entry', async () => (await listEntries()).length === 1);
    await bad('192.0.2.8', 6);
    await bad('2001:db8:1::1', 1);
    await app.close();
    const entries = await listEntries();
    expect(entries.map(({ address, status, detail }) => [address, status, detail.attempts])).toEqual([
      ['192.0.2.8', 401, 1],
      ['2001:db8:1:0::/64', 401, 1],
      ['192.0.2.8', 401, 6],
    ]);
    expect(entries[2]!.detail.reasons).toEqual({ INVALID_API_KEY: 2, RATE_LIMITED: 4 });
    expect(entries[0]!.caller).toEqual({ kind: 'anonymous', id: 'anonymous', name: 'not authenticated' });
    expect(JSON.stringify(entries)).not.toContain('wrong-');
  });
  it('from very many addresses share an entry', async () => {
    for (let index = 0; index < 110; index++) await bad(`198.18.${index}.1`, 1);
    await app.close();
    const entries = await listEntries();
    expect(entries).toHaveLength(101);
    expect(entries.at(-1)).toMatchObject({ address: null, detail: { attempts: 10, addresses: 10 } });
  });
});
