import net from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildApp } from '../../api/app.js';
import { ExecutionFeed } from '../../api/executions/feed.js';
import { Notices } from '../../api/notices.js';
import { createResolver } from '../../network/resolve.js';
import { Secrets } from '../../store/secrets.js';
import { stubOrchestrator } from '../stubOrchestrator.js';
import { ROOT_KEY as ROOT, startTestApi, type TestApi } from '../testApi.js';

// Attacks with what a request contains: names, external IDs, bodies, addresses. Each was possible once.

const REGION = 'us-west-2';
let api: TestApi;
let counter = 0;

interface Answer {
  status: number;
  rules: string[];
  reason: string | undefined;
  headers: Record<string, unknown>;
  body: Record<string, Record<string, unknown>> & { message?: string; key?: string };
}

async function call(key: string, method: 'GET' | 'POST' | 'PATCH', url: string, payload?: object | string) {
  const response = await api.app.inject({
    method,
    url,
    headers: { 'x-api-key': key, ...(payload !== undefined && { 'content-type': 'application/json' }) },
    ...(payload !== undefined && { payload }),
  });
  const body = (response.body === '' ? {} : JSON.parse(response.body)) as Answer['body'];
  // Answers about a resource have an object with this name.
  const details = (Array.isArray(body.details) ? body.details : []) as {
    reason: string;
    metadata: { field?: string; rule?: string };
  }[];
  return {
    status: response.statusCode,
    rules: details.map(({ metadata }) => `${metadata.field} ${metadata.rule}`),
    reason: details[0]?.reason,
    headers: response.headers,
    body,
  } satisfies Answer;
}
const provider = (fields: object) =>
  call(ROOT, 'POST', '/v1/providers', {
    name: `provider-${++counter}`,
    defaultRegion: REGION,
    credentialType: 'role',
    roleArn: 'arn:aws:iam::111122223333:role/polony',
    ...fields,
  });
const inAccount = (account: string) => ({ roleArn: `arn:aws:iam::${account}:role/polony` });
async function keyFor(...scopes: string[]): Promise<string> {
  const { status, body } = await call(ROOT, 'POST', '/v1/api-keys', { name: `key-${++counter}`, scopes });
  expect([scopes, status, body.message]).toEqual([scopes, 201, undefined]);
  return body.key!;
}

beforeAll(async () => {
  api = await startTestApi({
    publicUrl: 'https://polony.example.org',
    resolve: createResolver({ servers: ['127.0.0.1:1'], deadlineMs: 500 }),
  });
});
afterAll(() => api?.stop());

describe('an external ID', () => {
  it('is generated where none is given, so that nobody can guess it', async () => {
    const [one, other] = [await provider({}), await provider({})];
    const ids = [one, other].map(({ body }) => body.provider!.externalId);
    for (const id of ids) expect(id).toMatch(/^polony-[0-9a-f]{40}$/);
    expect(ids[0]).not.toBe(ids[1]);
    expect(one.body.provider).toMatchObject({ isRoleOpen: false, warnings: [] });
  });

  it('of another account is rejected when a provider is created or changed, also at the same time', async () => {
    const externalId = 'the-id-of-one-lab-0123';
    expect((await provider({ ...inAccount('111122223333'), externalId })).status).toBe(201);
    // Two roles of one account may share it.
    expect((await provider({ ...inAccount('111122223333'), externalId })).status).toBe(201);
    const taken = await provider({ ...inAccount('444455556666'), externalId });
    expect([taken.status, taken.reason]).toEqual([409, 'EXTERNAL_ID_TAKEN']);
    expect(taken.body.message).not.toContain('provider-');
    const { body } = await provider(inAccount('444455556666'));
    const url = `/v1/providers/${String(body.provider!.id)}`;
    expect((await call(ROOT, 'PATCH', url, { externalId })).reason).toBe('EXTERNAL_ID_TAKEN');
    expect((await call(ROOT, 'PATCH', url, inAccount('111122223333'))).status).toBe(200);

    const same = { externalId: 'requested-by-two-accounts' };
    const both = await Promise.all(
      ['111122223333', '444455556666'].map((account) => provider({ ...inAccount(account), ...same })),
    );
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  });

  it('that is short has a warning', async () => {
    const { body } = await provider({ externalId: 'lab-7f3a' });
    expect(body.provider!.warnings).toMatchObject([{ code: 'EXTERNAL_ID_SHORT' }]);
  });
});

