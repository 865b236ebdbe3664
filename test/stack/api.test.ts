/* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-return -- answers are JSON, which `call` holds to the schemas */
import { readFileSync } from 'node:fs';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { reencrypt } from '../../store/reencrypt.js';
import { createLocalKey } from '../../encryption/keys.js';
import { providerSecretContext, Secrets } from '../../store/secrets.js';
import type { ApiDependencies } from '../../api/dependencies.js';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { parseRunParameters, type RunParameters } from '../../domain/runs/runParameters.js';
import { Authorization, parseScopes } from '../../domain/auth/scopes.js';
import { type Db, type DbOrTransaction, newId, openDatabase } from '../../store/database.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { SEARCHES_CHANNEL } from '../../store/connections/storageSearch.js';
import { listen } from '../../store/events.js';
import { updateExecution } from '../../store/executions/update.js';
import { updateRun } from '../../store/runs/update.js';
import { answerChecker, compilerOf, type OpenApi, vendorContract } from '../openapi.js';
import { startOwnPostgres } from '../ownPostgres.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';

const KEY = 'test-key-0123456789-abcdefgh';
const ACCOUNT = '111122223333';
const OTHER_ACCOUNT = '444455556666';
const role = (name: string, account = ACCOUNT): string => `arn:aws:iam::${account}:role/${name}`;

interface Detail {
  reason: string;
  domain: string;
  metadata: {
    request_id: string;
    field?: string;
    rule?: string;
    usedBy?: { kind: string; name: string; id: string }[];
  } & Record<string, unknown>;
}
type Body = Record<string, any>;
interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: Body;
  reason: string | undefined;
  /** `field RULE` for each problem of a 400 answer. */
  rules: string[];
}

let postgres: TestPostgres;
let db: Db;
let app: FastifyInstance;
let document: OpenApi;
let check: ReturnType<typeof answerChecker>;
const vendor = vendorContract();
const vendorCheck = answerChecker(relaxed(vendor));

/** The vendor's contract has the vendor's domain as a constant; polony uses its own domain by default. */
function relaxed(contract: OpenApi): OpenApi {
  const copy = structuredClone(contract);
  const detail = copy.components.schemas.ErrorDetail as { properties: { domain: { const?: string } } };
  delete detail.properties.domain.const;
  return copy;
}

/** Temporal as the API sees it: it records the calls and can be unreachable. */
class FakeOrchestrator {
  calls: [string, ...unknown[]][] = [];
  away = false;
  /** Whether the workflows that receive signals exist. */
  running = true;
  #note(name: string, ...values: unknown[]): void {
    if (this.away) throw Object.assign(new Error('14 UNAVAILABLE: no connection'), { name: 'ServiceError' });
    this.calls.push([name, ...values]);
  }
  #signal(name: string, ...values: unknown[]): boolean {
    this.#note(name, ...values);
    return this.running;
  }
  async check() {
    this.#note('check');
  }
  readonly executions = {
    start: async (execution: { id: string }) => this.#note('executions.start', execution.id),
    cancel: async (execution: { id: string }, request: unknown) =>
      this.#signal('executions.cancel', execution.id, request),
    retry: async (id: string) => this.#signal('executions.retry', id),
  };
  readonly runs = {
    startUpload: async (input: { runId: string }) => {
      this.#note('runs.startUpload', input.runId);
      return true;
    },
    checkUpload: async (input: { runId: string }) => this.#note('runs.checkUpload', input.runId),
    discoverFolder: async (input: { only: { parentPath: string; runFolder: string } }) =>
      this.#note('runs.discoverFolder', input.only.parentPath, input.only.runFolder),
    search: async (input: { storageConnectionId: string }) => this.#note('runs.search', input.storageConnectionId),
  };
  readonly verification = {
    verify: async (resource: { kind: string; id: string }) =>
      this.#note('verification.verify', resource.kind, resource.id),
  };
  readonly grants = {
    change: async (to: { bucket: string }, change: { grantId: string }) => {
      this.#note('grants.change', to.bucket, change.grantId);
      return { state: 'pending' as const, problem: null };
    },
  };
  named(name: string): unknown[][] {
    return this.calls.filter(([called]) => called === name).map(([, ...values]) => values);
  }
}
let temporal: FakeOrchestrator;
const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);

function build(overrides: Partial<ApiDependencies> = {}): Promise<FastifyInstance> {
  return buildApp({
    db,
    databaseUrl: postgres.url,
    secrets,
    aws: new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) }),
    orchestrator: temporal,
    apiKey: KEY,
    errorDomain: 'polony',
    trustedAccountId: '588258415937',
    ...overrides,
  });
}

/** Every answer of every test must match the served document, and the vendor's contract for operations that it has. */
async function call(
  method: string,
  url: string,
  body?: unknown,
  headers: Record<string, string> = {},
  on: FastifyInstance = app,
): Promise<Answer> {
  const response = await on.inject({
    method,
    url,
    headers: { 'x-api-key': KEY, ...headers },
    ...(body !== undefined && { payload: body }),
  } as InjectOptions);
  const json = response.body === '' ? undefined : (JSON.parse(response.body) as Body);
  expect(check(method, url, response.statusCode, json)).toEqual([]);
  if (
    method === 'GET' &&
    !/^\/(healthz|readyz|v1\/(providers|compute-connections|flows|iam-documents))|\/(details|verification|blocked)$/.test(
      url.split('?')[0]!,
    ) &&
    response.statusCode < 500
  ) {
    expect(vendorCheck(method, url, response.statusCode, json)).toEqual([]);
  }
  expect(response.headers['x-request-id']).toMatch(/^[A-Za-z0-9._-]{8,128}$/);
  const details = (json?.details ?? []) as Detail[];
  if (response.statusCode >= 400 && !url.startsWith('/readyz')) {
    expect(json!.code).toBe(response.statusCode);
    expect(details.length).toBeGreaterThan(0);
    for (const detail of details) expect(detail.metadata.request_id).toBe(response.headers['x-request-id']);
  }
  return {
    status: response.statusCode,
    headers: response.headers,
    body: json ?? {},
    reason: Array.isArray(details) ? details[0]?.reason : undefined,
    rules: Array.isArray(details)
      ? details.map((detail) => `${detail.metadata?.field} ${detail.metadata?.rule}`).sort()
      : [],
  };
}

let counter = 0;
const unique = (what: string): string => `${what}-${++counter}`;

async function provider(fields: Body = {}): Promise<Body> {
  const answer = await call('POST', '/v1/providers', {
    name: unique('provider'),
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: role('Element-ServiceUser'),
    // No two accounts may have the same external ID.
    externalId: String(fields.roleArn).includes(OTHER_ACCOUNT) ? 'other-7f3a' : 'lab-7f3a',
    ...fields,
  });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body.provider as Body;
}
const storageBody = (providerId: string, fields: Body = {}): Body => ({
  name: unique('storage'),
  providerId,
  region: 'us-west-2',
  bucket: unique('lab-bucket'),
  prefix: 'runs',
  useForRunUpload: true,
  useForDataExploration: true,
  ...fields,
});
async function storage(providerId: string, fields: Body = {}): Promise<Body> {
  const answer = await call('POST', '/v1/storage-connections', storageBody(providerId, fields));
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return { ...answer.body.storageConnection, details: answer.body.details };
}
const computeBody = (providerId: string, fields: Body = {}): Body => ({
  name: unique('compute'),
  providerId,
  executionRoleArn: role('omics-execution'),
  region: 'us-west-2',
  ...fields,
});
async function compute(providerId: string, fields: Body = {}): Promise<Body> {
  const answer = await call('POST', '/v1/compute-connections', computeBody(providerId, fields));
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body.computeConnection as Body;
}
const flowBody = (computeConnectionId: string, fields: Body = {}): Body => ({
  name: unique('flow'),
  computeConnectionId,
  sharedWorkflowId: '1234567',
  workflowOwnerId: '588258415937',
  ...fields,
});
async function flow(computeConnectionId: string, fields: Body = {}): Promise<Body> {
  const answer = await call('POST', '/v1/flows', flowBody(computeConnectionId, fields));
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body.flow as Body;
}
/** A run as the instrument and the discovery leave it. */
async function run(storageConnectionId: string, fields: Body = {}): Promise<string> {
  const id = newId();
  const name = unique('RUN');
  await db
    .insertInto('runs')
    .values({
      id,
      storage_connection_id: storageConnectionId,
      parent_path: 'AV240001',
      instrument_name: 'AV240001',
      run_folder: `20250101_AV240001_${name}`,
      run_name: name,
      upload_state: 'complete',
      outcome: 'completed',
      has_manifest: true,
      ...fields,
    })
    .execute();
  return id;
}
async function ready(): Promise<{ provider: Body; storage: Body; compute: Body; flow: Body; runId: string }> {
  const p = await provider();
  const s = await storage(p.id);
  const c = await compute(p.id);
  return {
    provider: p,
    storage: s,
    compute: c,
    flow: await flow(c.id, { autoStart: { storageConnectionIds: [s.id] } }),
    runId: await run(s.id),
  };
}
async function execution(flowId: string, runId: string): Promise<Body> {
  const answer = await call('POST', '/v1/executions', { flowId, runId });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body.execution as Body;
}
/** The kinds of resources that a refusal lists as users of the resource. */
const usedBy = (answer: Answer): string[] =>
  (answer.body.details as Detail[])
    .flatMap((detail) => detail.metadata.usedBy ?? [])
    .map((use) => use.kind)
    .sort();

beforeAll(async () => {
  postgres = await startTestPostgres({ maxConnections: 20 });
  db = postgres.db;
  temporal = new FakeOrchestrator();
  app = await build();
  document = (await app.inject({ url: '/openapi.json', headers: { 'x-api-key': KEY } })).json<OpenApi>();
  check = answerChecker(document);
});
afterAll(async () => {
  await app?.close();
  await postgres?.stop();
});
beforeEach(() => {
  temporal.calls = [];
  temporal.away = false;
  temporal.running = true;
});

