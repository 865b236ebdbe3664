import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { CompiledQuery, sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ApiDependencies } from '../../api/dependencies.js';
import { buildApp } from '../../api/app.js';
import { sendAuditExport } from '../../api/audit/export.js';
import { AwsSessions } from '../../aws/sessions.js';
import { insertGrant } from '../../store/grants/request.js';
import { appendAudit, auditQuery } from '../../store/audit.js';
import { type Db, newId } from '../../store/database.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { createExecution } from '../../store/executions/create.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { saveVerification } from '../../store/verification/reports.js';
import { createLocalKey } from '../../encryption/keys.js';
import { Secrets } from '../../store/secrets.js';
import type { VerificationReport } from '../../domain/verification/report.js';
import { answerChecker, type OpenApi } from '../openapi.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';
import { stubOrchestrator } from '../stubOrchestrator.js';

const ROOT = 'root-key-0123456789-abcdefgh';
const EVENTS = 'events-key-0123456789-abcdef';

interface Entry {
  action: string;
  status: number | null;
  reason: string | null;
  resourceId: string | null;
  resourceType: string | null;
  requestId: string;
  address: string | null;
  caller: { kind: string; id: string; name: string };
  detail: Record<string, unknown> | null;
  timeEnded: string | null;
}
interface Key {
  id: string;
  name: string;
  scopes: string[];
  state: string;
  timeExpires: string;
  timeLastUsed: string | null;
  timeRevoked: string | null;
  createdBy: string;
  revokedBy: string | null;
}
interface Named {
  id: string;
}
interface Body {
  apiKey: Key;
  key: string;
  apiKeys: Key[];
  entries: Entry[];
  nextPageToken: string;
  scopes: string[];
  message: string;
  details: { reason: string; metadata: Record<string, unknown> }[];
  provider: Named;
  providers: Named[];
  storageConnection: Named;
  storageConnections: Named[];
  computeConnection: Named;
  computeConnections: Named[];
  flow: Named;
  flows: Named[];
  runs: Named[];
  executions: Named[];
  webhooks: Named[];
  totalCount: number;
}

let postgres: TestPostgres;
let db: Db;
let app: FastifyInstance;
let check: ReturnType<typeof answerChecker>;

const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);
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
    ...overrides,
  });

/** Every answer must match the served document. */
async function as(
  key: string,
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  url: string,
  body?: object,
  { on = app, headers = { 'x-api-key': key } }: { on?: FastifyInstance; headers?: Record<string, string> } = {},
): Promise<{ status: number; body: Body; reason: string | undefined; headers: Record<string, unknown> }> {
  const response = await on.inject({
    method,
    url,
    headers: { 'x-request-id': 'request-of-a-test', ...headers },
    ...(body !== undefined && { payload: body }),
  });
  const answer = (response.body === '' ? undefined : JSON.parse(response.body)) as Body;
  expect(check(method, url, response.statusCode, answer)).toEqual([]);
  return { status: response.statusCode, body: answer, reason: answer?.details?.[0]?.reason, headers: response.headers };
}