describe('a body', () => {
  it.each([33, 1000, 40_000])('nested %i levels deep is 400, wherever it is', async (depth) => {
    const deep = `${'['.repeat(depth)}${']'.repeat(depth)}`;
    for (const url of ['/v1/flows', '/v1/providers', '/v1/executions', '/v1/api-keys'])
      for (const body of [deep, `{"parameters":${deep}}`, `{"name":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}`])
        expect([url, (await call(ROOT, 'POST', url, body)).status]).toEqual([url, 400]);
  });
  it('that is no deeper than allowed is checked as usual', async () => {
    const deep = `${'['.repeat(31)}${']'.repeat(31)}`;
    expect((await call(ROOT, 'POST', '/v1/flows', `{"parameters":{"a":${deep}}}`)).status).toBe(400);
  });
});

describe('a name', () => {
  it.each([
    ['a zero-width space', 'li\u200bms'],
    ['a right-to-left mark', 'li\u202ems'],
    ['an isolate', 'li\u2066ms'],
    ['a soft hyphen', 'li\u00adms'],
    ['a Hangul filler', 'li\u3164ms'],
    ['a variation selector', 'lims\ufe0f'],
    ['a tag character', 'lims\u{e0041}'],
    ['a no-break space', 'lims\u00a0key'],
    ['a blank Braille pattern', 'lims\u2800key'],
    ['a null notehead', 'lims\u{1d159}'],
  ])('must not contain %s', async (_what, name) => {
    for (const [url, body] of [
      ['/v1/api-keys', { name, scopes: ['runs:read'] }],
      ['/v1/providers', { name, defaultRegion: REGION, credentialType: 'role', ...inAccount('111122223333') }],
    ] as const)
      expect((await call(ROOT, 'POST', url, body)).rules).toContain('name NAME_INVISIBLE');
  });

  it('of a key must not look like polony, a key of the installation, a person or an id', async () => {
    for (const name of ['default', 'Default', 'ｄｅｆａｕｌｔ', 'polony', 'SYSTEM', 'events', 'r-o-o-t', 'person:u-1'])
      expect([name, (await call(ROOT, 'POST', '/v1/api-keys', { name, scopes: ['runs:read'] })).rules]).toEqual([
        name,
        ['name NAME_RESERVED'],
      ]);
    const id = '01920000-0000-7000-8000-000000000004';
    expect((await call(ROOT, 'POST', '/v1/api-keys', { name: id, scopes: ['runs:read'] })).rules).toEqual([
      'name NAME_RESERVED',
    ]);
  });

  it('of a key must not be one that the audit log gives to others, nor look like another name', async () => {
    const made = async (name: string): Promise<string[]> =>
      (await call(ROOT, 'POST', '/v1/api-keys', { name, scopes: ['runs:read'] })).rules;
    for (const name of [
      'via Temporal, not authenticated',
      'not authenticated',
      'anonymous',
      'default!',
      'the root key',
    ])
      expect([name, await made(name)]).toEqual([name, ['name NAME_RESERVED']]);
    for (const name of ['lіms', 'lims-аnalysis', 'lιms', '𝐥𝐢𝐦𝐬'])
      expect([name, await made(name)]).toEqual([name, ['name NAME_LOOKALIKE']]);
    for (const name of ['лаборатория 2', '検体LIMS', 'Zürich (2)'])
      expect([name, await made(name)]).toEqual([name, []]);
  });

  it('of a key from before a rule still works, but a new key cannot take it over', async () => {
    const { db } = api.postgres;
    for (const [name, rule] of [
      ['default!', 'NAME_RESERVED'],
      ['lіms', 'NAME_LOOKALIKE'],
      ['lims\u{1d159}', 'NAME_INVISIBLE'],
    ] as const) {
      const { body } = await call(ROOT, 'POST', '/v1/api-keys', { name: `key-${++counter}`, scopes: ['runs:read'] });
      const id = String(body.apiKey!.id);
      await db.updateTable('api_keys').set({ name }).where('id', '=', id).execute();
      const rotated = await call(ROOT, 'POST', `/v1/api-keys/${id}/rotate`);
      expect([name, rotated.status, rotated.rules]).toEqual([name, 400, [`name ${rule}`]]);
      expect(JSON.stringify(rotated.body)).toContain('Create a key with another name');
      expect((await call(body.key!, 'GET', '/v1/runs')).status).toBe(200);
      expect((await call(ROOT, 'GET', `/v1/api-keys/${id}`)).body.apiKey).toMatchObject({ name, state: 'active' });
      expect((await call(ROOT, 'POST', `/v1/api-keys/${id}/revoke`)).status).toBe(200);
    }
  });

  it('of a rotated key is a valid one, in every script and length', async () => {
    for (const name of ['сору', 'лаборатория', 'ラボLIMS', `x${'é'.repeat(127)}`, 'a'.repeat(128)]) {
      const { body } = await call(ROOT, 'POST', '/v1/api-keys', { name, scopes: ['runs:read'] });
      const rotated = await call(ROOT, 'POST', `/v1/api-keys/${String(body.apiKey!.id)}/rotate`);
      expect([name, rotated.status, rotated.body.apiKey?.name]).toEqual([name, 201, name]);
      expect([...String(rotated.body.replaced!.name)].length).toBeLessThanOrEqual(128);
    }
  });

  it('of a creator comes with the id', async () => {
    const { body } = await call(ROOT, 'POST', '/v1/api-keys', { name: 'by-root', scopes: ['runs:read'] });
    expect(body.apiKey).toMatchObject({ createdBy: 'default', createdById: 'default', revokedById: null });
    const revoked = await call(ROOT, 'POST', `/v1/api-keys/${String(body.apiKey!.id)}/revoke`);
    expect(revoked.body.apiKey).toMatchObject({ revokedBy: 'default', revokedById: 'default' });
  });

  it('cannot be found out by a key for another resource', async () => {
    const [mine, theirs] = [await provider({ name: 'mine' }), await provider({ name: 'confidential' })];
    expect([mine.status, theirs.status]).toEqual([201, 201]);
    const url = `/v1/providers/${String(mine.body.provider!.id)}`;
    const key = await keyFor(`providers:*:${String(mine.body.provider!.id)}`);
    const answers = [
      await call(key, 'PATCH', url, { name: 'confidential' }),
      await call(key, 'PATCH', url, { name: 'nobody-has-this' }),
    ];
    expect(answers.map(({ status, reason }) => [status, reason])).toEqual([
      [403, 'INSUFFICIENT_SCOPE'],
      [403, 'INSUFFICIENT_SCOPE'],
    ]);
    // The same name is no change.
    expect((await call(key, 'PATCH', url, { name: 'mine' })).status).toBe(200);
  });
});