describe('API keys, request ids and errors', () => {
  it('answers 401 to a missing or wrong key, on existing and unknown routes', async () => {
    for (const url of ['/v1/providers', '/v1/nothing', '/', '/docs/nothing']) {
      for (const [headers, reason] of [
        [{}, 'MISSING_API_KEY'],
        [{ 'x-api-key': '' }, 'MISSING_API_KEY'],
        [{ 'x-api-key': `${KEY}x` }, 'INVALID_API_KEY'],
      ] as const) {
        const response = await app.inject({ url, headers });
        expect([url, response.statusCode, response.json<{ details: Detail[] }>().details[0]?.reason]).toEqual([
          url,
          401,
          reason,
        ]);
      }
    }
  });
  it('answers health checks without a key', async () => {
    expect((await app.inject({ url: '/healthz' })).json()).toEqual({ status: 'ok' });
    expect((await app.inject({ url: '/readyz' })).statusCode).toBe(200);
  });
  it('accepts a request id from the client only if it is well-formed', async () => {
    expect(
      (await call('GET', '/v1/auth', undefined, { 'x-request-id': 'client-id.12345' })).headers['x-request-id'],
    ).toBe('client-id.12345');
    expect(
      (await call('GET', '/v1/auth', undefined, { 'x-request-id': 'bad id\t"x"' })).headers['x-request-id'],
    ).toMatch(/^[0-9a-f-]{36}$/);
    expect((await call('GET', '/v1/auth')).body).toMatchObject({
      tenantId: 'default',
      scopes: expect.arrayContaining(['runs:*', 'storage:*', 'keys:*']),
    });
  });
  it('answers every error that happens before a handler in the same shape', async () => {
    const json = { 'content-type': 'application/json' };
    const cases: [string, string, unknown, Record<string, string>, number, string][] = [
      ['GET', '/v1/nothing', undefined, {}, 404, 'ROUTE_NOT_FOUND'],
      ['DELETE', '/v1/providers', undefined, {}, 405, 'METHOD_NOT_ALLOWED'],
      ['PUT', `/v1/runs/${newId()}`, undefined, {}, 405, 'METHOD_NOT_ALLOWED'],
      ['POST', '/v1/providers', '{"name":', json, 400, 'MALFORMED_JSON'],
      ['POST', '/v1/providers', '{"__proto__":{"x":1}}', json, 400, 'MALFORMED_JSON'],
      ['POST', '/v1/providers', '', json, 400, 'INVALID_FIELD'],
      ['POST', '/v1/providers', '[]', json, 400, 'INVALID_FIELD'],
      ['POST', '/v1/providers', 'null', json, 400, 'INVALID_FIELD'],
      ['POST', '/v1/providers', '"text"', json, 400, 'INVALID_FIELD'],
      ['POST', '/v1/providers', '<x/>', { 'content-type': 'application/xml' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
      ['POST', '/v1/providers', 'x', { 'content-type': 'text/plain' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
      ['POST', '/v1/providers', `{"name":"${'x'.repeat(300_000)}"}`, json, 413, 'BODY_TOO_LARGE'],
      ['GET', '/v1/providers/not-an-id', undefined, {}, 404, 'PROVIDER_NOT_FOUND'],
      ['GET', `/v1/storage-connections/${newId()}`, undefined, {}, 404, 'STORAGE_CONNECTION_NOT_FOUND'],
      ['GET', `/v1/compute-connections/${newId()}`, undefined, {}, 404, 'COMPUTE_CONNECTION_NOT_FOUND'],
      ['DELETE', `/v1/flows/${newId()}`, undefined, json, 404, 'FLOW_NOT_FOUND'],
      ['GET', `/v1/runs/${newId()}`, undefined, {}, 404, 'RUN_NOT_FOUND'],
      ['GET', `/v1/runs/%00`, undefined, {}, 404, 'RUN_NOT_FOUND'],
      ['GET', `/v1/executions/${newId()}/details`, undefined, {}, 404, 'EXECUTION_NOT_FOUND'],
    ];
    for (const [method, url, body, headers, status, reason] of cases) {
      const answer = await call(method, url, body, headers);
      expect([method, url, answer.status, answer.reason]).toEqual([method, url, status, reason]);
    }
    expect((await call('DELETE', '/v1/providers')).headers.allow).toBe('GET, HEAD, POST');
    const badUrl = await app.inject({ url: '/v1/runs/%zz', headers: { 'x-api-key': KEY } });
    expect([badUrl.statusCode, badUrl.json<{ details: Detail[] }>().details[0]?.reason]).toEqual([400, 'INVALID_URL']);
  });
  it('rejects unknown query parameters and names them', async () => {
    expect((await call('GET', '/v1/storage-connections?filter=status:failed')).rules).toEqual(['filter UNKNOWN_FIELD']);
    expect((await call('GET', '/v1/storage-connections?includeTotalCount=true')).rules).toEqual([
      'includeTotalCount UNKNOWN_FIELD',
    ]);
    expect((await call('GET', '/v1/executions?pageSize=0&includeTotalCount=maybe')).rules).toEqual([
      'includeTotalCount TYPE',
      'pageSize MINIMUM',
    ]);
    expect((await call('GET', '/v1/executions?pageSize=1001')).status).toBe(400);
    expect((await call('GET', '/v1/executions?pageSize=1&pageSize=2')).status).toBe(400);
    expect((await call('GET', '/v1/storage-connections?pageSize=5000')).status).toBe(200);
  });
  it('uses the configured error domain', async () => {
    const other = await build({ errorDomain: 'cloud-api.elembio.io' });
    const response = await other.inject({ url: '/v1/runs/x', headers: { 'x-api-key': KEY } });
    expect(response.json<{ details: Detail[] }>().details[0]?.domain).toBe('cloud-api.elembio.io');
    expect(answerChecker(vendor)('GET', '/v1/runs/x', 404, response.json())).toEqual([]);
    await other.close();
  });
  it('hides internal errors, and logs neither API keys nor external ids', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    const broken = await build({
      logger,
      orchestrator: temporal,
      db: {
        ...db,
        selectFrom: () => {
          throw Object.assign(new Error('inner secret'), { detail: 'external-id-of-a-row' });
        },
      } as never,
    });
    const answer = await call('GET', `/v1/providers/${newId()}`, undefined, {}, broken);
    expect([answer.status, answer.reason]).toEqual([500, 'INTERNAL_ERROR']);
    expect(JSON.stringify(answer.body)).not.toContain('inner secret');
    await broken.close();
    const logging = await build({ logger });
    await call(
      'POST',
      '/v1/providers',
      {
        name: unique('p'),
        defaultRegion: 'us-west-2',
        credentialType: 'role',
        roleArn: role('r'),
        externalId: 'very-external-id',
      },
      {},
      logging,
    );
    await call('GET', '/v1/providers?pageToken=secret-token', undefined, {}, logging);
    await logging.close();
    const log = lines.join('');
    expect(log).toContain(String(answer.headers['x-request-id']));
    expect(log).toContain('inner secret');
    for (const secret of [KEY, 'very-external-id', 'external-id-of-a-row', 'secret-token'])
      expect(log).not.toContain(secret);
  });
});

describe('readiness', () => {
  it('names the part that is not ready', async () => {
    // An app of its own: the shared one may still reuse the answer that it gave another test.
    const own = await build();
    temporal.away = true;
    expect((await call('GET', '/readyz', undefined, {}, own)).body).toEqual({
      status: 'not ready',
      database: 'ok',
      temporal: 'unreachable',
    });
    temporal.away = false;
    await waitFor('another check', async () => (await call('GET', '/readyz', undefined, {}, own)).status === 200);
    // The answer is shared and reused for a second, so that nobody can keep the database and Temporal busy.
    const checks = (): number => temporal.calls.filter(([name]) => name === 'check').length;
    const before = checks();
    await Promise.all(Array.from({ length: 20 }, () => call('GET', '/readyz', undefined, {}, own)));
    expect(checks() - before).toBeLessThan(20);
    await own.close();
    const nowhere = openDatabase('postgres://u:p@127.0.0.1:1/none');
    const other = await build({ db: nowhere });
    expect((await call('GET', '/readyz', undefined, {}, other)).body).toEqual({
      status: 'not ready',
      database: 'unreachable',
      temporal: 'ok',
    });
    const answer = await call('GET', '/v1/providers', undefined, {}, other);
    expect([answer.status, answer.reason]).toEqual([503, 'UNAVAILABLE']);
    await other.close();
    await nowhere.destroy();
  });
  it('reports an unmigrated database as not ready', async () => {
    await postgres.asOwner((owner) => sql`create database empty`.execute(owner));
    const empty = openDatabase(postgres.url.replace(/\/[^/]*$/, '/empty'));
    const other = await build({ db: empty });
    expect((await call('GET', '/readyz', undefined, {}, other)).body.database).toMatch(/not migrated/);
    await other.close();
    await empty.destroy();
  });
});

describe('the provider API', () => {
  it('creates, reads, changes and deletes a provider', async () => {
    const made = await provider({ name: '  Sequencing account ' });
    expect(made).toMatchObject({
      name: 'Sequencing account',
      type: 'aws',
      externalId: 'lab-7f3a',
      credentialType: 'role',
    });
    expect((await call('GET', `/v1/providers/${made.id}`)).body.provider).toEqual(made);
    const changed = await call('PATCH', `/v1/providers/${made.id}`, { externalId: 'new-id' });
    expect(changed.body.provider).toMatchObject({
      name: 'Sequencing account',
      externalId: 'new-id',
      roleArn: made.roleArn,
    });
    expect((await call('DELETE', `/v1/providers/${made.id}`)).status).toBe(204);
    expect((await call('GET', `/v1/providers/${made.id}`)).reason).toBe('PROVIDER_NOT_FOUND');
    expect((await call('PATCH', `/v1/providers/${made.id}`, { externalId: 'xx' })).status).toBe(404);
    expect((await call('DELETE', `/v1/providers/${made.id}`)).status).toBe(404);
    // The name is free again.
    await provider({ name: 'Sequencing account' });
  });
  it('reports all problems of a provider at once, from the schema and the rules', async () => {
    const answer = await call('POST', '/v1/providers', {
      name: ' ',
      defaultRegion: 'Oregon',
      credentialType: 'keys',
      roleArn: 'arn:aws:iam::1:user/x',
      externalId: 'a b',
      region: 'x',
    });
    expect(answer.status).toBe(400);
    expect(answer.rules).toEqual([
      'credentialType ONE_OF',
      'defaultRegion AWS_REGION',
      'externalId EXTERNAL_ID_CHARACTERS',
      'name NAME_LENGTH',
      'region UNKNOWN_FIELD',
      'roleArn ROLE_ARN',
    ]);
    expect((await call('POST', '/v1/providers', { name: 7 })).rules).toEqual([
      'credentialType REQUIRED',
      'defaultRegion REQUIRED',
      'name TYPE',
    ]);
    for (const name of ['', 'x'.repeat(129), 'a\nb', 'a\u0000b'])
      expect(
        (
          await call('POST', '/v1/providers', {
            name,
            defaultRegion: 'us-west-2',
            credentialType: 'role',
            roleArn: role('x'),
            externalId: 'xx',
          })
        ).status,
      ).toBe(400);
    for (const externalId of ['a', 'x'.repeat(1225), 'ä-x', 'a\tb'])
      expect(
        (
          await call('POST', '/v1/providers', {
            name: unique('p'),
            defaultRegion: 'us-west-2',
            credentialType: 'role',
            roleArn: role('x'),
            externalId,
          })
        ).rules[0],
      ).toMatch(/^externalId /);
    await provider({ externalId: '@:,=-./_aZ09', name: 'ü'.repeat(128) });
  });
  it('requires the fields of the credential type and rejects those of the other type', async () => {
    const body = { name: unique('p'), defaultRegion: 'us-west-2' };
    expect((await call('POST', '/v1/providers', { ...body, credentialType: 'role' })).rules).toEqual([
      'roleArn REQUIRED',
    ]);
    expect(
      (await call('POST', '/v1/providers', { ...body, credentialType: 'accessKeys', externalId: 'xx' })).rules,
    ).toEqual(['accessKeyId REQUIRED', 'externalId CREDENTIAL_TYPE', 'secretAccessKey REQUIRED']);
    expect(
      (
        await call('POST', '/v1/providers', {
          ...body,
          credentialType: 'accessKeys',
          accessKeyId: 'ASIAIOSFODNN7EXAMPLE',
          secretAccessKey: 'short',
        })
      ).rules,
    ).toEqual(['accessKeyId ACCESS_KEY_ID', 'secretAccessKey SECRET_ACCESS_KEY']);
  });
  it('encrypts secret keys, never shows them, and replaces both halves of a key only together', async () => {
    const [first, second] = ['wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', 'aGVsbG8gd29ybGQhIHRoaXMgaXMgYSBzZWNyZXQ='];
    const logged: string[] = [];
    const logging = await build({ logger: pino({ level: 'trace' }, { write: (line) => void logged.push(line) }) });
    const made = await call(
      'POST',
      '/v1/providers',
      {
        name: unique('keys'),
        defaultRegion: 'us-west-2',
        credentialType: 'accessKeys',
        accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
        secretAccessKey: first,
      },
      { 'idempotency-key': unique('k') },
      logging,
    );
    expect(made.body.provider).toMatchObject({
      credentialType: 'accessKeys',
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      roleArn: null,
      externalId: null,
      accountId: null,
    });
    const { id } = made.body.provider as { id: string };
    expect((await call('PATCH', `/v1/providers/${id}`, { accessKeyId: 'AKIAI44QH8DHBEXAMPLE' })).rules).toEqual([
      'secretAccessKey REQUIRED',
    ]);
    expect((await call('PATCH', `/v1/providers/${id}`, { secretAccessKey: second })).rules).toEqual([
      'accessKeyId REQUIRED',
    ]);
    expect((await call('PATCH', `/v1/providers/${id}`, { roleArn: role('x') })).rules).toEqual([
      'roleArn CREDENTIAL_TYPE',
    ]);
    expect(
      (
        await call(
          'PATCH',
          `/v1/providers/${id}`,
          { accessKeyId: 'AKIAI44QH8DHBEXAMPLE', secretAccessKey: `${second}` },
          {},
          logging,
        )
      ).body.provider,
    ).toMatchObject({ accessKeyId: 'AKIAI44QH8DHBEXAMPLE' });
    await call(
      'PATCH',
      `/v1/providers/${id}`,
      { accessKeyId: 'AKIAI44QH8DHBEXAMPLE', secretAccessKey: `${second} wrong` },
      {},
      logging,
    );
    expect((await call('PATCH', `/v1/providers/${id}`, { name: unique('renamed') })).status).toBe(200);
    const row = await db.selectFrom('providers').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(
      await secrets.open({ keyId: row.secret_key_id!, sealed: row.secret_sealed! }, providerSecretContext(id)),
    ).toBe(second);
    const kept = await db.selectFrom('idempotency_keys').selectAll().execute();
    for (const secret of [first, second]) expect(JSON.stringify([row, kept, logged, made.body])).not.toContain(secret);
    expect(
      (await call('PATCH', `/v1/providers/${id}`, { credentialType: 'role', roleArn: role('x'), externalId: 'xx' }))
        .body.provider,
    ).toMatchObject({ credentialType: 'role', accessKeyId: null, accountId: ACCOUNT });
    expect(
      (await db.selectFrom('providers').select('secret_sealed').where('id', '=', id).executeTakeFirstOrThrow())
        .secret_sealed,
    ).toBeNull();
    await logging.close();
  });
  it('encrypts stored secrets again with a new key', async () => {
    const secret = 'x'.repeat(40);
    const { id } = (
      await call('POST', '/v1/providers', {
        name: unique('keys'),
        defaultRegion: 'us-west-2',
        credentialType: 'accessKeys',
        accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
        secretAccessKey: secret,
      })
    ).body.provider as { id: string };
    const [old, next] = [createLocalKey('test', Buffer.alloc(32, 7)), createLocalKey('next', Buffer.alloc(32, 8))];
    await expect(reencrypt(db, new Secrets([next]))).rejects.toThrow(/test is not configured/);
    expect(await reencrypt(db, new Secrets([next, old]))).toBeGreaterThan(0);
    expect(await reencrypt(db, new Secrets([next, old]))).toBe(0);
    const row = await db.selectFrom('providers').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(row.secret_key_id).toBe('next');
    expect(
      await new Secrets([next]).open({ keyId: 'next', sealed: row.secret_sealed! }, providerSecretContext(id)),
    ).toBe(secret);
    expect(await reencrypt(db, new Secrets([old, next]))).toBeGreaterThan(0);
  });
  it('rejects access keys when no encryption key is configured', async () => {
    const without = await build({ secrets: new Secrets([]) });
    const answer = await call(
      'POST',
      '/v1/providers',
      {
        name: unique('keys'),
        defaultRegion: 'us-west-2',
        credentialType: 'accessKeys',
        accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
        secretAccessKey: 'x'.repeat(40),
      },
      {},
      without,
    );
    expect(answer.reason).toBe('ENCRYPTION_KEYS_MISSING');
    await without.close();
  });
  it('reports at most 50 problems', async () => {
    const answer = await call(
      'POST',
      '/v1/providers',
      Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`f${at}`, 1])),
    );
    expect(answer.body.details).toHaveLength(50);
  });
  it('requires unique names, also when requests arrive at the same time', async () => {
    const name = unique('race');
    const body = { name, defaultRegion: 'us-west-2', credentialType: 'role', roleArn: role('x'), externalId: 'xx' };
    const answers = await Promise.all(Array.from({ length: 8 }, () => call('POST', '/v1/providers', body)));
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, ...Array.from({ length: 7 }, () => 409)]);
    expect(new Set(answers.map((answer) => answer.reason))).toEqual(new Set([undefined, 'NAME_TAKEN']));
    const other = await provider();
    expect((await call('PATCH', `/v1/providers/${other.id}`, { name })).reason).toBe('NAME_TAKEN');
  });
  it('rejects an empty change', async () => {
    expect((await call('PATCH', `/v1/providers/${(await provider()).id}`, {})).rules).toEqual(['body EMPTY']);
    expect((await call('PATCH', `/v1/providers/${(await provider()).id}`)).status).toBe(400);
  });
  it('rejects a change of account while the provider is in use, and an execution role as its role', async () => {
    const p = await provider({ externalId: 'of-this-provider' });
    expect((await call('PATCH', `/v1/providers/${p.id}`, { roleArn: role('x', OTHER_ACCOUNT) })).status).toBe(200);
    expect((await call('PATCH', `/v1/providers/${p.id}`, { roleArn: role('x') })).status).toBe(200);
    await compute(p.id);
    const refused = await call('PATCH', `/v1/providers/${p.id}`, { roleArn: role('x', OTHER_ACCOUNT) });
    expect([refused.status, refused.reason, usedBy(refused)]).toEqual([409, 'IN_USE', ['compute connection']]);
    expect((await call('PATCH', `/v1/providers/${p.id}`, { roleArn: role('rotated') })).status).toBe(200);
    expect((await call('PATCH', `/v1/providers/${p.id}`, { roleArn: role('omics-execution') })).rules).toEqual([
      'roleArn EXECUTION_ROLE_IS_PROVIDER_ROLE',
    ]);
  });
  it('refuses to delete a provider in use and names its users', async () => {
    const p = await provider();
    const s = await storage(p.id);
    const c = await compute(p.id);
    const refused = await call('DELETE', `/v1/providers/${p.id}`);
    expect([refused.status, refused.reason]).toEqual([409, 'IN_USE']);
    expect((refused.body.details[0] as Detail).metadata.usedBy).toEqual([
      { kind: 'storage connection', id: s.id, name: s.name },
      { kind: 'compute connection', id: c.id, name: c.name },
    ]);
    expect(refused.body.message).toContain(s.name);
    await call('DELETE', `/v1/storage-connections/${s.id}`);
    await call('DELETE', `/v1/compute-connections/${c.id}`);
    expect((await call('DELETE', `/v1/providers/${p.id}`)).status).toBe(204);
  });
  it('either deletes a provider or lets a connection refer to it, never both', async () => {
    for (let round = 0; round < 10; round++) {
      const p = await provider();
      const [deleted, ...made] = await Promise.all([
        call('DELETE', `/v1/providers/${p.id}`),
        call('POST', '/v1/storage-connections', storageBody(p.id)),
        call('POST', '/v1/compute-connections', computeBody(p.id)),
      ]);
      const ok = made.filter((answer) => answer.status === 201).length;
      expect(deleted.status).toBe(ok > 0 ? 409 : 204);
      for (const answer of made)
        if (answer.status !== 201) expect(answer.rules).toEqual(['providerId PROVIDER_NOT_FOUND']);
    }
  });
});