let counter = 0;
const unique = (what: string): string => `${what}-${++counter}`;
async function keyFor(scopes: string[], by = ROOT, more: object = {}): Promise<string> {
  const { status, body } = await as(by, 'POST', '/v1/api-keys', { name: unique('key'), scopes, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body.key;
}

/** Two of each resource: one that the key may see, one that it may not. */
const mine: Record<string, string> = {};
const other: Record<string, string> = {};

beforeAll(async () => {
  postgres = await startTestPostgres();
  db = postgres.db;
  app = await build();
  check = answerChecker(
    (await app.inject({ method: 'GET', url: '/openapi.json', headers: { 'x-api-key': ROOT } })).json<OpenApi>(),
  );
  for (const ids of [mine, other]) {
    ids.providers = (
      await as(ROOT, 'POST', '/v1/providers', {
        name: unique('lab'),
        defaultRegion: 'us-west-2',
        credentialType: 'role',
        roleArn: 'arn:aws:iam::111122223333:role/lab',
        externalId: 'lab-7f3a',
      })
    ).body.provider.id;
    ids.storage = (
      await as(ROOT, 'POST', '/v1/storage-connections', {
        name: unique('runs'),
        providerId: ids.providers,
        region: 'us-west-2',
        bucket: unique('bucket'),
        prefix: 'runs',
        useForRunUpload: true,
        useForDataExploration: true,
      })
    ).body.storageConnection.id;
    ids.compute = (
      await as(ROOT, 'POST', '/v1/compute-connections', {
        name: unique('omics'),
        providerId: ids.providers,
        executionRoleArn: 'arn:aws:iam::111122223333:role/omics',
        region: 'us-west-2',
      })
    ).body.computeConnection.id;
    ids.flows = (
      await as(ROOT, 'POST', '/v1/flows', {
        name: unique('b2f'),
        computeConnectionId: ids.compute,
        sharedWorkflowId: '1234567',
        workflowOwnerId: '588258415937',
      })
    ).body.flow.id;
    ids.webhooks = (await as(ROOT, 'POST', '/v1/webhooks', { url: 'https://8.8.8.8/hook' })).body as unknown as string;
    ids.webhooks = (ids.webhooks as unknown as { webhook: Named }).webhook.id;
    const folder = unique('20260101_AV1_R');
    ids.runs = (await insertRuns(db, ids.storage, 'AV1', 'AV1', [{ folder, runName: folder }])).get(folder)!.id;
    ids.executions = (
      await createExecution(db, {
        flow: { id: ids.flows, name: 'b2f', computeConnectionId: ids.compute },
        run: { id: ids.runs, name: folder, storageConnectionId: ids.storage, uploadState: 'uploading' },
        storage: await db
          .selectFrom('storage_connections')
          .selectAll()
          .where('id', '=', ids.storage)
          .executeTakeFirstOrThrow(),
        trigger: 'api',
        startedBy: 'test',
      })
    ).id!;
  }
});
afterAll(async () => {
  await app?.close();
  await postgres?.stop();
});

const PATHS = {
  providers: 'providers',
  storage: 'storage-connections',
  compute: 'compute-connections',
  flows: 'flows',
  webhooks: 'webhooks',
  runs: 'runs',
  executions: 'executions',
} as const;
const kinds = Object.entries(PATHS) as [keyof typeof PATHS, string][];
const listed = (body: Body): string[] =>
  (Object.values(body).find((value) => Array.isArray(value)) as Named[]).map(({ id }) => id);

describe('a key with a narrow scope', () => {
  it.each(kinds)('for %s sees its own resource, and gets 404 for any other', async (resource, path) => {
    const key = await keyFor([`${resource}:read:${mine[resource]!}`]);
    const { body } = await as(
      key,
      'GET',
      `/v1/${path}${resource === 'runs' || resource === 'executions' ? '?includeTotalCount=true' : ''}`,
    );
    expect(listed(body)).toEqual([mine[resource]]);
    if (resource === 'runs' || resource === 'executions') expect(body.totalCount).toBe(1);
    expect((await as(key, 'GET', `/v1/${path}/${mine[resource]!}`)).status).toBe(200);
    expect((await as(key, 'GET', `/v1/${path}/${mine[resource]!.toUpperCase()}`)).status).toBe(200);
    const [hidden, absent] = [
      await as(key, 'GET', `/v1/${path}/${other[resource]!}`),
      await as(key, 'GET', `/v1/${path}/${newId()}`),
    ];
    expect([hidden.status, hidden.reason]).toEqual([absent.status, absent.reason]);
    expect(hidden.status).toBe(404);
    for (const [others, of] of kinds.filter(([each]) => each !== resource)) {
      expect([others, (await as(key, 'GET', `/v1/${of}`)).reason]).toEqual([others, 'INSUFFICIENT_SCOPE']);
      expect((await as(key, 'GET', `/v1/${of}/${mine[others]!}`)).reason).toBe('INSUFFICIENT_SCOPE');
    }
  });
  it('is rejected if a scope names a resource that does not exist', async () => {
    const refusal = async (...scopes: string[]) => {
      const { status, body } = await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes });
      return [
        status,
        ...(body.details ?? []).map(({ metadata: { field, rule } }) => `${String(field)} ${String(rule)}`),
      ];
    };
    for (const [resource] of kinds) {
      expect(await refusal(`${resource}:read:${mine[resource]!}`, `${resource}:read:${newId()}`)).toEqual([
        400,
        'scopes.1 SCOPE_MATCHES_NOTHING',
      ]);
      expect(await refusal(`${resource}:*:${newId()}`)).toEqual([400, 'scopes.0 SCOPE_MATCHES_NOTHING']);
      // A name is not an id.
      expect(await refusal(`${resource}:read:NA12878`)).toEqual([400, 'scopes.0 SCOPE_MATCHES_NOTHING']);
      expect(await refusal(`${resource}:read:${mine[resource]!.toUpperCase()}`)).toEqual([201]);
    }
    expect(await refusal(`storage:upload:${newId()}/AV1/`)).toEqual([400, 'scopes.0 SCOPE_MATCHES_NOTHING']);
    // The folder of a run that has not been uploaded yet, and the serial number of an instrument without runs.
    expect(await refusal(`storage:upload:${mine.storage}/AV1/`, 'instruments:read:AV1')).toEqual([201]);
    const { id } = (
      await as(ROOT, 'POST', '/v1/providers', {
        name: unique('provider'),
        defaultRegion: 'us-west-2',
        credentialType: 'role',
        roleArn: 'arn:aws:iam::111122223333:role/lab',
        externalId: 'deleted-1',
      })
    ).body.provider;
    const key = await keyFor([`providers:read:${id}`]);
    expect((await as(ROOT, 'DELETE', `/v1/providers/${id}`)).status).toBe(204);
    expect(await refusal(`providers:read:${id}`)).toEqual([400, 'scopes.0 SCOPE_MATCHES_NOTHING']);
    expect(listed((await as(key, 'GET', '/v1/providers')).body)).toEqual([]);
  });
  it('for a whole kind of resource sees all of it, and no other kind', async () => {
    const key = await keyFor(['runs:*', 'flows:read']);
    expect(listed((await as(key, 'GET', '/v1/runs')).body)).toEqual([other.runs, mine.runs]);
    expect((await as(key, 'PATCH', `/v1/flows/${mine.flows}`, { name: 'taken-over' })).reason).toBe(
      'INSUFFICIENT_SCOPE',
    );
    expect((await as(key, 'GET', '/v1/auth')).body.scopes).toEqual(['runs:*', 'flows:read']);
  });
  it('cannot move its storage connection to another place', async () => {
    const key = await keyFor([`storage:*:${mine.storage}`]);
    expect(
      (await as(key, 'PATCH', `/v1/storage-connections/${mine.storage}`, { useForDataExploration: true })).status,
    ).toBe(200);
    for (const change of [
      { prefix: '' },
      { bucket: 'somebody-elses' },
      { providerId: other.providers },
      { providerId: newId() },
    ]) {
      expect((await as(key, 'PATCH', `/v1/storage-connections/${mine.storage}`, change)).reason).toBe(
        'INSUFFICIENT_SCOPE',
      );
    }
    expect((await as(key, 'POST', '/v1/storage-connections', {})).status).toBe(403);
  });
  it('can neither choose the connections of its flow or compute connection nor find out which exist', async () => {
    const key = await keyFor([`flows:*:${mine.flows}`, `compute:*:${mine.compute}`]);
    const patch = (body: object, by = key) => as(by, 'PATCH', `/v1/flows/${mine.flows}`, body);
    const told = async (id: string): Promise<string> =>
      JSON.stringify([
        (await patch({ autoStart: { storageConnectionIds: [id] } })).body,
        (await patch({ computeConnectionId: id })).body,
      ]).replaceAll(id, 'ID');
    const absent = await told(newId());
    expect(absent).toContain('STORAGE_CONNECTION_NOT_FOUND');
    for (const id of [other.storage!, other.compute!]) expect(await told(id)).toBe(absent);
    expect((await patch({ computeConnectionId: mine.compute, parameters: {} })).status).toBe(200);
    const seeing = await keyFor([`flows:*:${mine.flows}`, `storage:read:${mine.storage}`]);
    expect((await patch({ autoStart: { storageConnectionIds: [mine.storage] } }, seeing)).status).toBe(200);
    // The storage connection is already set, so a key that may not see it can keep it.
    expect((await patch({ autoStart: { storageConnectionIds: [mine.storage] } })).status).toBe(200);
    expect((await patch({ autoStart: { storageConnectionIds: [] } })).status).toBe(200);
    for (const providerId of [other.providers, newId()])
      expect((await as(key, 'PATCH', `/v1/compute-connections/${mine.compute}`, { providerId })).reason).toBe(
        'INSUFFICIENT_SCOPE',
      );
  });
  it('sees only those parts of a provider report that it may read', async () => {
    const [provider, storage] = [mine.providers!, mine.storage!];
    const report = {
      status: 'CONNECTED',
      description: 'All',
      permissions: [],
      capabilities: [],
      findings: [],
      identity: null,
      sessionSeconds: 3600,
    } as const;
    const verified = (
      kind: 'provider' | 'storageConnection' | 'computeConnection',
      id: string,
      found: Partial<VerificationReport> = {},
    ) =>
      saveVerification(db, {
        kind,
        id,
        report: { ...report, ...found } as VerificationReport,
        started: new Date(),
        provider: { id: provider, accountId: '111122223333', sessionSeconds: 3600 },
      });
    await verified('provider', provider);
    await verified('storageConnection', storage, {
      findings: [{ severity: 'warning', code: 'X', message: 'of the storage', remedy: 'mend' }],
    });
    await verified('computeConnection', mine.compute!, { status: 'WARNING', description: 'of the compute' });
    const seen = async (scopes: string[]) => {
      const key = await keyFor([`providers:*:${provider}`, ...scopes]);
      const { verification } = (await as(key, 'GET', `/v1/providers/${provider.toUpperCase()}/verification`))
        .body as unknown as { verification: { parts: { id: string }[]; findings: object[]; description: string } };
      const { workflowIds } = (await as(key, 'POST', `/v1/providers/${provider.toUpperCase()}/verify`))
        .body as unknown as { workflowIds: string[] };
      return {
        parts: verification.parts.map(({ id }) => id),
        findings: verification.findings.length,
        description: verification.description,
        workflows: workflowIds.length,
      };
    };
    expect(await seen([])).toEqual({ parts: [provider], findings: 0, description: 'All', workflows: 1 });
    expect(await seen([`storage:read:${storage}`])).toEqual({
      parts: [provider, storage],
      findings: 1,
      description: 'All',
      workflows: 2,
    });
    expect(await seen(['storage:read', 'compute:read', 'flows:read'])).toMatchObject({
      parts: [provider, storage, mine.compute],
      description: expect.stringContaining('of the compute') as string,
    });
  });
  it('does not learn the names of hidden resources from conflicts', async () => {
    const shared = (
      await as(ROOT, 'POST', '/v1/storage-connections', {
        name: unique('beside'),
        providerId: mine.providers,
        region: 'us-west-2',
        bucket: unique('shared'),
        prefix: 'runs',
        useForRunUpload: true,
        useForDataExploration: true,
      })
    ).body as unknown as { storageConnection: { id: string; name: string }; details: { bucket: string } };
    const own = (
      await as(ROOT, 'POST', '/v1/storage-connections', {
        name: unique('own'),
        providerId: mine.providers,
        region: 'us-west-2',
        bucket: shared.details.bucket,
        prefix: 'runs/own',
        useForRunUpload: false,
        useForDataExploration: true,
      })
    ).body.storageConnection.id;
    const key = await keyFor([`storage:*:${own}`]);
    const overlaps = await as(key, 'PATCH', `/v1/storage-connections/${own}`, { useForRunUpload: true });
    expect([overlaps.status, overlaps.reason]).toEqual([409, 'PREFIX_OVERLAPS']);
    for (const told of [shared.storageConnection.id, shared.storageConnection.name, `${shared.details.bucket}/runs/ `])
      expect(JSON.stringify(overlaps.body)).not.toContain(told);
    expect(
      (await as(ROOT, 'PATCH', `/v1/storage-connections/${own}`, { useForRunUpload: true })).body.details[0]!.metadata
        .storageConnectionId,
    ).toBe(shared.storageConnection.id);
    const principal = 'arn:aws:iam::444455556666:root';
    const grant = await insertGrant(
      db,
      {
        storageConnectionId: shared.storageConnection.id,
        bucket: shared.details.bucket,
        partition: 'aws',
        principal,
        prefix: 'own/',
        folder: 'runs/own/',
        description: '',
        expires: null,
      },
      { by: { kind: 'root', id: 'default', name: 'default' }, requestId: 'x' },
    );
    const again = (by: string) =>
      as(by, 'POST', `/v1/storage-connections/${own}/access-grants`, { principal, prefix: '' });
    const [told, toldAll] = [await again(key), await again(ROOT)];
    expect([told.reason, toldAll.body.details[0]!.metadata]).toEqual([
      'ALREADY_GRANTED',
      expect.objectContaining({ accessGrantId: grant.id, storageConnectionId: shared.storageConnection.id }),
    ]);
    for (const hidden of [grant.id, shared.storageConnection.id])
      expect(JSON.stringify(told.body)).not.toContain(hidden);
    const usedBy = async (scopes: string[]): Promise<unknown> => {
      const { reason, body } = await as(await keyFor(scopes), 'DELETE', `/v1/compute-connections/${mine.compute}`);
      expect(reason).toBe('IN_USE');
      expect(body.message).toMatch(/in use by .*(that this key may not see|execution)/);
      return (body.details[0]!.metadata.usedBy as { kind: string }[]).map(({ kind }) => kind);
    };
    expect(await usedBy([`compute:*:${mine.compute}`])).toEqual([]);
    expect(await usedBy([`compute:*:${mine.compute}`, `flows:read:${mine.flows}`])).toEqual(['flow']);
    expect(await usedBy([`compute:*:${mine.compute}`, 'flows:read', `executions:read:${mine.executions}`])).toEqual([
      'flow',
      'execution',
    ]);
  });
  it('starts executions only with files of its run', async () => {
    const key = await keyFor(['executions:create', 'executions:read', 'flows:read', `runs:read:${mine.runs}`]);
    const { uri } = (
      (await as(key, 'GET', `/v1/runs/${mine.runs}`)).body as unknown as { run: { output: { uri: string } } }
    ).run.output;
    const start = (body: object, by = key) =>
      as(by, 'POST', '/v1/executions', { flowId: mine.flows, runId: mine.runs, ...body });
    const bucket = uri.slice(0, uri.indexOf('/', 's3://'.length) + 1);
    const foreign = `${bucket}runs/AV1/20260101_AV1_OTHER/RunManifest.csv`;
    for (const manifest of [
      foreign,
      `${uri.slice(0, -1)}-secret/RunManifest.csv`,
      `${uri}../20260101_AV1_OTHER/RunManifest.csv`,
      `${uri}./x`,
    ]) {
      expect([manifest, (await start({ manifest: { uri: manifest } })).body.details[0]!.metadata]).toMatchObject([
        manifest,
        { field: 'manifest.uri', rule: 'OUTSIDE_RUN' },
      ]);
    }
    for (const value of [
      foreign,
      foreign.replace('s3:', 'S3:'),
      [foreign],
      { deep: [{ er: foreign }] },
      `--manifest ${foreign}`,
      `${uri}a,${foreign}`,
      `${uri}a ${uri}../x`,
    ]) {
      expect([value, (await start({ parameters: { settings: value } })).body.details[0]!.metadata.rule]).toEqual([
        value,
        'OUTSIDE_RUN',
      ]);
    }
    expect(
      (
        await start({
          manifest: { uri: `${uri}Other manifest.csv` },
          parameters: { settings: `${uri}a b,${uri}c`, number: 5, none: null },
        })
      ).status,
    ).toBe(201);
    expect(
      (await start({ manifest: { uri: foreign } }, await keyFor(['executions:create', 'runs:read', 'flows:read'])))
        .status,
    ).toBe(201);
    const { id } = ((await start({})).body as unknown as { execution: Named }).execution;
    await db.updateTable('executions').set({ status: 'FAILED' }).where('id', '=', id).execute();
    expect(
      (await as(key, 'POST', `/v1/executions/${id}/relaunch`, { manifest: { uri: foreign } })).body.details[0]!.metadata
        .rule,
    ).toBe('OUTSIDE_RUN');
    expect((await as(key, 'POST', `/v1/executions/${id}/relaunch`, { manifest: null })).status).toBe(201);
  });
  it('starts and relaunches executions only for its runs', async () => {
    const key = await keyFor(['executions:create', 'executions:read', 'flows:read', `runs:read:${mine.runs}`]);
    expect((await as(key, 'POST', '/v1/executions', { flowId: mine.flows, runId: mine.runs })).status).toBe(201);
    expect(
      (await as(key, 'POST', '/v1/executions', { flowId: mine.flows, runId: other.runs })).body.details[0]!.metadata
        .rule,
    ).toBe('RUN_NOT_FOUND');
    expect(
      (await as(key, 'POST', '/v1/executions', { flowId: mine.flows, runFolderUri: 's3://bucket/runs/x' })).reason,
    ).toBe('INSUFFICIENT_SCOPE');
    expect((await as(key, 'POST', `/v1/executions/${other.executions}/relaunch`, {})).status).toBe(400);
    expect(
      (
        await as(await keyFor(['executions:create']), 'POST', '/v1/executions', {
          flowId: mine.flows,
          runId: mine.runs,
        })
      ).reason,
    ).toBe('INSUFFICIENT_SCOPE');
    const narrow = await keyFor(['executions:create', `executions:read:${mine.executions}`, 'runs:read', 'flows:read']);
    expect((await as(narrow, 'POST', `/v1/executions/${other.executions}/relaunch`, {})).status).toBe(404);
    expect((await as(narrow, 'POST', `/v1/executions/${mine.executions}/relaunch`, {})).reason).toBe(
      'EXECUTION_UNDER_WAY',
    );
  });
  it('gets 403 for every operation outside its scopes', async () => {
    const document = (
      await app.inject({ method: 'GET', url: '/openapi.json', headers: { 'x-api-key': ROOT } })
    ).json<OpenApi>();
    const { key } = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['instruments:read:none'] }))
      .body;
    // What every caller may do, and also those who are none.
    // /v1/changes needs the scope of each topic that the request names: executions-feed.test.ts tests that.
    const forAll = ['/v1/auth', '/v1/session', '/v1/session/sign-in-links', '/v1/installation', '/v1/changes'];
    let refused = 0;
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, { operationId, security }] of Object.entries(operations)) {
        if (!path.startsWith('/v1/') || forAll.includes(path) || path.startsWith('/v1/instruments')) continue;
        if (security !== undefined) {
          expect([operationId, security, path.startsWith('/v1/session')]).toEqual([operationId, [], true]);
          continue;
        }
        const { statusCode } = await app.inject({
          method: method.toUpperCase() as 'GET',
          url: path.replaceAll(/\{[^}]+\}/g, mine.runs!),
          headers: { 'x-api-key': key },
        });
        expect([operationId, statusCode]).toEqual([operationId, 403]);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(45);
  });
});