describe('a webhook whose host DNS does not tell in time', () => {
  it('is rejected', async () => {
    const { status, rules } = await call(ROOT, 'POST', '/v1/webhooks', {
      url: 'https://slow.example.org/hook',
    });
    expect([status, rules]).toEqual([400, ['url HOST_UNRESOLVED']]);
  });
});

describe('an answer', () => {
  it('tells browsers to use TLS only, where clients reach the API over https', async () => {
    const { headers } = await call(ROOT, 'GET', '/v1/auth');
    expect(headers['strict-transport-security']).toBe('max-age=31536000');
  });
  it('has the same headers where a request is rejected before polony reads it', { tags: 'long' }, async () => {
    const usual = (await call(ROOT, 'GET', '/v1/auth')).headers;
    const names = ['strict-transport-security', 'x-content-type-options', 'cache-control'];
    const other = await startTestApi({ publicUrl: 'https://polony.example.org' });
    const url = new URL(await other.listen());
    const send = (text: string): Promise<string> =>
      new Promise((resolve, reject) => {
        let answer = '';
        const socket = net.connect(Number(url.port), url.hostname, () => socket.write(text));
        socket.on('data', (chunk) => (answer += String(chunk))).on('error', reject);
        socket.on('close', () => resolve(answer));
      });
    for (const request of ['GET /v1/runs/%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 'no HTTP\r\n\r\n']) {
      const answer = await send(request);
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      for (const name of names) expect(answer.toLowerCase()).toContain(`\n${name}: ${String(usual[name])}\r\n`);
    }
    await other.stop();
  });
  it('of /docs has a page that keeps no key', async () => {
    const { body } = await api.app.inject({ url: '/docs/static/swagger-initializer.js' });
    expect(body).toContain('docExpansion');
    expect(body).not.toMatch(/persistAuthorization"?: ?true/);
  });
});

describe('connections', () => {
  it('without a request end, and their number is limited', async () => {
    expect(api.app.server.maxConnections).toBeLessThanOrEqual(10_000);
    expect(api.app.server.headersTimeout).toBeLessThanOrEqual(15_000);
  });

  it('of clients that do not read their responses end', { tags: 'long' }, async () => {
    const other = await startTestApi();
    const { port } = new URL(await other.listen());
    const { server } = other.app;
    expect(server.timeout).toBeGreaterThan(0);
    expect(server.timeout).toBeLessThanOrEqual(120_000);
    server.timeout = 1000;
    const client = net.connect(Number(port), '127.0.0.1').pause();
    client.on('error', () => undefined);
    // More than the buffers of the operating system hold, and readable without a key.
    const request = 'GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n';
    client.write(request.repeat(20));
    const count = (): Promise<number> => promisify(server.getConnections.bind(server))();
    await vi.waitFor(async () => expect(await count()).toBe(1), 5000);
    await vi.waitFor(async () => expect(await count()).toBe(0), 30_000);
    client.destroy();
    await other.stop();
  });

  it('of streams are limited for all callers together', async () => {
    const source = {
      read: async () => undefined,
      findRevoked: async () => new Set<string>(),
      onError: () => undefined,
    };
    const feed = new ExecutionFeed(new Notices('postgres://127.0.0.1:1/none'), source, 0);
    expect(feed.admits('anybody')).toBe('full');
    feed.close();
  });
});

describe('the audit log', () => {
  it('also has requests that only read, where a setting asks for it', async () => {
    const entriesOf = async (): Promise<string[]> =>
      (await api.postgres.db.selectFrom('audit_log').select('action').execute()).map(({ action }) => action);
    await call(ROOT, 'GET', '/v1/flows');
    expect(await entriesOf()).not.toContain('FlowService_ListFlows');
    const app = await buildApp({
      db: api.postgres.db,
      databaseUrl: api.postgres.url,
      secrets: new Secrets([]),
      aws: api.access,
      orchestrator: stubOrchestrator,
      apiKey: ROOT,
      errorDomain: 'polony',
      auditsReads: true,
    });
    expect((await app.inject({ url: '/v1/flows', headers: { 'x-api-key': ROOT } })).statusCode).toBe(200);
    expect(await entriesOf()).toContain('FlowService_ListFlows');
    await app.close();
  });
});

describe('credentials', () => {
  it('have a session name that tells the AWS account who asked for them', async () => {
    const { body } = await provider({});
    const storage = await call(ROOT, 'POST', '/v1/storage-connections', {
      name: 'of-credentials',
      providerId: body.provider!.id,
      region: REGION,
      bucket: 'lab-of-credentials',
      prefix: 'runs',
      useForRunUpload: true,
      useForDataExploration: false,
    });
    const { id } = Object.values(storage.body)[0] as { id: string };
    const expiration = new Date(Date.now() + 3_600_000);
    const session = { accessKeyId: 'ASIAX', secretAccessKey: 'x', sessionToken: 'x', expiration, seconds: 3600 };
    const open = vi.spyOn(api.access, 'narrowedSession').mockResolvedValue(session);
    const key = await keyFor('*');
    const url = `/v1/storage-connections/${id}/upload-credentials`;
    const answer = await call(key, 'POST', url, { instrumentName: 'AV1', runFolder: '20260115_AV1_R1' });
    expect([answer.status, answer.body.message]).toEqual([201, undefined]);
    const keyId = /^polony_([0-9a-f]{32})_/.exec(key)![1]!;
    const name = open.mock.calls[0]![3];
    expect(name.replaceAll('-', '')).toBe(`polonyupload${keyId}`);
    expect(name.length).toBeLessThanOrEqual(64);
    open.mockRestore();
  });
});

describe('the address of a client', () => {
  it('comes from X-Forwarded-For only where the proxy that sends it is named', { tags: 'long' }, async () => {
    for (const [trustProxy, address] of [
      [['10.0.0.0/8'], '127.0.0.1'],
      [['loopback'], '203.0.113.9'],
    ] as const) {
      const other = await startTestApi({ trustProxy: [...trustProxy] });
      const url = new URL(await other.listen());
      await fetch(new URL('/v1/webhooks', url), {
        method: 'POST',
        headers: { 'x-api-key': ROOT, 'x-forwarded-for': '203.0.113.9', 'content-type': 'application/json' },
        body: '{}',
      });
      const { entries } = (await other.app.inject({ url: '/v1/audit-log', headers: { 'x-api-key': ROOT } })).json<{
        entries: { address: string }[];
      }>();
      expect(net.isIP(entries[0]!.address)).not.toBe(0);
      expect(entries[0]!.address).toBe(address);
      await other.stop();
    }
  });

  it('is looked for only among the last addresses of X-Forwarded-For', async () => {
    const other = await startTestApi({ trustProxy: ['loopback', '10.0.0.0/8'] });
    const addressOf = async (forwarded: string): Promise<string> => {
      const headers = { 'x-api-key': ROOT, 'x-forwarded-for': forwarded };
      await other.app.inject({ method: 'POST', url: '/v1/webhooks', headers, payload: {} });
      const log = await other.app.inject({ url: '/v1/audit-log?pageSize=1', headers: { 'x-api-key': ROOT } });
      return log.json<{ entries: { address: string }[] }>().entries[0]!.address;
    };
    expect(await addressOf('198.51.100.1, 203.0.113.9, 10.0.0.2,10.0.0.1')).toBe('203.0.113.9');
    expect(await addressOf(`203.0.113.9${',10.0.0.1'.repeat(19)}`)).toBe('203.0.113.9');
    // To compare each of ten thousand addresses would stop the event loop.
    expect(await addressOf(`203.0.113.9,10.0.0.2${',10.0.0.1'.repeat(10_000)}`)).toBe('10.0.0.1');
    expect(await addressOf(`${'1'.repeat(100_000)},203.0.113.9`)).toBe('203.0.113.9');
    await other.stop();
  });
});