describe('the storage connection API', () => {
  it('answers in the shape of the contract, with the other fields in details', async () => {
    const p = await provider();
    const made = await call('POST', '/v1/storage-connections', {
      name: unique('s'),
      providerId: p.id,
      region: 'us-west-2',
      bucket: 'lab-aviti',
      prefix: '/a/b/',
      useForRunUpload: true,
      useForDataExploration: false,
    });
    expect(made.body.storageConnection).toMatchObject({
      type: 's3',
      uri: 's3://lab-aviti/a/b',
      status: 'STORAGE_CONNECTION_STATUS_UNSPECIFIED',
    });
    expect(made.body.details).toEqual({
      providerId: p.id,
      region: 'us-west-2',
      bucket: 'lab-aviti',
      prefix: 'a/b',
      useForRunUpload: true,
      useForDataExploration: false,
      allowPolicyProbe: false,
      runDepth: 0,
      statusDescription: '',
      timeVerified: null,
      timeUsed: null,
    });
    const { id } = made.body.storageConnection;
    expect((await call('GET', `/v1/storage-connections/${id}`)).body).toEqual({
      storageConnection: made.body.storageConnection,
    });
    expect((await call('GET', `/v1/storage-connections/${id}/details`)).body).toEqual(made.body);
    const whole = await storage(p.id, { prefix: undefined, bucket: 'lab-whole' });
    expect([whole.uri, whole.details.prefix]).toEqual(['s3://lab-whole', '']);
  });
  it('reports all problems of a storage connection at once', async () => {
    const answer = await call('POST', '/v1/storage-connections', {
      name: 'x\u0001',
      providerId: 1,
      region: 'nowhere',
      bucket: 's3://lab',
      prefix: 'a//b',
      useForRunUpload: 'yes',
    });
    expect(answer.rules).toEqual([
      'bucket BUCKET_HAS_SCHEME',
      'name NAME_CHARACTERS',
      'prefix PREFIX_SEGMENTS',
      'providerId TYPE',
      'region AWS_REGION',
      'useForDataExploration REQUIRED',
      'useForRunUpload TYPE',
    ]);
    expect((await call('POST', '/v1/storage-connections', storageBody(newId()))).rules).toEqual([
      'providerId PROVIDER_NOT_FOUND',
    ]);
    expect((await call('POST', '/v1/storage-connections', storageBody('x'))).rules).toEqual([
      'providerId PROVIDER_NOT_FOUND',
    ]);
  });
  it('keeps the fields that a change leaves out', async () => {
    const s = await storage((await provider()).id, { prefix: 'keep/me', useForDataExploration: false });
    const changed = await call('PATCH', `/v1/storage-connections/${s.id}`, { name: unique('renamed') });
    expect(changed.body.details).toEqual(s.details);
  });
  it('tells the workers what to search, also while Temporal is unreachable, and searches on request', async () => {
    let told = 0;
    let listening: (() => void) | undefined;
    const listens = new Promise<void>((resolve) => (listening = resolve));
    const stop = listen(postgres.url, { [SEARCHES_CHANNEL]: () => void told++ }, () => listening!());
    await listens;
    const p = await provider();
    const s = await storage(p.id);
    expect(temporal.calls).toEqual([
      ['verification.verify', 'provider', p.id],
      ['verification.verify', 'storageConnection', s.id],
    ]);
    await expect.poll(() => told).toBe(1);
    await call('PATCH', `/v1/storage-connections/${s.id}`, { useForRunUpload: false });
    await expect.poll(() => told).toBe(2);
    const off = await call('POST', `/v1/storage-connections/${s.id}/discover`);
    expect([off.status, off.reason]).toEqual([409, 'NOT_USED_FOR_RUN_UPLOAD']);
    temporal.away = true;
    expect((await call('PATCH', `/v1/storage-connections/${s.id}`, { useForRunUpload: true })).status).toBe(200);
    await expect.poll(() => told).toBe(3);
    expect((await call('POST', `/v1/storage-connections/${s.id}/discover`)).status).toBe(503);
    temporal.away = false;
    expect((await call('POST', `/v1/storage-connections/${s.id}/discover`)).status).toBe(202);
    expect(temporal.named('runs.search')).toEqual([[s.id]]);
    temporal.calls = [];
    await call('DELETE', `/v1/storage-connections/${s.id}`);
    await expect.poll(() => told).toBe(4);
    expect(temporal.calls).toEqual([]);
    await stop();
  });
  it('rejects overlapping run-upload prefixes in one bucket, also when requests arrive at the same time', async () => {
    const p = await provider();
    const bucket = unique('overlap');
    const s = await storage(p.id, { bucket, prefix: 'runs/a' });
    for (const prefix of ['runs/a', 'runs', '', 'runs/a/b', '/runs/a/']) {
      const refused = await call('POST', '/v1/storage-connections', storageBody(p.id, { bucket, prefix }));
      expect([prefix, refused.status, refused.reason]).toEqual([prefix, 409, 'PREFIX_OVERLAPS']);
    }
    const beside = await storage(p.id, { bucket, prefix: 'runs/ab' });
    const unused = await storage(p.id, { bucket, prefix: 'runs', useForRunUpload: false });
    expect((await call('PATCH', `/v1/storage-connections/${unused.id}`, { useForRunUpload: true })).reason).toBe(
      'PREFIX_OVERLAPS',
    );
    expect((await call('PATCH', `/v1/storage-connections/${beside.id}`, { prefix: 'runs/a/deep' })).reason).toBe(
      'PREFIX_OVERLAPS',
    );
    expect((await call('PATCH', `/v1/storage-connections/${s.id}`, { prefix: 'runs/a/deep' })).status).toBe(200);
    const other = unique('overlap');
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, at) =>
        call(
          'POST',
          '/v1/storage-connections',
          storageBody(p.id, { bucket: other, prefix: at % 2 === 0 ? 'x' : 'x/y' }),
        ),
      ),
    );
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(1);
  });
  it('rejects a change of location once the connection has runs', async () => {
    const p = await provider();
    const p2 = await provider();
    const s = await storage(p.id);
    await run(s.id);
    for (const change of [
      { bucket: 'elsewhere' },
      { prefix: 'elsewhere' },
      { providerId: p2.id },
      { region: 'us-east-1' },
    ]) {
      const refused = await call('PATCH', `/v1/storage-connections/${s.id}`, change);
      expect([refused.status, refused.reason]).toEqual([409, 'HAS_RUNS']);
    }
    expect(
      (
        await call('PATCH', `/v1/storage-connections/${s.id}`, {
          name: unique('s'),
          prefix: '/runs/',
          region: 'us-west-2',
          useForDataExploration: false,
        })
      ).status,
    ).toBe(200);
  });
  it('rejects a change of region, account or use while flows start for the connection', async () => {
    const { storage: s, provider: p } = await ready();
    await db.deleteFrom('runs').where('storage_connection_id', '=', s.id).execute();
    for (const change of [
      { region: 'us-east-1' },
      { providerId: (await provider({ roleArn: role('x', OTHER_ACCOUNT) })).id },
      { useForRunUpload: false },
    ]) {
      const refused = await call('PATCH', `/v1/storage-connections/${s.id}`, change);
      expect([refused.status, refused.reason, usedBy(refused)]).toEqual([409, 'IN_USE', ['flow']]);
    }
    expect(
      (
        await call('PATCH', `/v1/storage-connections/${s.id}`, {
          providerId: (await provider({ roleArn: role('y') })).id,
        })
      ).status,
    ).toBe(200);
    expect(p.id).toBeTruthy();
  });
  it('deletes a storage connection with an abandoned upload once run upload is turned off', async () => {
    const { storage: s, flow: f } = await ready();
    const abandoned = await run(s.id, { upload_state: 'uploading', outcome: null, discovered: true });
    await call('PATCH', `/v1/flows/${f.id}`, { autoStart: { storageConnectionIds: [] } });
    expect(usedBy(await call('DELETE', `/v1/storage-connections/${s.id}`))).toEqual(['run']);
    expect((await call('PATCH', `/v1/storage-connections/${s.id}`, { useForRunUpload: false })).status).toBe(200);
    // polony follows a run that a person registered all the same.
    await db.updateTable('runs').set({ discovered: false }).where('id', '=', abandoned).execute();
    expect(usedBy(await call('DELETE', `/v1/storage-connections/${s.id}`))).toEqual(['run']);
    await db.updateTable('runs').set({ discovered: true }).where('id', '=', abandoned).execute();
    expect((await call('DELETE', `/v1/storage-connections/${s.id}`)).status).toBe(204);
  });
  it('refuses to delete a storage connection in use and names its users', async () => {
    const { storage: s, flow: f, runId } = await ready();
    const uploading = await run(s.id, { upload_state: 'uploading', outcome: null });
    const e = await execution(f.id, runId);
    expect(usedBy(await call('DELETE', `/v1/storage-connections/${s.id}`))).toEqual(['execution', 'flow', 'run']);
    await call('PATCH', `/v1/flows/${f.id}`, { autoStart: { storageConnectionIds: [] } });
    await db.updateTable('runs').set({ upload_state: 'complete' }).where('id', '=', uploading).execute();
    expect(usedBy(await call('DELETE', `/v1/storage-connections/${s.id}`))).toEqual(['execution']);
    await updateExecution(db, e.id, { status: 'COMPLETED', timeCompleted: new Date() });
    expect((await call('DELETE', `/v1/storage-connections/${s.id}`)).status).toBe(204);
    // Its runs and executions can still be read.
    expect((await call('GET', `/v1/runs/${runId}`)).status).toBe(200);
    expect((await call('GET', `/v1/executions/${e.id}/details`)).status).toBe(200);
    expect(
      (await call('GET', '/v1/storage-connections')).body.storageConnections.map((each: Body) => each.id),
    ).not.toContain(s.id);
  });
});