describe('the API documentation', () => {
  const DOCS = ['/docs', '/docs/', '/docs/static/swagger-ui.css', '/docs/json', '/openapi.json'];
  const get = (on: FastifyInstance, url: string, headers: Record<string, string> = {}) => on.inject({ url, headers });

  it('is public by default, with security headers and without entries in the audit log', async () => {
    const entries = async () => (await db.selectFrom('audit_log').select('id').execute()).length;
    const before = await entries();
    for (const url of DOCS) {
      const { statusCode, headers } = await get(app, url);
      expect([url, statusCode < 400]).toEqual([url, true]);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'cache-control': expect.any(String) as string,
      });
    }
    expect((await app.inject({ method: 'HEAD', url: '/openapi.json' })).statusCode).toBe(200);
    expect((await get(app, '/docs/')).headers['content-security-policy']).toContain("default-src 'none'");
    expect(await entries()).toBe(before);
  });
  it('contains no key of the installation', async () => {
    for (const url of DOCS) {
      const { body } = await get(app, url);
      expect([body.includes(ROOT), body.includes(EVENTS), body.includes(postgres.url)]).toEqual([false, false, false]);
    }
    expect((await get(app, '/docs/')).body).not.toMatch(/(src|href)="https?:/);
  });
  it('makes no other path public', async () => {
    for (const url of [
      '/v1/runs',
      '/docs/nothing',
      '/docsx',
      '/openapi.jsonx',
      '/docs/../v1/runs',
      '/docs%2f..%2fv1/runs',
    ]) {
      expect([url, (await get(app, url)).statusCode]).toEqual([url, 401]);
    }
    expect((await app.inject({ method: 'POST', url: '/docs' })).statusCode).toBe(401);
  });
  it('counts towards the request limit of the client address', async () => {
    const limited = await build({ requestsPerMinute: 2 });
    try {
      const statuses = [];
      for (let request = 0; request < 3; request++) statuses.push((await get(limited, '/openapi.json')).statusCode);
      expect(statuses).toEqual([200, 200, 429]);
      expect((await get(limited, '/v1/auth', { 'x-api-key': ROOT })).statusCode).toBe(200);
    } finally {
      await limited.close();
    }
  });
  it('requires a key if the setting says so, and accepts it by HTTP Basic on these paths only', async () => {
    const closed = await build({ publicApiDocs: false });
    try {
      const basic = { authorization: `Basic ${Buffer.from(`anyone:${ROOT}`).toString('base64')}` };
      for (const url of DOCS) {
        for (const [headers, reason] of [
          [{}, 'MISSING_API_KEY'],
          [{ 'x-api-key': '' }, 'MISSING_API_KEY'],
          [{ 'x-api-key': `${ROOT}x` }, 'INVALID_API_KEY'],
        ] as const) {
          const response = await get(closed, url, headers);
          expect([url, response.statusCode, response.json<Body>().details?.[0]?.reason]).toEqual([url, 401, reason]);
          expect(response.headers['www-authenticate']).toMatch(/^Basic/);
        }
        expect([url, (await get(closed, url, basic)).statusCode < 400]).toEqual([url, true]);
        expect([url, (await get(closed, url, { 'x-api-key': ROOT })).statusCode < 400]).toEqual([url, true]);
      }
      const other = await get(closed, '/v1/providers', basic);
      expect([other.statusCode, other.headers['www-authenticate']]).toEqual([401, undefined]);
    } finally {
      await closed.close();
    }
  });
});