describe('the compute connection API', () => {
  it('applies the rules of HealthOmics', async () => {
    const p = await provider();
    expect(
      (
        await call(
          'POST',
          '/v1/compute-connections',
          computeBody(p.id, { region: 'us-west-1', executionRoleArn: 'omics' }),
        )
      ).rules,
    ).toEqual(['executionRoleArn ROLE_ARN', 'region HEALTHOMICS_REGION']);
    expect(
      (
        await call(
          'POST',
          '/v1/compute-connections',
          computeBody(p.id, { executionRoleArn: role('omics', OTHER_ACCOUNT) }),
        )
      ).rules,
    ).toEqual(['executionRoleArn EXECUTION_ROLE_ACCOUNT']);
    expect(
      (await call('POST', '/v1/compute-connections', computeBody(p.id, { executionRoleArn: p.roleArn }))).rules,
    ).toEqual(['executionRoleArn EXECUTION_ROLE_IS_PROVIDER_ROLE']);
    expect((await call('POST', '/v1/compute-connections', computeBody(newId()))).rules).toEqual([
      'providerId PROVIDER_NOT_FOUND',
    ]);
    const c = await compute(p.id);
    expect((await call('POST', '/v1/compute-connections', computeBody(p.id, { name: c.name }))).reason).toBe(
      'NAME_TAKEN',
    );
    expect((await call('GET', `/v1/compute-connections/${c.id}`)).body.computeConnection).toEqual(c);
  });
  it('accepts other roles in the same account, but no other account or region while in use', async () => {
    const { compute: c, flow: f } = await ready();
    const away = await provider({ roleArn: role('x', OTHER_ACCOUNT) });
    expect(
      (await call('PATCH', `/v1/compute-connections/${c.id}`, { executionRoleArn: role('omics-2'), name: unique('c') }))
        .status,
    ).toBe(200);
    expect((await call('PATCH', `/v1/compute-connections/${c.id}`, { providerId: (await provider()).id })).status).toBe(
      200,
    );
    expect(
      (await call('PATCH', `/v1/compute-connections/${c.id}`, { executionRoleArn: role('omics', OTHER_ACCOUNT) }))
        .rules,
    ).toEqual(['executionRoleArn EXECUTION_ROLE_ACCOUNT']);
    for (const change of [
      { region: 'us-east-1' },
      { providerId: away.id, executionRoleArn: role('omics', OTHER_ACCOUNT) },
    ]) {
      const refused = await call('PATCH', `/v1/compute-connections/${c.id}`, change);
      expect([refused.status, refused.reason, usedBy(refused)]).toEqual([409, 'IN_USE', ['flow']]);
    }
    expect(usedBy(await call('DELETE', `/v1/compute-connections/${c.id}`))).toEqual(['flow']);
    await call('DELETE', `/v1/flows/${f.id}`);
    expect(
      (
        await call('PATCH', `/v1/compute-connections/${c.id}`, {
          region: 'us-east-1',
          providerId: away.id,
          executionRoleArn: role('omics', OTHER_ACCOUNT),
        })
      ).status,
    ).toBe(200);
    expect((await call('DELETE', `/v1/compute-connections/${c.id}`)).status).toBe(204);
  });
});

describe('the flow API', () => {
  it('accepts a workflow as a Resource ID with its owner, or as an ARN', async () => {
    const c = await compute((await provider()).id);
    const arn = 'arn:aws:omics:us-west-2:588258415937:workflow/7654321';
    expect(await flow(c.id, { sharedWorkflowId: arn, workflowOwnerId: undefined })).toMatchObject({
      sharedWorkflowId: '7654321',
      workflowOwnerId: '588258415937',
      sharedWorkflowRegion: 'us-west-2',
      autoStart: { storageConnectionIds: [] },
      parameters: {},
      parameterNames: {},
    });
    expect(await flow(c.id, { sharedWorkflowId: ' 1234567 ' })).toMatchObject({
      sharedWorkflowId: '1234567',
      sharedWorkflowRegion: null,
    });
    const refuse = async (fields: Body): Promise<string[]> =>
      (await call('POST', '/v1/flows', flowBody(c.id, fields))).rules;
    expect(await refuse({ workflowOwnerId: undefined })).toEqual(['workflowOwnerId REQUIRED']);
    expect(await refuse({ sharedWorkflowId: 'wf', workflowOwnerId: '12' })).toEqual([
      'sharedWorkflowId SHARED_WORKFLOW_ID',
      'workflowOwnerId AWS_ACCOUNT_ID',
    ]);
    expect(await refuse({ sharedWorkflowId: arn, workflowOwnerId: OTHER_ACCOUNT })).toEqual([
      'workflowOwnerId WORKFLOW_OWNER_MISMATCH',
    ]);
    expect(await refuse({ sharedWorkflowId: arn.replace('us-west-2', 'us-east-1') })).toEqual([
      'sharedWorkflowId SAME_REGION',
    ]);
    expect(await refuse({ sharedWorkflowId: arn.replace('us-west-2', 'us-west-1') })).toEqual([
      'sharedWorkflowId HEALTHOMICS_REGION',
    ]);
    expect(
      await refuse({ name: '', sharedWorkflowId: 5, parameters: [], parameterNames: { input: 'x' }, autoStart: {} }),
    ).toEqual([
      'autoStart.storageConnectionIds REQUIRED',
      'name NAME_LENGTH',
      'parameterNames.input UNKNOWN_FIELD',
      'parameters TYPE',
      'sharedWorkflowId TYPE',
    ]);
    expect(await refuse({ parameters: { a: { b: ['x\u0000'] } }, parameterNames: { runDir: '\ud800' } })).toEqual([
      'parameterNames.runDir CHARACTERS',
      'parameters.a.b.0 CHARACTERS',
    ]);
    expect(await refuse({ computeConnectionId: newId() })).toEqual([
      'computeConnectionId COMPUTE_CONNECTION_NOT_FOUND',
    ]);
  });
  it('accepts only storage connections of the same region and account for automatic start', async () => {
    const p = await provider();
    const c = await compute(p.id);
    const east = await storage(p.id, { region: 'us-east-1' });
    const foreign = await storage((await provider({ roleArn: role('x', OTHER_ACCOUNT) })).id);
    const unused = await storage(p.id, { useForRunUpload: false });
    const fine = await storage(p.id);
    const answer = await call(
      'POST',
      '/v1/flows',
      flowBody(c.id, { autoStart: { storageConnectionIds: [east.id, foreign.id, fine.id, unused.id, newId(), 'x'] } }),
    );
    expect(answer.rules).toEqual([
      'autoStart.storageConnectionIds.0 SAME_REGION',
      'autoStart.storageConnectionIds.1 SAME_ACCOUNT',
      'autoStart.storageConnectionIds.3 USED_FOR_RUN_UPLOAD',
      'autoStart.storageConnectionIds.4 STORAGE_CONNECTION_NOT_FOUND',
      'autoStart.storageConnectionIds.5 STORAGE_CONNECTION_NOT_FOUND',
    ]);
    const f = await flow(c.id, { autoStart: { storageConnectionIds: [fine.id, fine.id.toUpperCase()] } });
    expect(f.autoStart.storageConnectionIds).toEqual([fine.id]);
    expect(
      (await call('PATCH', `/v1/flows/${f.id}`, { autoStart: { storageConnectionIds: [east.id] } })).rules,
    ).toEqual(['autoStart.storageConnectionIds.0 SAME_REGION']);
    expect((await call('GET', `/v1/flows/${f.id}`)).body.flow).toEqual(f);
    const c2 = await compute(p.id, { region: 'us-east-1' });
    expect((await call('PATCH', `/v1/flows/${f.id}`, { computeConnectionId: c2.id })).rules).toEqual([
      'autoStart.storageConnectionIds.0 SAME_REGION',
    ]);
    expect(
      (
        await call('PATCH', `/v1/flows/${f.id}`, {
          computeConnectionId: c2.id,
          autoStart: { storageConnectionIds: [east.id] },
        })
      ).status,
    ).toBe(200);
  });
  it('changes only the given fields of a flow', async () => {
    const { flow: f, runId } = await ready();
    const arn = `arn:aws:omics:us-west-2:${OTHER_ACCOUNT}:workflow/99`;
    expect((await call('PATCH', `/v1/flows/${f.id}`, { sharedWorkflowId: arn })).body.flow).toMatchObject({
      sharedWorkflowId: '99',
      workflowOwnerId: OTHER_ACCOUNT,
      sharedWorkflowRegion: 'us-west-2',
      autoStart: f.autoStart,
      name: f.name,
    });
    expect((await call('PATCH', `/v1/flows/${f.id}`, { sharedWorkflowId: '100' })).body.flow).toMatchObject({
      sharedWorkflowId: '100',
      workflowOwnerId: OTHER_ACCOUNT,
      sharedWorkflowRegion: null,
    });
    expect(
      (await call('PATCH', `/v1/flows/${f.id}`, { workflowOwnerId: '588258415937', parameters: { num_unassigned: 5 } }))
        .body.flow,
    ).toMatchObject({ sharedWorkflowId: '100', workflowOwnerId: '588258415937', parameters: { num_unassigned: 5 } });
    expect((await call('PATCH', `/v1/flows/${f.id}`, { workflowOwnerId: 'me' })).rules).toEqual([
      'workflowOwnerId AWS_ACCOUNT_ID',
    ]);
    expect((await call('PATCH', `/v1/flows/${f.id}`, { sharedWorkflowId: 'x' })).rules).toEqual([
      'sharedWorkflowId SHARED_WORKFLOW_ID',
    ]);
    const e = await execution(f.id, runId);
    const c2 = await compute((await provider()).id);
    expect(usedBy(await call('PATCH', `/v1/flows/${f.id}`, { computeConnectionId: c2.id }))).toEqual(['execution']);
    expect(usedBy(await call('DELETE', `/v1/flows/${f.id}`))).toEqual(['execution']);
    expect(usedBy(await call('DELETE', `/v1/compute-connections/${f.computeConnectionId}`))).toEqual([
      'execution',
      'flow',
    ]);
    await updateExecution(db, e.id, { status: 'CANCELED' });
    expect((await call('DELETE', `/v1/flows/${f.id}`)).status).toBe(204);
    expect((await call('GET', `/v1/executions/${e.id}`)).body.execution.flow.name).toBe(f.name);
  });
});

describe('the run API', () => {
  const realRun = (folder: string): RunParameters | undefined => {
    try {
      return parseRunParameters(
        readFileSync(
          new URL(`../../../shared/data/instrument-runs/${folder}/RunParameters.json`, import.meta.url),
          'utf8',
        ),
      );
    } catch {
      return undefined;
    }
  };
  it('answers in the shape of the contract', async () => {
    const s = await storage((await provider()).id);
    const parameters: RunParameters = realRun('taca') ?? {
      runName: 'A',
      runType: 'Sequencing',
      instrumentName: 'AV242106',
      tiles: [],
      cycles: { R1: 50, R2: 49, I1: 8, I2: 24 },
      readOrder: ['I1', 'I2', 'R1', 'R2'],
      consumables: {},
      date: '2024-09-26T16:34:55.978072698Z',
      libraryType: 'Linear',
      polonyDensity: 'HighDensity',
      kitConfiguration: '300Cycles',
      chemistryVersion: 'Cloudbreak',
      platformVersion: '2.6.2',
      filterMask: 'R1:Y15N*-R2:Y15N*',
      lowDiversity: false,
    };
    const id = await run(s.id, { instrument_id: 'i-1', time_completed: new Date() });
    await updateRun(db, id, { parameters });
    const { run: shown } = (await call('GET', `/v1/runs/${id}`)).body;
    expect(shown).toMatchObject({
      type: 'sequencing',
      status: 'RUN_STATUS_COMPLETED',
      instrument: { id: 'i-1', name: 'AV240001', serialNumber: 'AV240001', model: 'AVITI', softwareVersion: '2.6.2' },
      output: { storageConnectionId: s.id, kinds: ['sequencing_run'] },
      timeStarted: '2024-09-26T16:34:55.978Z',
      manifest: { filename: 'RunManifest.csv' },
      setup: {
        multiomics: null,
        sequencing: {
          kitName: '300Cycles',
          libraryStructure: 'linear',
          chemistryVersion: 'Cloudbreak',
          polonyDensity: 'high',
          lowDiversity: false,
          filterMask: 'R1:Y15N*-R2:Y15N*',
        },
      },
    });
    expect(shown.output.uri).toBe(
      `s3://${s.details.bucket}/runs/AV240001/${(await call('GET', `/v1/runs/${id}/details`)).body.details.runFolder}/`,
    );
    expect(shown.setup.sequencing.reads.toSorted((a: Body, b: Body) => a.order - b.order)).toEqual([
      { name: 'I1', cycles: 8, order: 1 },
      { name: 'I2', cycles: 24, order: 2 },
      { name: 'R1', cycles: 50, order: 3 },
      { name: 'R2', cycles: 49, order: 4 },
    ]);
  });
  it('answers in the shape of the contract for runs of real instruments, in every state', async () => {
    const s = await storage((await provider()).id);
    for (const folder of [
      '20240216_AV234003_16feb_sge_1x300',
      '20250127_AV244103_NT1850075L',
      '20250602_AV244103_QC_SLIDE_2',
    ]) {
      const parameters = realRun(folder);
      if (parameters === undefined) continue;
      const { run: shown } = (
        await call(
          'GET',
          `/v1/runs/${await run(s.id, { run_parameters: JSON.stringify(parameters), upload_state: folder.includes('QC') ? 'refused' : 'complete' })}`,
        )
      ).body;
      expect(shown.status).toBe('RUN_STATUS_COMPLETED');
      if (folder.includes('QC'))
        expect(shown).toMatchObject({
          type: 'multiomics',
          setup: {
            sequencing: null,
            multiomics: { kitType: 'cytoprofiling', wellLayout: 'twelve_well_standard', panel: { name: 'MAPK-CC' } },
          },
        });
    }
    const status = async (fields: Body): Promise<string> =>
      (await call('GET', `/v1/runs/${await run(s.id, fields)}`)).body.run.status as string;
    expect(await status({ upload_state: 'uploading', outcome: null })).toBe('RUN_STATUS_SEQUENCING');
    expect(await status({ upload_state: 'refused', outcome: 'failed' })).toBe('RUN_STATUS_FAILED');
    expect(await status({ upload_state: 'refused', outcome: 'stopped' })).toBe('RUN_STATUS_STOPPED');
    expect(await status({ upload_state: 'refused', outcome: 'completed' })).toBe('RUN_STATUS_FAILED');
    expect(await status({ upload_state: 'refused', outcome: null })).toBe('RUN_STATUS_FAILED');
    expect(await status({ upload_state: 'refused', outcome: 'unknown' })).toBe('RUN_STATUS_UNSPECIFIED');
    expect(await status({ upload_state: 'vanished', outcome: null })).toBe('RUN_STATUS_DISCARDED');
  });
  it('leaves a rejected run as it is if its storage connection was deleted', async () => {
    const s = await storage((await provider()).id);
    const id = await run(s.id, { upload_state: 'refused', outcome: 'stopped' });
    await db.updateTable('storage_connections').set({ time_deleted: new Date() }).where('id', '=', s.id).execute();
    expect((await call('POST', `/v1/runs/${id}/retry`)).reason).toBe('STORAGE_CONNECTION_DELETED');
    const row = await db.selectFrom('runs').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect([row.upload_state, row.outcome]).toEqual(['refused', 'stopped']);
  });
  it('checks a run again on request', async () => {
    const s = await storage((await provider()).id);
    const id = await run(s.id, {
      upload_state: 'uploading',
      outcome: null,
      blocked: JSON.stringify({ kind: 'ACCESS_DENIED', message: 'm', remedy: 'r', statement: { Effect: 'Allow' } }),
    });
    expect((await call('GET', `/v1/runs/${id}/details`)).body.details).toMatchObject({
      uploadState: 'uploading',
      blocked: { kind: 'ACCESS_DENIED' },
    });
    // The workflow of a blocked upload may be about to end, and would then not notice the signal `retry`.
    expect((await call('POST', `/v1/runs/${id}/retry`)).status).toBe(202);
    expect(temporal.named('runs.checkUpload')).toEqual([[id]]);
    expect((await call('POST', `/v1/runs/${id}/retry`, undefined, { 'content-type': 'application/json' })).status).toBe(
      202,
    );
    expect(temporal.named('runs.checkUpload')).toEqual([[id], [id]]);
    temporal.away = true;
    expect((await call('POST', `/v1/runs/${id}/retry`)).status).toBe(503);
    expect((await call('POST', `/v1/runs/${await run(s.id)}/retry`)).reason).toBe('UPLOAD_ENDED');
  });
  it('checks a run again on request whose upload is complete and which failed', async () => {
    const s = await storage((await provider()).id);
    const id = await run(s.id, { upload_state: 'complete', outcome: 'failed' });
    expect((await call('POST', `/v1/runs/${id}/retry`)).status).toBe(202);
    expect((await call('GET', `/v1/runs/${id}`)).body.run.status).toBe('RUN_STATUS_SEQUENCING');
  });
});