describe('API keys', () => {
  it('shows a key once and stores only its hash', async () => {
    const { status, body } = await as(ROOT, 'POST', '/v1/api-keys', {
      name: 'lims',
      scopes: ['runs:read', 'runs:read'],
      expiresInDays: 90,
    });
    expect([status, body.apiKey.scopes, body.apiKey.state, body.apiKey.createdBy, body.apiKey.timeLastUsed]).toEqual([
      201,
      ['runs:read'],
      'active',
      'default',
      null,
    ]);
    expect(Date.parse(body.apiKey.timeExpires) - Date.now()).toBeGreaterThan(89.9 * 86_400_000);
    expect(body.key).toMatch(/^polony_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$/);
    const shown = await as(ROOT, 'GET', `/v1/api-keys/${body.apiKey.id}`);
    expect(JSON.stringify([shown.body, (await as(ROOT, 'GET', '/v1/api-keys')).body])).not.toContain(
      body.key.slice(-43),
    );
    const { rows } = await sql<{ all: string }>`
      select string_agg(k::text, '')
        || (select string_agg(a::text, '') from audit_log a)
        || (select string_agg(o::text, '') from audit_outcomes o) as all
      from api_keys k
    `.execute(db);
    expect(rows[0]!.all).not.toContain(body.key.slice(-43));
    expect((await as(ROOT, 'POST', '/v1/api-keys', { name: 'lims', scopes: ['runs:read'] })).reason).toBe('NAME_TAKEN');
    await as(body.key, 'GET', '/v1/runs');
    expect((await as(ROOT, 'GET', `/v1/api-keys/${body.apiKey.id}`)).body.apiKey.timeLastUsed).not.toBeNull();
  });
  it('rejects keys that are revoked, deleted, expired, truncated or altered', async () => {
    const made = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:read'] })).body;
    const changed = [
      made.key.slice(0, -1),
      `${made.key}x`,
      made.key.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
      made.key.toUpperCase(),
      `polony_${newId().replaceAll('-', '')}_${'A'.repeat(43)}`,
      ` ${made.key}x`,
      'polony_',
    ];
    for (const key of changed) expect((await as(key, 'GET', '/v1/runs')).reason).toBe('INVALID_API_KEY');
    expect((await as(made.key, 'GET', '/v1/runs')).status).toBe(200);
    const revoked = (await as(ROOT, 'POST', `/v1/api-keys/${made.apiKey.id}/revoke`)).body.apiKey;
    expect([revoked.state, revoked.revokedBy]).toEqual(['revoked', 'default']);
    expect((await as(ROOT, 'POST', `/v1/api-keys/${made.apiKey.id}/revoke`)).body.apiKey).toEqual(revoked);
    expect((await as(made.key, 'GET', '/v1/runs')).reason).toBe('INVALID_API_KEY');
    const again = (await as(ROOT, 'POST', '/v1/api-keys', { name: made.apiKey.name, scopes: ['runs:read'] })).body;
    expect((await as(ROOT, 'DELETE', `/v1/api-keys/${again.apiKey.id}`)).status).toBe(204);
    expect((await as(again.key, 'GET', '/v1/runs')).reason).toBe('INVALID_API_KEY');
    expect((await as(ROOT, 'DELETE', `/v1/api-keys/${again.apiKey.id}`)).status).toBe(404);
    const old = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:read'] })).body;
    await db
      .updateTable('api_keys')
      .set({ time_expires: new Date(Date.now() - 1) })
      .where('id', '=', old.apiKey.id)
      .execute();
    expect((await as(old.key, 'GET', '/v1/runs')).reason).toBe('API_KEY_EXPIRED');
    expect((await as(ROOT, 'GET', `/v1/api-keys/${old.apiKey.id}`)).body.apiKey.state).toBe('expired');
    expect((await as(ROOT, 'POST', '/v1/api-keys', { name: old.apiKey.name, scopes: ['runs:read'] })).status).toBe(201);
  });
  it('lets a key create only keys with no wider scopes and no later expiry', async () => {
    const maker = await keyFor(['keys:write', 'runs:read', `storage:download:${mine.storage}/runs/`], ROOT, {
      expiresInDays: 2,
    });
    const { body } = await as(maker, 'POST', '/v1/api-keys', {
      name: unique('key'),
      scopes: ['runs:read', `runs:read:${mine.runs}`, `storage:download:${mine.storage}/runs/a/`],
      expiresInDays: 365,
    });
    expect(Date.parse(body.apiKey.timeExpires) - Date.now()).toBeLessThan(2.01 * 86_400_000);
    for (const scope of [
      '*',
      'runs:*',
      'runs:download',
      'keys:*',
      'keys:read',
      `storage:download:${mine.storage}`,
      `storage:download:${mine.storage}/runs-secret/`,
      `storage:download:${other.storage}/runs/`,
      `storage:*:${mine.storage}/runs/`,
    ]) {
      expect([
        scope,
        (await as(maker, 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:read', scope] })).body
          .details?.[0]?.metadata.field,
      ]).toEqual([scope, 'scopes.1']);
    }
  });
  it('rejects bad fields and names the field', async () => {
    const wrong = (body: object) =>
      as(ROOT, 'POST', '/v1/api-keys', body).then(({ status, body: answer }) => [
        status,
        ...answer.details.map(({ metadata }) => metadata.field),
      ]);
    expect(await wrong({ name: 'x', scopes: [] })).toEqual([400, 'scopes']);
    expect(await wrong({ name: '', scopes: ['runs:read'] })).toEqual([400, 'name']);
    expect(await wrong({ name: 'x', scopes: ['runs:read', 'nothing', 'runs:'] })).toEqual([
      400,
      'scopes.1',
      'scopes.2',
    ]);
    for (const expiresInDays of [0, 366, 1.5])
      expect(await wrong({ name: 'x', scopes: ['runs:read'], expiresInDays })).toEqual([400, 'expiresInDays']);
  });
  it('can be rotated: the new key has the name and scopes, and the old one ends after a while or at once', async () => {
    const name = unique('rotated');
    const scopes = ['executions:create', `runs:read:${mine.runs}`];
    const first = (await as(ROOT, 'POST', '/v1/api-keys', { name, scopes, expiresInDays: 90 })).body;
    const rotate = (id: string, body?: object, by = ROOT) => as(by, 'POST', `/v1/api-keys/${id}/rotate`, body);
    const { status, body } = await rotate(first.apiKey.id);
    const { apiKey, replaced } = body as unknown as Record<'apiKey' | 'replaced', Body['apiKey']>;
    expect([status, apiKey.name, apiKey.scopes, apiKey.state]).toEqual([201, name, scopes, 'active']);
    expect(Date.parse(apiKey.timeExpires) - Date.now()).toBeGreaterThan(89.9 * 86_400_000);
    expect([replaced.id, replaced.state]).toEqual([first.apiKey.id, 'active']);
    expect(replaced.name).toBe(`${name} (replaced, ${first.apiKey.id.slice(-8)})`);
    expect(Math.abs(Date.parse(replaced.timeExpires) - Date.now() - 86_400_000)).toBeLessThan(60_000);
    for (const key of [first.key, body.key]) expect((await as(key, 'GET', '/v1/runs')).status).toBe(200);

    const again = (await rotate(apiKey.id, { graceHours: 0, expiresInDays: 7 })).body;
    expect((await as(body.key, 'GET', '/v1/runs')).reason).toBe('INVALID_API_KEY');
    expect((await as(again.key, 'GET', '/v1/runs')).status).toBe(200);
    expect([again.apiKey.name, again.apiKey.scopes]).toEqual([name, scopes]);
    expect(Date.parse(again.apiKey.timeExpires) - Date.now()).toBeLessThan(7.01 * 86_400_000);
    expect((await rotate(apiKey.id)).reason).toBe('API_KEY_REVOKED');
    expect((await rotate(newId())).status).toBe(404);
    expect((await rotate(again.apiKey.id, { graceHours: 721 })).status).toBe(400);
    // An end that comes sooner stays.
    const short = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes, expiresInDays: 1 })).body;
    const kept = (await rotate(short.apiKey.id, { graceHours: 720 })).body as unknown as Record<
      'replaced',
      Body['apiKey']
    >;
    expect(kept.replaced.timeExpires).toBe(short.apiKey.timeExpires);
  });
  it('says that a rotation gains no time where the caller itself expires sooner', async () => {
    const days = 86_400_000;
    const own = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('own'), scopes: ['keys:*'], expiresInDays: 3 }))
      .body;
    const rotate = async (id: string, by: string, body: object) => {
      const answer = await as(by, 'POST', `/v1/api-keys/${id}/rotate`, body);
      expect(answer.status).toBe(201);
      return answer.body as unknown as Record<'apiKey' | 'replaced', Body['apiKey']> & {
        key: string;
        warnings: string[];
      };
    };
    const first = await rotate(own.apiKey.id, own.key, { expiresInDays: 30 });
    expect(first.apiKey.timeExpires).toBe(own.apiKey.timeExpires);
    expect(first.warnings).toEqual([expect.stringMatching(/replaces itself gains no time.* as a person/)]);
    expect(first.warnings[0]).toContain(own.apiKey.timeExpires);
    expect((await as(own.key, 'GET', '/v1/auth')).status).toBe(200);
    const other = await rotate(first.apiKey.id, first.key, { expiresInDays: 1 });
    expect(other.warnings).toEqual([]);
    expect(Date.parse(other.apiKey.timeExpires) - Date.now()).toBeLessThan(1.01 * days);
    const theirs = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['keys:read'] })).body;
    expect((await rotate(theirs.apiKey.id, other.key, {})).warnings).toEqual([
      expect.stringMatching(/not after 30 days.* Yours expires then/),
    ]);
    expect((await rotate(other.apiKey.id, ROOT, { expiresInDays: 365 })).warnings).toEqual([]);
  });
  it('cannot be rotated by a key that lacks one of its scopes', async () => {
    const { apiKey } = (await as(ROOT, 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:*'] })).body;
    const weak = await keyFor(['keys:write', 'runs:read']);
    const refused = await as(weak, 'POST', `/v1/api-keys/${apiKey.id}/rotate`);
    expect([refused.status, refused.body.details[0]!.metadata.rule]).toEqual([400, 'NOT_YOURS']);
    expect((await as(ROOT, 'GET', `/v1/api-keys/${apiKey.id}`)).body.apiKey).toEqual(apiKey);
  });
  it('gives the events key the scope for events only', async () => {
    expect((await as(EVENTS, 'GET', '/v1/runs')).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await as(EVENTS, 'GET', '/v1/auth')).body.scopes).toEqual(['events:write']);
  });
});

describe('the audit log', () => {
  const entriesOf = async (query: string): Promise<Entry[]> =>
    (await as(ROOT, 'GET', `/v1/audit-log?${query}`)).body.entries;
  it('records who did what to which resource, from where, and the result', async () => {
    const key = await keyFor(['flows:*']);
    const { id } = (
      await as(key, 'POST', '/v1/flows', {
        name: unique('audited'),
        computeConnectionId: mine.compute,
        sharedWorkflowId: '1234567',
        workflowOwnerId: '588258415937',
      })
    ).body.flow;
    await as(key, 'PATCH', `/v1/flows/${id}`, { parameters: { secretive: 'value' } });
    // The id in upper case names the same flow.
    await as(key, 'DELETE', `/v1/flows/${id.toUpperCase()}`);
    await as(key, 'DELETE', `/v1/flows/${id}`);
    await as(key, 'GET', `/v1/flows/${mine.flows}`);
    const entries = await entriesOf(`resourceId=${id}`);
    expect(entries.map(({ action, status, reason, detail }) => [action, status, reason, detail])).toEqual([
      ['FlowService_DeleteFlow', 404, 'FLOW_NOT_FOUND', null],
      ['FlowService_DeleteFlow', 204, null, null],
      ['FlowService_UpdateFlow', 200, null, { fields: ['parameters'] }],
      [
        'FlowService_CreateFlow',
        201,
        null,
        { fields: ['name', 'computeConnectionId', 'sharedWorkflowId', 'workflowOwnerId'] },
      ],
    ]);
    expect(entries[0]).toMatchObject({
      resourceType: 'flows',
      requestId: 'request-of-a-test',
      address: '127.0.0.1',
      caller: { kind: 'key' },
    });
    expect(await entriesOf(`callerId=${entries[0]!.caller.id}&action=FlowService_UpdateFlow`)).toHaveLength(1);
    expect(await entriesOf(`resourceId=${id.toUpperCase()}`)).toEqual(entries);
    expect(await entriesOf(`resourceId=${id}&until=2020-01-01T00:00:00Z`)).toEqual([]);
  });
  it('truncates the address that a proxy reports', async () => {
    const proxied = await build({ trustProxy: true });
    await as(ROOT, 'POST', `/v1/flows/${mine.flows}/verify`, undefined, {
      on: proxied,
      headers: { 'x-api-key': ROOT, 'x-request-id': 'request-with-address', 'x-forwarded-for': 'x'.repeat(20_000) },
    });
    expect((await entriesOf('requestId=request-with-address')).map(({ address }) => address)).toEqual([
      'x'.repeat(500),
    ]);
    await proxied.close();
  });
  it('truncates the field names of a rejected body', async () => {
    expect(
      (
        await as(
          ROOT,
          'POST',
          '/v1/flows',
          { ['x'.repeat(100_000)]: 1 },
          { headers: { 'x-api-key': ROOT, 'x-request-id': 'request-with-long-names' } },
        )
      ).status,
    ).toBe(400);
    expect((await entriesOf('requestId=request-with-long-names'))[0]!.detail).toEqual({ fields: ['x'.repeat(100)] });
  });
  it('has no entries for requests that change nothing', async () => {
    await as(EVENTS, 'POST', '/v1/events', { source: 'aws.s3' });
    await as(ROOT, 'POST', '/v1/iam-documents/check', { policy: { Version: '2012-10-17', Statement: [] } });
    for (const action of ['EventService_TakeEvent', 'IamDocumentService_CheckPolicy'])
      expect((await entriesOf(`action=${action}`)).filter(({ reason }) => reason !== 'INSUFFICIENT_SCOPE')).toEqual([]);
  });
  it('records denied requests', async () => {
    const key = await keyFor([`runs:read:${mine.runs}`]);
    await as(key, 'GET', `/v1/runs/${other.runs}`);
    await as(key, 'DELETE', `/v1/flows/${mine.flows}`);
    const { id } = (await as(ROOT, 'GET', '/v1/api-keys?pageSize=1000')).body.apiKeys.at(-1)!;
    expect(
      (await entriesOf(`callerId=${id}`)).map(({ action, status, reason, resourceId }) => [
        action,
        status,
        reason,
        resourceId,
      ]),
    ).toEqual([
      ['FlowService_DeleteFlow', 403, 'INSUFFICIENT_SCOPE', mine.flows],
      ['RunService_GetRun', 404, 'INSUFFICIENT_SCOPE', other.runs],
    ]);
  });
  it('uses its indexes to search for a resource', async () => {
    await db.transaction().execute(async (transaction) => {
      await sql`set local enable_seqscan = off`.execute(transaction);
      const { sql: text, parameters } = auditQuery(transaction, { resourceId: mine.flows! }, { limit: 100 }).compile();
      const { rows } = await transaction.executeQuery<{ 'QUERY PLAN': string }>(
        CompiledQuery.raw(`explain ${text}`, [...parameters]),
      );
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      expect([
        plan.includes('audit_log_resource'),
        plan.includes('audit_outcomes_resource'),
        plan.includes('Seq Scan'),
      ]).toEqual([true, true, false]);
    });
  });
  it('rejects updates and deletions', async () => {
    for (const statement of [
      sql`update audit_log set caller_name = 'x'`,
      sql`delete from audit_log`,
      sql`truncate audit_log cascade`,
      sql`update audit_outcomes set status = 200`,
      sql`delete from audit_outcomes`,
      sql`truncate audit_outcomes`,
    ]) {
      await expect(statement.execute(db)).rejects.toThrow('permission denied');
      await expect(postgres.asOwner((owner) => statement.execute(owner))).rejects.toThrow('append-only');
    }
  });
  it('returns pages and rejects bad times', async () => {
    const first = (await as(ROOT, 'GET', '/v1/audit-log?pageSize=2')).body;
    const second = (await as(ROOT, 'GET', `/v1/audit-log?pageSize=2&pageToken=${first.nextPageToken}`)).body;
    expect(new Set([...first.entries, ...second.entries].map((entry) => JSON.stringify(entry))).size).toBe(4);
    expect((await as(ROOT, 'GET', '/v1/audit-log?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z')).status).toBe(
      400,
    );
    expect((await as(ROOT, 'GET', '/v1/audit-log?since=yesterday')).status).toBe(400);
    // RFC 3339 allows leap seconds, JavaScript does not.
    expect(
      (await as(ROOT, 'GET', '/v1/audit-log?since=2016-12-31T23:59:60Z&until=2016-12-31T23:59:60.5Z')).body.entries,
    ).toEqual([]);
    expect(
      (await as(ROOT, 'POST', `/v1/webhooks/${mine.webhooks}/replay`, { since: '2016-12-31T23:59:60Z' })).status,
    ).toBe(202);
  });
  it('exports what a search finds as CSV, without formulas', async () => {
    const exportOf = (query: string) =>
      app.inject({ url: `/v1/audit-log/export?${query}`, headers: { 'x-api-key': ROOT } });
    const id = newId();
    const caller = { kind: 'key', id, name: '=HYPERLINK("https://evil.example")' } as const;
    for (let at = 0; at < 401; at++)
      await appendAudit(
        db,
        { caller, action: 'Test_Export', requestId: `r${at}`, resourceId: `a,"b"\n${at}`, detail: { at } },
        { status: 200 },
      );
    const answer = await exportOf(`callerId=${id}`);
    expect([answer.statusCode, answer.headers['content-type'], answer.headers['content-disposition']]).toEqual([
      200,
      'text/csv; charset=utf-8; header=present',
      'attachment; filename="audit-log.csv"',
    ]);
    expect([answer.headers['x-polony-entries'], answer.headers['x-polony-more']]).toEqual(['401', 'false']);
    const rows = answer.body.split('\r\n');
    expect(rows).toHaveLength(403);
    const [header, newest] = rows;
    expect(header).toBe(
      'time,timeEnded,action,callerKind,callerId,callerName,address,resourceType,resourceId,status,reason,requestId,id,detail',
    );
    const escaped = `Test_Export,key,${id},"'=HYPERLINK(""https://evil.example"")",,,"a,""b""\n400",200,,r400,`;
    expect(newest).toContain(escaped);
    expect(newest).toMatch(/,"\{""at"":400\}"$/);
    // Newest first, each once.
    expect(rows.slice(1, 402).map((row) => /,r(\d+),/.exec(row)?.[1])).toEqual(
      Array.from({ length: 401 }, (_, at) => String(400 - at)),
    );
    expect((await exportOf(`callerId=${id}&requestId=r7`)).body.split('\r\n')).toHaveLength(3);
    expect((await exportOf('since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z')).statusCode).toBe(400);
    const key = await keyFor(['runs:read']);
    expect((await as(key, 'GET', '/v1/audit-log/export')).reason).toBe('INSUFFICIENT_SCOPE');
  });
  it('exports at most the newest entries, and says that there are more', async () => {
    const id = newId();
    const caller = { kind: 'key', id, name: 'many' } as const;
    for (let at = 0; at < 4; at++) await appendAudit(db, { caller, action: 'Test_Export', requestId: `r${at}` });
    const headers: Record<string, string> = {};
    const reply = { headers: (given: object) => Object.assign(headers, given) } as unknown as FastifyReply;
    const stream = await sendAuditExport(db, reply, { callerId: id }, 3);
    const text = (await stream.toArray()).join('');
    expect([headers['x-polony-entries'], headers['x-polony-more']]).toEqual(['3', 'true']);
    expect([...text.matchAll(/,(r\d),/g)].map(([, request]) => request)).toEqual(['r3', 'r2', 'r1']);
  });
  it('blocks a change that it cannot record', async () => {
    await postgres.asOwner((owner) => sql`alter table audit_log rename to audit_log_away`.execute(owner));
    try {
      expect((await as(ROOT, 'DELETE', `/v1/webhooks/${other.webhooks}`)).status).toBe(503);
      expect((await as(ROOT, 'GET', `/v1/webhooks/${other.webhooks}`)).status).toBe(200);
    } finally {
      await postgres.asOwner((owner) => sql`alter table audit_log_away rename to audit_log`.execute(owner));
    }
  });
});