describe('the execution API', () => {
  it('starts an execution in Temporal and shows it in the shape of the contract', async () => {
    const { flow: f, runId, storage: s, compute: c } = await ready();
    const e = await execution(f.id, runId);
    expect(e).toMatchObject({
      status: 'EXECUTION_STATUS_INITIALIZED',
      platform: 'aws_omics',
      workflow: { name: 'bases2fastq', version: '' },
      flow: { id: f.id, name: f.name },
      inputs: [{ run: { id: runId, instrumentName: 'AV240001', runType: 'sequencing' } }],
      output: { storageConnectionId: s.id, uri: '', kinds: [] },
      startedBy: { id: 'default', email: '', name: 'default' },
      timeStarted: null,
      errorMessage: null,
    });
    expect(temporal.named('executions.start')).toEqual([[e.id]]);
    expect(
      (await db.selectFrom('executions').select('workflow_started').where('id', '=', e.id).executeTakeFirstOrThrow())
        .workflow_started,
    ).toBe(true);
    const blocked: Blocked = {
      kind: 'ACCESS_DENIED',
      action: 'omics:StartRun',
      resource: '*',
      message: 'Not allowed.',
      remedy: 'Grant omics:StartRun.',
      statement: { Effect: 'Allow' },
    };
    await updateExecution(db, e.id, { blocked });
    const blockedList = async (query = '') => {
      const { executions } = (await call('GET', `/v1/executions/blocked${query}`)).body as unknown as {
        executions: { execution: { id: string }; blocked: Blocked }[];
      };
      return executions.find(({ execution }) => execution.id === e.id)?.blocked;
    };
    const { since, ...shown } = (await blockedList(`?filter=${encodeURIComponent(`id:"${e.id}"`)}`))!;
    expect([shown, Math.abs(Date.parse(since!) - Date.now()) < 60_000]).toEqual([blocked, true]);
    expect(await blockedList('?filter=status:completed')).toBeUndefined();
    // Other words for the same problem do not change since when it blocks. Another problem does.
    await updateExecution(db, e.id, { blocked: { ...blocked, message: 'Still not allowed.' } });
    expect(await blockedList()).toMatchObject({ message: 'Still not allowed.', since });
    await updateExecution(db, e.id, { blocked: { ...blocked, action: 'iam:PassRole' } });
    expect((await blockedList())!.since! > since!).toBe(true);
    await updateExecution(db, e.id, { blocked });
    const waiting = (await call('GET', `/v1/executions/${e.id}/details`)).body;
    expect(waiting.execution.statusDescription).toBe('Blocked: Not allowed. Grant omics:StartRun.');
    expect(waiting.details).toMatchObject({
      workflowId: `execution/${e.id}`,
      trigger: 'api',
      account: ACCOUNT,
      region: 'us-west-2',
      computeConnectionId: c.id,
      healthOmics: null,
      blocked,
      cancelRequested: null,
      parameters: null,
      summary: null,
      errorType: null,
    });
    await updateExecution(db, e.id, {
      status: 'COMPLETED',
      blocked: null,
      statusDescription: 'Done',
      workflowName: 'b2f',
      timeStarted: new Date(),
      timeCompleted: new Date(),
      parameters: { run_dir: 's3://x/y' },
      healthOmics: {
        runId: '42',
        uuid: 'u',
        arn: 'arn:aws:omics:us-west-2:111122223333:run/42',
        runOutputUri: 's3://out/42',
      },
      healthOmicsStatus: 'COMPLETED',
      summary: { analysisVersion: '2.4.0', samples: [], files: { count: 1, bytes: 2, fastq: 3 }, warnings: [] },
    });
    expect(await blockedList()).toBeUndefined();
    const done = (await call('GET', `/v1/executions/${e.id}/details`)).body;
    expect(done.execution).toMatchObject({
      status: 'EXECUTION_STATUS_COMPLETED',
      workflow: { name: 'b2f', version: '2.4.0' },
      output: { uri: 's3://out/42/', kinds: ['fastq'] },
    });
    expect(done.details).toMatchObject({
      healthOmics: { runId: '42', uuid: 'u', status: 'COMPLETED', runOutputUri: 's3://out/42' },
      parameters: { run_dir: 's3://x/y' },
      summary: { analysisVersion: '2.4.0' },
    });
  });
  it('lets an execution wait for a run that is still uploading', async () => {
    const { flow: f, storage: s } = await ready();
    expect((await execution(f.id, await run(s.id, { upload_state: 'uploading', outcome: null }))).status).toBe(
      'EXECUTION_STATUS_UNTRIGGERED',
    );
  });
  it('accepts an execution while Temporal is unreachable and starts it when the request is repeated', async () => {
    const { flow: f, runId } = await ready();
    temporal.calls = [];
    temporal.away = true;
    const key = { 'idempotency-key': unique('k') };
    const first = await call('POST', '/v1/executions', { flowId: f.id, runId }, key);
    expect([first.status, temporal.calls.length]).toEqual([201, 0]);
    temporal.away = false;
    const again = await call('POST', '/v1/executions', { runId, flowId: f.id }, key);
    expect([again.status, again.headers['idempotency-replayed'], again.body]).toEqual([201, 'true', first.body]);
    expect(temporal.named('executions.start')).toEqual([[first.body.execution.id]]);
    await call('POST', '/v1/executions', { runId, flowId: f.id }, key);
    expect(temporal.named('executions.start')).toHaveLength(1);
  });
  it('rejects an execution whose run or flow is not suitable', async () => {
    const { flow: f, storage: s, provider: p, runId } = await ready();
    const start = async (flowId: string, of: string): Promise<[number, string | undefined]> => {
      const answer = await call('POST', '/v1/executions', { flowId, runId: of });
      return [answer.status, answer.reason];
    };
    expect((await call('POST', '/v1/executions', { flowId: 'x', runId: newId(), name: '', more: 1 })).rules).toEqual([
      'more UNKNOWN_FIELD',
      'name NAME_LENGTH',
    ]);
    expect((await call('POST', '/v1/executions', { flowId: 'x', runId: newId() })).rules).toEqual([
      'flowId FLOW_NOT_FOUND',
      'runId RUN_NOT_FOUND',
    ]);
    expect(await start(f.id, await run(s.id, { upload_state: 'refused', outcome: 'failed' }))).toEqual([
      409,
      'RUN_NOT_USABLE',
    ]);
    expect(await start(f.id, await run(s.id, { upload_state: 'vanished', outcome: null }))).toEqual([
      409,
      'RUN_NOT_USABLE',
    ]);
    expect(await start(f.id, await run(s.id, { outcome: 'stopped' }))).toEqual([409, 'RUN_NOT_USABLE']);
    const east = await storage(p.id, { region: 'us-east-1' });
    expect(await start(f.id, await run(east.id))).toEqual([409, 'REGION_MISMATCH']);
    const foreign = await storage((await provider({ roleArn: role('x', OTHER_ACCOUNT) })).id);
    expect(await start(f.id, await run(foreign.id))).toEqual([409, 'ACCOUNT_MISMATCH']);
    const gone = await run(east.id);
    expect((await call('DELETE', `/v1/storage-connections/${east.id}`)).status).toBe(204);
    expect(await start(f.id, gone)).toEqual([409, 'STORAGE_CONNECTION_DELETED']);
    await call('DELETE', `/v1/flows/${f.id}`);
    expect((await call('POST', '/v1/executions', { flowId: f.id, runId })).rules).toEqual(['flowId FLOW_NOT_FOUND']);
  });
  it('starts a flow that accepts stopped runs for a stopped run with cycles, and no other flow', async () => {
    const { flow: f, storage: s } = await ready();
    const start = async (flowId: string, of: string): Promise<[number, string | undefined]> => {
      const answer = await call('POST', '/v1/executions', { flowId, runId: of });
      return [answer.status, answer.reason];
    };
    const stopped = await run(s.id, { upload_state: 'refused', outcome: 'stopped', usable_if_stopped: true });
    expect(await start(f.id, stopped)).toEqual([409, 'RUN_NOT_USABLE']);
    expect((await call('PATCH', `/v1/flows/${f.id}`, { acceptStoppedOutcome: true })).body.flow).toMatchObject({
      acceptStoppedOutcome: true,
      acceptFailedOutcome: false,
    });
    expect((await start(f.id, stopped))[0]).toBe(201);
    expect(await start(f.id, await run(s.id, { upload_state: 'refused', outcome: 'stopped' }))).toEqual([
      409,
      'RUN_NOT_USABLE',
    ]);
  });
  it('warns of a path that other tools misread, at the run and its executions, and starts it all the same', async () => {
    const { flow: f, storage: s, runId: plain } = await ready();
    const odd = await run(s.id, { run_folder: '20250101_AV240001_My run (1)' });
    const warningsOf = async (of: string): Promise<unknown[]> => {
      const { execution } = (await call('POST', '/v1/executions', { flowId: f.id, runId: of })).body;
      return [
        (await call('GET', `/v1/runs/${of}/details`)).body.details.warnings,
        (await call('GET', `/v1/executions/${execution.id}/details`)).body.details.warnings,
      ];
    };
    const warning = [{ code: 'RUN_PATH_CHARACTERS', message: expect.stringContaining('a space, (, )') as string }];
    expect(await warningsOf(odd)).toEqual([warning, warning]);
    expect(await warningsOf(plain)).toEqual([[], []]);
  });
  it('never starts an execution with a flow that is deleted at the same moment', async () => {
    for (let round = 0; round < 10; round++) {
      const { flow: f, runId } = await ready();
      const [deleted, started] = await Promise.all([
        call('DELETE', `/v1/flows/${f.id}`),
        call('POST', '/v1/executions', { flowId: f.id, runId }),
      ]);
      expect([
        [204, 400],
        [409, 201],
      ]).toContainEqual([deleted.status, started.status]);
    }
  });
  it('cancels an execution once: records it, signals the workflow, and rejects a cancel after the end', async () => {
    const { flow: f, runId } = await ready();
    const e = await execution(f.id, runId);
    const path = `/v1/executions/${e.id}/cancel`;
    temporal.away = true;
    expect((await call('POST', path, { reason: 'wrong manifest' })).status).toBe(503);
    expect((await call('GET', `/v1/executions/${e.id}/details`)).body.details.cancelRequested).toMatchObject({
      requestedBy: 'default',
      reason: 'wrong manifest',
    });
    temporal.away = false;
    expect((await call('POST', path)).status).toBe(202);
    expect(temporal.named('executions.cancel')).toEqual([[e.id, { requestedBy: 'default', reason: undefined }]]);
    expect((await call('POST', path, { reason: 5 })).rules).toEqual(['reason TYPE']);
    expect((await call('POST', path, { reason: 'a\u0000' })).status).toBe(400);
    expect((await call('POST', path, { why: 'x' })).rules).toEqual(['why UNKNOWN_FIELD']);
    const key = { 'idempotency-key': unique('k') };
    const first = await call('POST', path, {}, key);
    await updateExecution(db, e.id, { status: 'CANCELED', timeCompleted: new Date() });
    const again = await call('POST', path, {}, key);
    expect([again.status, again.body]).toEqual([202, first.body]);
    const late = await call('POST', path);
    expect([late.status, late.reason]).toEqual([409, 'EXECUTION_ENDED']);
    const orphan = await execution(f.id, runId);
    temporal.running = false;
    expect((await call('POST', `/v1/executions/${orphan.id}/cancel`)).reason).toBe('WORKFLOW_ENDED');
  });
  it('triggers an immediate retry', async () => {
    const { flow: f, runId } = await ready();
    const e = await execution(f.id, runId);
    const path = `/v1/executions/${e.id}/retry`;
    expect((await call('POST', path)).status).toBe(202);
    temporal.running = false;
    expect((await call('POST', path)).reason).toBe('WORKFLOW_ENDED');
    await db.updateTable('executions').set({ workflow_started: false }).where('id', '=', e.id).execute();
    expect((await call('POST', path)).status).toBe(202);
    expect(temporal.named('executions.start')).toHaveLength(2);
    temporal.away = true;
    expect((await call('POST', path)).status).toBe(503);
    await updateExecution(db, e.id, { status: 'FAILED', error: { type: 'RunFailed', message: 'it broke' } });
    expect((await call('POST', path)).reason).toBe('EXECUTION_ENDED');
    expect((await call('GET', `/v1/executions/${e.id}`)).body.execution).toMatchObject({
      status: 'EXECUTION_STATUS_FAILED',
      errorMessage: 'it broke',
    });
  });
  it('answers when Temporal does not answer at all', async () => {
    const { flow: f, runId } = await ready();
    const other = await build({
      orchestrator: Object.assign(Object.create(temporal), {
        executions: { start: () => new Promise<never>(() => undefined) },
      }) as never,
    });
    expect((await call('POST', '/v1/executions', { flowId: f.id, runId }, {}, other)).status).toBe(201);
    await other.close();
  });
});