describe('malformed HTTP', () => {
  it.each([
    ['GET / HTTP/9.9\r\n\r\n', 400, 'MALFORMED_REQUEST'],
    ['BREW /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'MALFORMED_REQUEST'],
    [`GET /v1/runs HTTP/1.1\r\nHost: x\r\nx-much: ${'a'.repeat(140_000)}\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
  ])('gets an error in the usual shape with a request id (%#)', async (text, status, reason) => {
    const own = await build();
    await own.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect((own.server.address() as AddressInfo).port, '127.0.0.1');
    let told = '';
    socket.on('data', (chunk) => (told += chunk.toString())).on('error', () => undefined);
    socket.write(text);
    await new Promise((resolve) => socket.on('close', resolve));
    const { code, details } = JSON.parse(told.slice(told.indexOf('\r\n\r\n'))) as {
      code: number;
      details: Body['details'];
    };
    expect([
      told.startsWith(`HTTP/1.1 ${status} `),
      code,
      details[0]!.reason,
      /^X-Request-ID: (.+)\r$/m.exec(told)?.[1],
    ]).toEqual([true, status, reason, details[0]!.metadata.request_id]);
    await own.close();
  });
});

describe('the request limit', () => {
  it('applies to each caller separately', async () => {
    const slow = await build({ requestsPerMinute: 3 });
    const key = await keyFor(['runs:read']);
    const on = { on: slow };
    for (let at = 0; at < 3; at++) expect((await as(key, 'GET', '/v1/runs', undefined, on)).status).toBe(200);
    const refused = await as(key, 'GET', '/v1/runs', undefined, on);
    expect([refused.status, refused.reason, Number(refused.headers['retry-after']) > 0]).toEqual([
      429,
      'RATE_LIMITED',
      true,
    ]);
    expect((await as(ROOT, 'GET', '/v1/runs', undefined, on)).status).toBe(200);
    for (let at = 0; at < 5; at++) expect((await slow.inject('/healthz')).statusCode).toBe(200);
    await slow.close();
  });
});

describe('a person with an OpenID Connect token', () => {
  let provider: Server;
  let issuer: string;
  let signing: CryptoKey;
  let foreign: CryptoKey;
  let asked = 0;
  let down = false;
  let gone = false;
  let keysPath = '/keys';
  let published: object[];
  let withOidc: FastifyInstance;
  const token = (
    claims: JWTPayload,
    {
      key = signing,
      kid = 'one',
      alg = 'ES256',
      audience = 'polony',
      from = issuer,
      expires = '5m',
      typ = undefined as string | undefined,
    } = {},
  ): Promise<string> =>
    new SignJWT({ sub: 'u-1', name: 'Rosalind', email: 'rosalind@example.org', ...claims })
      .setProtectedHeader({ alg, kid, ...(typ !== undefined && { typ }) })
      .setIssuer(from)
      .setAudience(audience)
      .setExpirationTime(expires)
      .setIssuedAt()
      .sign(key);
  const bearer = (text: string) => ({ on: withOidc, headers: { authorization: `Bearer ${text}` } });

  beforeAll(async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    signing = pair.privateKey;
    foreign = (await generateKeyPair('ES256')).privateKey;
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' };
    published = [jwk];
    provider = createServer((request, response) => {
      asked++;
      if (gone) return void request.socket.destroy();
      if (down || (request.url !== keysPath && request.url?.startsWith('/keys') === true))
        return void response.writeHead(503).end();
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify(request.url === keysPath ? { keys: published } : { issuer, jwks_uri: issuer + keysPath }),
      );
    });
    await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
    withOidc = await build({
      oidc: {
        issuer,
        audience: 'polony',
        scopesClaim: 'realm_access.roles',
        scopeMap: { analyst: ['runs:read', `executions:read:${mine.executions}`], admin: ['*'] },
      },
    });
  });
  afterAll(async () => {
    await withOidc?.close();
    provider?.close();
  });

  it('gets 503 while the identity provider is down, and access once it is back', async () => {
    down = true;
    expect((await as('', 'GET', '/v1/runs', undefined, bearer(await token({})))).reason).toBe(
      'IDENTITY_PROVIDER_UNAVAILABLE',
    );
    down = false;
    expect((await as('', 'GET', '/v1/auth', undefined, bearer(await token({})))).status).toBe(200);
  });
  it('needs a token for requests that lives a day at most', async () => {
    const statusOf = async (text: string): Promise<number> =>
      (await as('', 'GET', '/v1/auth', undefined, bearer(text))).status;
    for (const typ of [undefined, 'JWT', 'at+jwt', 'application/at+jwt'])
      expect([typ, await statusOf(await token({}, { typ }))]).toEqual([typ, 200]);
    for (const typ of ['logout+jwt', 'secevent+jwt', 'dpop+jwt', 'refresh'])
      expect([typ, await statusOf(await token({}, { typ }))]).toEqual([typ, 401]);
    // Keycloak says so in a claim.
    expect(await statusOf(await token({ typ: 'Bearer' }))).toBe(200);
    for (const typ of ['Refresh', 'Offline', 'Logout', 7])
      expect([typ, await statusOf(await token({ typ }))]).toEqual([typ, 401]);
    expect(await statusOf(await token({}, { expires: '24h' }))).toBe(200);
    expect(await statusOf(await token({}, { expires: '25h' }))).toBe(401);
  });
  it('cannot take a name that looks like the one of polony or its keys', async () => {
    const nameOf = async (claims: JWTPayload): Promise<string> => {
      const admin = bearer(await token({ email: '', realm_access: { roles: ['admin'] }, ...claims }));
      const { body } = await as('', 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:read'] }, admin);
      return body.apiKey.createdBy;
    };
    expect(await nameOf({ name: 'default' })).toBe('person:u-1');
    expect(await nameOf({ name: 'de\u200bfault', preferred_username: 'rosalind' })).toBe('rosalind');
    for (const name of ['Polony', 'not authenticated', 'Rosаlind', 'anonymous'])
      expect([name, await nameOf({ name, preferred_username: 'rosalind' })]).toEqual([name, 'rosalind']);
    expect(await nameOf({ name: 'Розалинда' })).toBe('Розалинда');
  });
  it('has the scopes that the claim maps to, and is named in the audit log', async () => {
    const analyst = bearer(await token({ realm_access: { roles: ['analyst', 'unknown', '__proto__'] } }));
    expect((await as('', 'GET', '/v1/auth', undefined, analyst)).body.scopes).toEqual([
      'runs:read',
      `executions:read:${mine.executions}`,
    ]);
    expect(listed((await as('', 'GET', '/v1/executions', undefined, analyst)).body)).toEqual([mine.executions]);
    expect((await as('', 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:read'] }, analyst)).reason).toBe(
      'INSUFFICIENT_SCOPE',
    );
    const admin = bearer(await token({ realm_access: { roles: ['admin'] } }));
    const { apiKey } = (await as('', 'POST', '/v1/api-keys', { name: unique('key'), scopes: ['runs:read'] }, admin))
      .body;
    expect(apiKey.createdBy).toBe('Rosalind');
    expect((await as(ROOT, 'GET', `/v1/audit-log?resourceId=${apiKey.id}`)).body.entries[0]!.caller).toEqual({
      kind: 'person',
      id: 'person:u-1',
      name: 'Rosalind',
    });
    expect((await as('', 'GET', '/v1/auth', undefined, bearer(await token({})))).body.scopes).toEqual([]);
  });
  it('is rejected with a token that is forged, expired or meant for others', async () => {
    const claims = { realm_access: { roles: ['admin'] } };
    const none = (text: string): string =>
      `${Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url')}.${text.split('.')[1]!}.`;
    const good = await token(claims);
    const shared = await new SignJWT({ sub: 'u-1', ...claims })
      .setProtectedHeader({ alg: 'HS256', kid: 'one' })
      .setIssuer(issuer)
      .setAudience('polony')
      .setExpirationTime('5m')
      .sign(Buffer.alloc(32, 1));
    for (const bad of [
      await token(claims, { key: foreign }),
      await token(claims, { audience: 'another' }),
      await token(claims, { from: 'https://evil.example' }),
      await token(claims, { expires: '-5m' }),
      none(good),
      shared,
      good.slice(0, -5),
      'x.y.z',
      'x',
    ]) {
      const refused = await as('', 'GET', '/v1/runs', undefined, bearer(bad));
      expect([refused.status, refused.reason, refused.headers['www-authenticate']]).toEqual([
        401,
        'INVALID_TOKEN',
        'Bearer',
      ]);
    }
    expect((await as('', 'GET', '/v1/runs', undefined, { headers: { authorization: `Bearer ${good}` } })).reason).toBe(
      'MISSING_API_KEY',
    );
  });
  it('needs a valid subject, and never gets the stored answers of another subject', async () => {
    const admin = { realm_access: { roles: ['admin'] } };
    for (const sub of ['', ' ', 'nul\0', 'x'.repeat(256), 'ü', 5, ['u-1'], { u: 1 }]) {
      const refused = await as('', 'GET', '/v1/auth', undefined, bearer(await token({ ...admin, sub } as JWTPayload)));
      expect([sub, refused.status, refused.reason]).toEqual([sub, 401, 'INVALID_TOKEN']);
    }
    const post = async (sub: string, key: string) => {
      const { on, headers } = bearer(await token({ ...admin, sub, name: 'Rosa\0lind' }));
      return as(
        '',
        'POST',
        '/v1/flows',
        {
          name: 'the same for all',
          computeConnectionId: mine.compute,
          sharedWorkflowId: '1234567',
          workflowOwnerId: '588258415937',
        },
        { on, headers: { ...headers, 'idempotency-key': key } },
      );
    };
    expect((await post('a/b', 'c')).status).toBe(201);
    expect((await post('a/b', 'c')).headers['idempotency-replayed']).toBe('true');
    expect((await post('a', 'b/c')).reason).toBe('NAME_TAKEN');
  });
  it('keeps access by known keys while the provider is down, and after its keys moved', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const auth = async (text: Promise<string>) =>
      (await as('', 'GET', '/v1/auth', undefined, bearer(await text))).status;
    expect(await auth(token({}))).toBe(200);
    try {
      gone = true;
      // jose fetches keys again after half a minute at the earliest, and caches them for ten minutes.
      vi.setSystemTime(Date.now() + 60_000);
      expect([await auth(token({}, { kid: 'unknown', key: foreign })), await auth(token({}))]).toEqual([503, 200]);
      gone = false;
      keysPath = '/keys-moved';
      vi.setSystemTime(Date.now() + 900_000);
      await waitFor('the API to find the keys', async () => (await auth(token({}))) === 200);
    } finally {
      gone = false;
      vi.useRealTimers();
    }
  });
  it('has access if the token does not say which of several keys signed it', async () => {
    const next = await generateKeyPair('ES256', { extractable: true });
    published.push({ ...(await exportJWK(next.publicKey)), kid: 'two', alg: 'ES256', use: 'sig' });
    const fresh = await build({ oidc: { issuer, audience: 'polony', scopesClaim: 'scope' } });
    const auth = async (key: CryptoKey): Promise<number> => {
      const text = await new SignJWT({ sub: 'u-1' })
        .setProtectedHeader({ alg: 'ES256' })
        .setIssuer(issuer)
        .setAudience('polony')
        .setExpirationTime('5m')
        .sign(key);
      return (await as('', 'GET', '/v1/auth', undefined, { on: fresh, headers: { authorization: `Bearer ${text}` } }))
        .status;
    };
    expect([await auth(signing), await auth(next.privateKey), await auth(foreign)]).toEqual([200, 200, 401]);
    await fresh.close();
  });
  it('does not cause a request to the provider for each call', async () => {
    const before = asked;
    for (let at = 0; at < 10; at++) await as('', 'GET', '/v1/auth', undefined, bearer(await token({})));
    expect(asked).toBe(before);
  });
});