describe('Idempotency-Key', () => {
  const body = (name: string): Body => ({
    name,
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: role('x'),
    externalId: 'xx',
  });
  it('creates one resource from ten simultaneous requests', async () => {
    const name = unique('idem');
    const key = { 'idempotency-key': unique('k') };
    const answers = await Promise.all(Array.from({ length: 10 }, () => call('POST', '/v1/providers', body(name), key)));
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 10 }, () => 201));
    expect(new Set(answers.map((answer) => JSON.stringify(answer.body.provider.id))).size).toBe(1);
    expect(answers.filter((answer) => answer.headers['idempotency-replayed'] === 'true')).toHaveLength(9);
    expect(await db.selectFrom('providers').select('id').where('name', '=', name).execute()).toHaveLength(1);
  });
  it('starts one execution from ten simultaneous requests', async () => {
    const { flow: f, runId } = await ready();
    const key = { 'idempotency-key': unique('k') };
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => call('POST', '/v1/executions', { flowId: f.id, runId }, key)),
    );
    expect(new Set(answers.map((answer) => answer.body.execution.id as string)).size).toBe(1);
    expect(await db.selectFrom('executions').select('id').where('flow_id', '=', f.id).execute()).toHaveLength(1);
  });
  it('rejects a key that is reused for another request or is malformed', async () => {
    const key = { 'idempotency-key': unique('k') };
    const first = body(unique('idem'));
    await call('POST', '/v1/providers', first, key);
    const other = await call('POST', '/v1/providers', body(unique('idem')), key);
    expect([other.status, other.reason]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
    // The same members in another order count as the same request.
    expect(
      (await call('POST', '/v1/providers', Object.fromEntries(Object.entries(first).reverse()), key)).headers[
        'idempotency-replayed'
      ],
    ).toBe('true');
    for (const bad of ['x'.repeat(256), 'ä', ''])
      expect((await call('POST', '/v1/providers', body(unique('idem')), { 'idempotency-key': bad })).reason).toBe(
        'INVALID_IDEMPOTENCY_KEY',
      );
  });
  it('stores neither errors nor partial results', async () => {
    const key = { 'idempotency-key': unique('k') };
    const taken = await provider();
    expect((await call('POST', '/v1/providers', body(taken.name), key)).status).toBe(409);
    expect((await call('POST', '/v1/providers', body(unique('idem')), key)).status).toBe(201);
  });
  it('separates the keys of different callers and forgets them after a day', async () => {
    const other = await build({
      authenticate: async (given) =>
        given === KEY
          ? {
              kind: 'key',
              id: 'second',
              name: 'second',
              scopes: [],
              access: new Authorization(parseScopes('scopes', ['*'])),
            }
          : undefined,
    });
    const key = { 'idempotency-key': unique('k') };
    const name = unique('idem');
    await call('POST', '/v1/providers', body(name), key);
    expect((await call('POST', '/v1/providers', body(name), key, other)).reason).toBe('NAME_TAKEN');
    await other.close();
    await db
      .updateTable('idempotency_keys')
      .set({ time_created: new Date(Date.now() - 25 * 3600 * 1000) } as never)
      .where('key', '=', `default/${key['idempotency-key']}`)
      .execute();
    expect((await call('POST', '/v1/providers', body(unique('idem')), key)).status).toBe(201);
    await call('POST', '/v1/providers', body(unique('idem')), { 'idempotency-key': unique('k') });
  });
});

describe('paging', () => {
  it('lists forwards without gaps or repeats during concurrent writes', async () => {
    const p = await provider();
    const made: string[] = [];
    for (let at = 0; at < 7; at++) made.push((await storage(p.id)).id as string);
    const seen: string[] = [];
    for (let token = ''; ;) {
      const { body } = await call('GET', `/v1/storage-connections?pageSize=3&pageToken=${token}`);
      seen.push(...body.storageConnections.map((each: Body) => each.id as string));
      if (seen.length === 3) await call('DELETE', `/v1/storage-connections/${seen[0]}`);
      token = body.nextPageToken as string;
      if (token === '') break;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((id) => made.includes(id))).toEqual(made);
    for (const list of ['providers', 'compute-connections', 'flows']) {
      const { body } = await call('GET', `/v1/${list}?pageSize=1`);
      if (body.nextPageToken !== '')
        expect((await call('GET', `/v1/${list}?pageSize=1&pageToken=${body.nextPageToken}`)).status).toBe(200);
    }
  });
  it('lists runs and executions both ways, newest first, with a total count', async () => {
    const { flow: f, runId, storage: s } = await ready();
    for (let at = 0; at < 7; at++) {
      await run(s.id);
      await execution(f.id, runId);
    }
    for (const list of ['runs', 'executions']) {
      const all = (await call('GET', `/v1/${list}?pageSize=1000&includeTotalCount=true`)).body;
      const ids = all[list].map((each: Body) => each.id as string) as string[];
      expect([all.totalCount, all.nextPageToken, all.previousPageToken]).toEqual([ids.length, '', '']);
      expect(ids).toEqual(ids.toSorted().reverse());
      const pages: Body[] = [];
      for (let token = ''; ;) {
        const { body } = await call('GET', `/v1/${list}?pageSize=3&pageToken=${token}`);
        expect(body).not.toHaveProperty('totalCount');
        pages.push(body);
        if (body.nextPageToken === '') break;
        token = body.nextPageToken as string;
      }
      expect(pages.flatMap((page) => page[list].map((each: Body) => each.id as string) as string[])).toEqual(ids);
      expect(pages[0]!.previousPageToken).toBe('');
      for (let at = pages.length - 1; at > 1; at--) {
        const back = (await call('GET', `/v1/${list}?pageSize=3&pageToken=${pages[at]!.previousPageToken}`)).body;
        expect(back[list]).toEqual(pages[at - 1]![list]);
        expect((await call('GET', `/v1/${list}?pageSize=3&pageToken=${back.nextPageToken}`)).body[list]).toEqual(
          pages[at]![list],
        );
      }
      const first = (await call('GET', `/v1/${list}?pageSize=3&pageToken=${pages[1]!.previousPageToken}`)).body;
      expect([first[list], first.previousPageToken]).toEqual([pages[0]![list], '']);
    }
  });
  it('rejects page tokens that it did not issue', async () => {
    const { storage: s } = await ready();
    await run(s.id);
    const token = (await call('GET', '/v1/runs?pageSize=1')).body.nextPageToken as string;
    const forged = Buffer.from(JSON.stringify(['runs', 'after', newId()])).toString('base64url');
    for (const bad of [
      'x',
      '%0a',
      token.slice(0, -1),
      `${token}A`,
      token.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
      token.replace(/^./, (first) => (first === 'A' ? 'B' : 'A')),
      forged,
    ]) {
      expect([bad, (await call('GET', `/v1/runs?pageToken=${bad}`)).reason]).toEqual([bad, 'INVALID_PAGE_TOKEN']);
    }
    expect((await call('GET', `/v1/executions?pageToken=${token}`)).reason).toBe('INVALID_PAGE_TOKEN');
    expect((await call('GET', `/v1/storage-connections?pageToken=${token}`)).reason).toBe('INVALID_PAGE_TOKEN');
    expect((await call('GET', `/v1/runs?pageToken=${token}`)).status).toBe(200);
  });
});

describe('the IAM document API', () => {
  const url = (query: Record<string, string | string[]>): string =>
    `/v1/iam-documents?${Object.entries(query)
      .flatMap(([name, values]) => [values].flat().map((value) => `${name}=${encodeURIComponent(value)}`))
      .join('&')}`;
  const asked = { credentialType: 'role', bucket: 'lab-aviti' };
  it('creates the documents for a role, with a new external ID if none is given', async () => {
    const [one, other] = [await call('GET', url(asked)), await call('GET', url(asked))];
    expect([one.status, one.body.externalId]).toEqual([200, expect.stringMatching(/^polony-[0-9a-f]{40}$/)]);
    expect(one.body.externalId).not.toBe(other.body.externalId);
    expect(one.body.trustPolicy.Statement[0]).toMatchObject({
      Principal: { AWS: ['arn:aws:iam::588258415937:root'] },
      Condition: { StringEquals: { 'sts:ExternalId': one.body.externalId } },
    });
    expect(one.body.permissionPolicy.Statement).toHaveLength(7);
    expect(one.body.executionRole.trustPolicy.Statement[0].Principal).toEqual({ Service: 'omics.amazonaws.com' });
    for (const text of ['cloudFormation', 'terraform', 'awsCli']) expect(one.body[text]).toContain(one.body.externalId);
    expect((await call('GET', url({ ...asked, externalId: 'lab-7f3a' }))).body.externalId).toBe('lab-7f3a');
  });
  it('creates the documents for a user with several buckets, chosen capabilities and least privilege', async () => {
    const { body } = await call(
      'GET',
      url({
        credentialType: 'accessKeys',
        bucket: ['lab-1', 'lab-2'],
        prefix: 'runs',
        capabilities: ['runUpload,dataExploration', 'sharing'],
        variant: 'least',
      }),
    );
    expect([body.trustPolicy, body.externalId, body.executionRole]).toEqual([null, null, null]);
    expect(body.permissionPolicy.Statement[0].Resource).toEqual([
      'arn:aws:s3:::lab-1/runs/*',
      'arn:aws:s3:::lab-2/runs/*',
    ]);
    expect(JSON.stringify(body.permissionPolicy)).not.toContain('omics');
  });
  it('reports all problems by field', async () => {
    expect((await call('GET', '/v1/iam-documents')).rules).toEqual(['bucket REQUIRED', 'credentialType REQUIRED']);
    expect(
      (
        await call(
          'GET',
          url({ credentialType: 'role', bucket: 's3://x', prefix: 'a*', executionRoleArn: 'x', capabilities: 'all' }),
        )
      ).rules,
    ).toEqual([
      'bucket BUCKET_HAS_SCHEME',
      'capabilities ONE_OF',
      'executionRoleArn ROLE_ARN',
      'prefix PREFIX_WILDCARD',
    ]);
    expect((await call('GET', url({ ...asked, colour: 'red' }))).rules).toEqual(['colour UNKNOWN_FIELD']);
    expect((await call('GET', url({ ...asked, variant: 'most' }))).rules).toEqual(['variant ONE_OF']);
    const without = await build({ trustedAccountId: undefined });
    expect(await call('GET', url(asked), undefined, {}, without)).toMatchObject({
      status: 409,
      reason: 'TRUSTED_ACCOUNT_NOT_SET',
    });
    expect((await call('GET', url({ ...asked, credentialType: 'accessKeys' }), undefined, {}, without)).status).toBe(
      200,
    );
    await without.close();
  });
  it('reports what a pasted policy grants', async () => {
    const { permissionPolicy } = (await call('GET', url({ ...asked, prefix: 'runs', capabilities: 'runUpload' }))).body;
    for (const policy of [permissionPolicy, JSON.stringify(permissionPolicy)]) {
      const { status, body } = await call('POST', '/v1/iam-documents/check', {
        policy,
        bucket: 'lab-aviti',
        prefix: 'runs',
      });
      expect(status).toBe(200);
      expect(
        body.permissions.filter((each: Body) => each.state === 'granted').map((each: Body) => each.action as string),
      ).toEqual(['s3:GetBucketLocation', 's3:ListBucket', 's3:PutObject', 'sts:GetCallerIdentity']);
      expect(body.capabilities.map((each: Body) => each.state as string)).toEqual([
        'limited',
        'limited',
        'notReady',
        'notReady',
        'limited',
      ]);
      expect(body.statements.map((each: Body) => each.sid as string)).toEqual([
        'S3ObjectWrite',
        'S3ObjectListing',
        'S3BucketLevelOperations',
        'STSOperations',
      ]);
    }
    const bad = await call('POST', '/v1/iam-documents/check', {
      policy: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: 'lab-aviti' }] },
    });
    expect([bad.status, bad.rules]).toEqual([400, ['policy.Statement[0].Resource RESOURCE']]);
    expect((await call('POST', '/v1/iam-documents/check', {})).rules).toEqual(['policy REQUIRED']);
    expect((await call('POST', '/v1/iam-documents/check', { policy: 5 })).rules).toEqual(['policy TYPE']);
  });
});

/** The type of the content of an answer. @param where such as `get /v1/runs` */
function typeOf(where: string, isSuccess: boolean): string {
  if (isSuccess && (/^get \/v1\/executions.*\/events$/.test(where) || where === 'get /v1/changes'))
    return 'text/event-stream';
  if (isSuccess && /\/(oidc\/callback|files\/report)$/.test(where)) return 'text/html';
  return isSuccess && where === 'get /v1/audit-log/export' ? 'text/csv' : 'application/json';
}

describe('the OpenAPI document', () => {
  it('is OpenAPI 3.1, has unique operation ids, and lists the security and errors of each operation', () => {
    expect(document.openapi).toMatch(/^3\.1\./);
    const ids = new Set<string>();
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const where = `${method} ${path}`;
        expect([where, operation.summary, operation.tags?.length]).toEqual([where, expect.any(String), 1]);
        expect(document.tags!.map((tag) => tag.name)).toContain(operation.tags![0]);
        expect(ids.has(operation.operationId), operation.operationId).toBe(false);
        ids.add(operation.operationId);
        const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]);
        expect(
          (operation.parameters ?? [])
            .filter((parameter) => parameter.in === 'path')
            .map((parameter) => parameter.name),
        ).toEqual(inPath);
        if (path.startsWith('/v1/')) {
          for (const status of ['400', '401', '500', '503', ...(inPath.length > 0 ? ['404'] : [])])
            expect([where, Object.keys(operation.responses)]).toEqual([where, expect.arrayContaining([status])]);
          // Signing in needs no caller.
          const isPublic = /^\/v1\/session(\/methods|\/oidc\/.*)?$/.test(path) && operation.security?.length === 0;
          if (!isPublic)
            expect([where, operation.security ?? document.security]).toEqual([
              where,
              [{ apiKey: [] }, { bearer: [] }, { session: [] }],
            ]);
        } else expect(operation.security).toEqual([]);
        for (const response of Object.values(operation.responses)) {
          expect([where, response.description]).not.toEqual([where, 'Default Response']);
          for (const [type, media] of Object.entries(response.content ?? {}))
            expect([where, type, typeof media.schema]).toEqual([
              where,
              typeOf(where, response === operation.responses['200']),
              'object',
            ]);
        }
        if (operation.requestBody !== undefined) {
          const media = operation.requestBody.content['application/json']!;
          const example = media.example ?? (media.schema as { examples?: unknown[] }).examples?.[0];
          expect([where, example]).toEqual([where, expect.anything()]);
          const validate = compilerOf(document)(media.schema);
          expect([where, validate(example), validate.errors]).toEqual([where, true, null]);
        }
      }
    }
    expect(document.components.securitySchemes.apiKey).toMatchObject({
      type: 'apiKey',
      in: 'header',
      name: 'x-api-key',
    });
    expect(JSON.stringify(document)).not.toMatch(/x-optional|"\$id"/);
  });
  it('has no dangling references and only valid JSON Schema 2020-12', () => {
    const compile = compilerOf(document);
    for (const schema of Object.values(document.components.schemas)) compile(schema);
    for (const match of JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)) {
      expect(match[1]).toMatch(/^#\/components\/schemas\/[A-Za-z0-9]+$/);
      expect(document.components.schemas).toHaveProperty([match[1]!.split('/').pop()!]);
    }
  });
  it('has the implemented operations of the contract with the same names and parameters', () => {
    for (const path of [
      '/v1/auth',
      '/v1/runs',
      '/v1/runs/{id}',
      '/v1/executions',
      '/v1/executions/{id}',
      '/v1/storage-connections',
      '/v1/storage-connections/{id}',
    ]) {
      const [ours, theirs] = [document.paths[path]!.get!, vendor.paths[path]!.get!];
      expect([ours.operationId, ours.tags]).toEqual([theirs.operationId, theirs.tags]);
      const names = (operation: typeof ours): string[] =>
        (operation.parameters ?? [])
          .map((parameter) => parameter.name)
          .filter((name) => name !== 'filter' && name !== 'orderBy')
          .sort();
      expect([path, names(ours)]).toEqual([path, names(theirs)]);
    }
  });
});

describe('a lost database connection', () => {
  it('makes the API answer 503', async () => {
    const own = await startOwnPostgres();
    const other = await build({ db: own.db });
    expect((await call('GET', '/v1/providers', undefined, {}, other)).status).toBe(200);
    own.kill();
    await expect
      .poll(async () => (await call('GET', '/v1/providers', undefined, {}, other)).status, { timeout: 120_000 })
      .toBe(503);
    expect(
      (
        await call(
          'POST',
          '/v1/providers',
          { name: 'x', defaultRegion: 'us-west-2', credentialType: 'role', roleArn: role('x'), externalId: 'xx' },
          {},
          other,
        )
      ).status,
    ).toBe(503);
    await other.close();
    await own.stop();
  });
  it('ends an open transaction, but not the process', async () => {
    const own = await startOwnPostgres();
    const ask = (on: DbOrTransaction): Promise<unknown> => sql`select 1`.execute(on);
    const transaction = own.db.transaction().execute(async (within) => {
      await ask(within);
      own.kill();
      await expect
        .poll(
          () =>
            ask(own.db).then(
              () => 'there',
              () => 'away',
            ),
          { timeout: 120_000 },
        )
        .toBe('away');
      await ask(within);
    });
    await expect(transaction).rejects.toThrow(/connection|terminat/i);
    await own.stop();
  });
});
