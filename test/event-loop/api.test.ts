/** @module-tag long */
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { createExecution } from '../../store/executions/create.js';
import { updateExecution } from '../../store/executions/update.js';
import { insertGrant } from '../../store/grants/request.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { updateRun } from '../../store/runs/update.js';
import { createLocalKey } from '../../encryption/keys.js';
import { Secrets } from '../../store/secrets.js';
import { type ClientRequest, LoopMeter, measureSlowness, ThreadClient } from '../eventLoop.js';
import { LargestValue, type Schema, SHAPES, textOf } from '../largestBodies.js';
import type { OpenApi } from '../openapi.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { stubOrchestrator } from '../stubOrchestrator.js';

const ROOT = 'root-key-0123456789-abcdefgh';
/** How long a request may keep other requests waiting, in milliseconds. */
const MOST_MS = 50;
/** Largest bodies: without and with a run manifest, in bytes. */
const BODY_BYTES = 256 * 1024;
const MANIFEST_BYTES = 2 * 1024 * 1024;
/** The longest address that the API reads, in bytes, with room for headers. */
const URL_BYTES = 120_000;
/** Items in every list. */
const ITEMS = 1000;

let postgres: TestPostgres;
let app: FastifyInstance;
let document: OpenApi;
let client: ThreadClient;
let meter: LoopMeter;
const ids: Record<string, string> = {};

beforeAll(async () => {
  postgres = await startTestPostgres();
  const { db } = postgres;
  const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);
  app = await buildApp({
    db,
    databaseUrl: postgres.url,
    secrets,
    aws: new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) }),
    orchestrator: stubOrchestrator,
    apiKey: ROOT,
    errorDomain: 'polony',
    trustedAccountId: '111122223333',
    publicUrl: 'https://polony.example.org',
    trustProxy: ['loopback', '10.0.0.0/8'],
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  client = new ThreadClient(url);
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: await client.awsUrl,
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
  });
  document = (await app.inject({ url: '/openapi.json' })).json<OpenApi>();
  await seed();
  meter = new LoopMeter();
});
afterAll(async () => {
  meter?.close();
  await client?.close();
  await app?.close();
  await postgres?.stop();
});

async function create(kind: string, url: string, payload: object): Promise<void> {
  const response = await app.inject({ method: 'POST', url, headers: { 'x-api-key': ROOT }, payload });
  expect([url, response.statusCode, response.body.slice(0, 300)]).toEqual([url, 201, expect.anything()]);
  ids[kind] = (Object.values(response.json<object>())[0] as { id: string }).id;
}

/** One large resource of each kind, and then a thousand copies of it. */
async function seed(): Promise<void> {
  const { db } = postgres;
  const long = textOf(['é', 'e'], 120);
  await create('providers', '/v1/providers', {
    name: long,
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: 'arn:aws:iam::111122223333:role/lab',
    externalId: 'lab-7f3a',
  });
  await create('storage-connections', '/v1/storage-connections', {
    name: long,
    providerId: ids.providers,
    region: 'us-west-2',
    bucket: 'lab',
    prefix: `runs/${'p'.repeat(400)}`,
    useForRunUpload: true,
    useForDataExploration: true,
  });
  await create('compute-connections', '/v1/compute-connections', {
    name: long,
    providerId: ids.providers,
    executionRoleArn: 'arn:aws:iam::111122223333:role/omics',
    region: 'us-west-2',
  });
  const parameters = Object.fromEntries(Array.from({ length: 90 }, (_, at) => [`p${at}`, 'v'.repeat(500)]));
  await create('flows', '/v1/flows', {
    name: long,
    computeConnectionId: ids['compute-connections'],
    sharedWorkflowId: '1234567',
    workflowOwnerId: '588258415937',
    parameters,
    autoStart: { storageConnectionIds: [ids['storage-connections']], runNames: Array(100).fill('n'.repeat(200)) },
  });
  await create('webhooks', '/v1/webhooks', {
    url: `https://8.8.8.8/${'h'.repeat(1900)}`,
    description: 'd'.repeat(900),
  });
  await create('api-keys', '/v1/api-keys', {
    name: long,
    scopes: Array.from({ length: 200 }, () => `storage:download:${ids['storage-connections']!}/${'s'.repeat(500)}/`),
  });
  const folder = '20260101_AV1_R';
  const found = await insertRuns(db, ids['storage-connections']!, 'AV1', 'AV1', [{ folder, runName: folder }]);
  ids.runs = found.get(folder)!.id;
  await updateRun(db, ids.runs, {
    uploadState: 'complete',
    outcome: 'completed',
    hasManifest: true,
    description: 'd'.repeat(500),
    parameters: parseRunParameters(
      JSON.stringify({
        RunName: 'r',
        InstrumentName: 'AV1',
        RunDescription: 'd'.repeat(1000),
        Cycles: { R1: 150, R2: 150, I1: 8, I2: 8 },
        Tiles: Array.from({ length: 800 }, (_, at) => `L1R${at}C01S1`),
      }),
    ),
  });
  ids.instruments = 'AV1';
  const storage = await db
    .selectFrom('storage_connections')
    .selectAll()
    .where('id', '=', ids['storage-connections']!)
    .executeTakeFirstOrThrow();
  ids.executions = (
    await createExecution(db, {
      name: long,
      flow: { id: ids.flows!, name: long, computeConnectionId: ids['compute-connections']! },
      run: { id: ids.runs, name: folder, storageConnectionId: storage.id, uploadState: 'complete' },
      storage,
      trigger: 'api',
      startedBy: long,
      parameters,
    })
  ).id!;
  await updateExecution(db, ids.executions, {
    status: 'FAILED',
    statusDescription: 'd'.repeat(1000),
    healthOmics: { runId: '7', runOutputUri: `s3://lab/${storage.prefix}/polony-executions/e/7` },
  });
  await db
    .updateTable('executions')
    .set({
      files: JSON.stringify(Array.from({ length: 1000 }, (_, at) => ({ key: `${'k'.repeat(700)}${at}`, size: at }))),
      error_message: 'e'.repeat(5000),
    })
    .where('id', '=', ids.executions)
    .execute();
  ids['access-grants'] = (
    await insertGrant(
      db,
      {
        storageConnectionId: storage.id,
        bucket: 'lab',
        partition: 'aws',
        principal: `arn:aws:iam::444455556666:role/${'r'.repeat(500)}`,
        prefix: null,
        folder: null,
        description: 'd'.repeat(500),
        expires: null,
      },
      { by: { kind: 'root', id: 'default', name: 'default' }, requestId: 'x' },
    )
  ).id;
  for (const [table, unique] of Object.entries(COPIED)) await copyRows(table, unique);
}

/** Tables of lists, and the columns that must differ between rows, as SQL with `n` and the row `t`. */
const COPIED: Record<string, Record<string, string>> = {
  providers: { name: 't.name || n' },
  storage_connections: { name: 't.name || n', use_for_run_upload: 'false' },
  compute_connections: { name: 't.name || n' },
  flows: { name: 't.name || n' },
  webhooks: {},
  api_keys: { name: 't.name || n' },
  runs: { run_folder: 't.run_folder || n', instrument_name: "'AV' || n" },
  executions: {},
  access_grants: { principal: 't.principal || n' },
};

async function copyRows(table: string, unique: Record<string, string>): Promise<void> {
  const changes = Object.entries({ id: 'gen_random_uuid()', ...unique }).map(([name, value]) => `'${name}', ${value}`);
  await sql
    .raw(
      `insert into ${table} select (jsonb_populate_record(t, jsonb_build_object(${changes.join(', ')}))).* ` +
        `from ${table} t, generate_series(1, ${ITEMS}) n`,
    )
    .execute(postgres.db);
}

interface Case {
  name: string;
  request: ClientRequest;
}

/** Requests with large headers, which polony reads before it knows the caller. */
function* headerCases(): Generator<Case> {
  const shapes = [
    ...SHAPES,
    ['10.0.0.1,', '1'],
    ['::ffff:10.0.0.1,', '1'],
    ['a=a;', 'x'],
    ['bytes=0-1,', 'x'],
  ] as const;
  const names = ['x-forwarded-for', 'x-request-id', 'x-api-key', 'authorization', 'content-type', 'idempotency-key'];
  const more = ['last-event-id', 'if-none-match', 'range', 'accept', 'cookie', 'expect', 'forwarded'];
  for (const name of [...names, ...more])
    for (const shape of shapes) {
      const text = textOf(shape, URL_BYTES).replace(/[^\x20-\x7e]/g, '?');
      const start = { authorization: 'Bearer ', 'content-type': 'application/json; ' }[name] ?? '';
      const headers = { 'x-api-key': ROOT, [name]: `${start}${text}` };
      const at = { name: `${name} of ${JSON.stringify(shape[0])}` };
      yield { name: `GET /docs with ${at.name}`, request: { method: 'GET', path: '/docs/static/index.css', headers } };
      yield { name: `GET with ${at.name}`, request: { method: 'GET', path: '/v1/auth', headers } };
      const path = `/v1/executions/${ids.executions!}/events`;
      if (name === 'last-event-id') yield { name: `watch with ${at.name}`, request: { method: 'HEAD', path, headers } };
      const json = { 'content-type': 'application/json', ...headers };
      yield {
        name: `POST with ${at.name}`,
        request: { method: 'POST', path: '/v1/webhooks', headers: json, body: '{}' },
      };
    }
}

/** Every operation with its largest requests. */
function* cases(): Generator<Case> {
  const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ template, method, operation })),
  );
  // What deletes a resource comes last.
  const isLast = ({ operation }: (typeof operations)[number]): boolean =>
    /_(Delete|Revoke)/.test(operation.operationId);
  for (const { template, method, operation } of operations.sort((a, b) => Number(isLast(a)) - Number(isLast(b)))) {
    const path = template.replace(/\{([a-z_]+)\}/g, (_whole, name: string) => idFor(template, name));
    const at = { method: method.toUpperCase(), path, headers: { 'x-api-key': ROOT } };
    const json = { ...at.headers, 'content-type': 'application/json' };
    const { operationId } = operation;
    yield { name: `${operationId} as it is`, request: at };
    for (const [name, query] of queriesOf(operation))
      yield { name: `${operationId} ${name}`, request: { ...at, path: `${path}?${query}` } };
    const schema = operation.requestBody?.content['application/json']?.schema as Schema | undefined;
    if (schema === undefined) continue;
    for (const [name, body] of bodiesOf(operationId, schema))
      yield { name: `${operationId} ${name}`, request: { ...at, headers: json, body } };
  }
}

function idFor(template: string, parameter: string): string {
  if (parameter === 'grant_id') return ids['access-grants']!;
  return ids[template.split('/')[2]!] ?? 'none';
}

function* queriesOf(operation: OpenApi['paths'][string][string]): Generator<[string, string]> {
  const parameters = (operation.parameters ?? []).filter((each) => each.in === 'query');
  if (parameters.length === 0) return;
  const flags = parameters.flatMap(({ name, schema }) =>
    name === 'pageSize' ? ['pageSize=1000'] : schema.type === 'boolean' ? [`${name}=true`] : [],
  );
  yield ['with all flags', flags.join('&')];
  const many = 'a=&'.repeat(URL_BYTES / 4);
  yield ['with one parameter often', many];
  yield ['with many parameters', Array.from({ length: URL_BYTES / 8 }, (_, at) => `q${at}=`).join('&')];
  for (const { name, schema } of parameters.filter((each) => each.schema.type !== 'boolean')) {
    const most = Math.min((schema as Schema).maxLength ?? 4096, 4096);
    for (const shape of SHAPES) {
      const encoded = encodeURIComponent(textOf(shape, most));
      if (encoded.length <= URL_BYTES) yield [`${name} of ${JSON.stringify(shape[0])}`, `${name}=${encoded}`];
    }
    yield [`${name} too long`, `${name}=${'%20'.repeat(URL_BYTES / 3 - 100)}x`];
    yield [`${name} often`, `${name}=b&`.repeat(Math.floor(URL_BYTES / (name.length + 3)))];
  }
}

function* bodiesOf(operationId: string, schema: Schema): Generator<[string, string]> {
  const bytes = /ExecutionService_(Create|Relaunch)Execution/.test(operationId) ? MANIFEST_BYTES : BODY_BYTES;
  for (const shape of SHAPES) {
    // Some characters take several bytes, or six in JSON.
    for (const characters of [bytes * 0.9, bytes * 0.4, bytes * 0.14]) {
      const body = JSON.stringify(new LargestValue(document, shape, Math.floor(characters)).build(schema));
      if (Buffer.byteLength(body) > bytes) continue;
      yield [`of ${JSON.stringify(shape[0])}`, body];
      break;
    }
  }
  const names = Object.keys(schema.properties ?? { x: 1 });
  const numbers = (count: number): string => `[${'1,'.repeat(count)}1]`;
  for (const name of names) {
    yield [`with 5,900 numbers in ${name}`, `{"${name}":${numbers(5900)}}`];
    yield [`full of numbers in ${name}`, `{"${name}":${numbers(bytes / 2 - 100)}}`];
    yield [`deep in ${name}`, `{"${name}":${'['.repeat(bytes / 2 - 100)}${']'.repeat(bytes / 2 - 100)}}`];
    yield [`deep object in ${name}`, `{"${name}":${'{"a":'.repeat(bytes / 6 - 100)}1${'}'.repeat(bytes / 6 - 100)}}`];
  }
  const members = (count: number): string => `{${Array.from({ length: count }, (_, at) => `"${at}":1`).join(',')}}`;
  yield ['of 5,900 unknown fields', members(5900)];
  yield ['of too many unknown fields', members(Math.floor(bytes / 10))];
  yield ['of numbers', numbers(bytes / 2 - 100)];
  yield ['of brackets', '['.repeat(bytes - 100)];
  yield ['of quotes', '"'.repeat(bytes - 100)];
  yield ['of prototypes', `{${'"__proto__" '.repeat(bytes / 13)}`];
  yield ['too large', `"${'x'.repeat(bytes)}"`];
  yield* special(operationId);
}

/** Bodies that are hard for what an operation does with them. */
function* special(operationId: string): Generator<[string, string]> {
  if (operationId === 'IamDocumentService_CheckPolicy')
    for (const [name, policy] of policies()) yield [name, JSON.stringify({ policy })];
  if (operationId === 'ExecutionService_CreateExecution') {
    for (const [name, content] of manifests())
      yield [name, JSON.stringify({ flowId: ids.flows, runId: ids.runs, manifest: { content } })];
    for (const shape of SHAPES)
      yield [
        `with parameters of ${JSON.stringify(shape[0])}`,
        JSON.stringify({ flowId: ids.flows, runId: ids.runs, parameters: { settings: textOf(shape, 49_000) } }),
      ];
  }
  if (operationId === 'ExecutionService_RelaunchExecution')
    for (const [name, content] of manifests()) yield [name, JSON.stringify({ manifest: { content } })];
}

const list = <T>(count: number, each: (at: number) => T): T[] => Array.from({ length: count }, (_, at) => each(at));

function* policies(): Generator<[string, unknown]> {
  const statement = (more: object): object => ({ Effect: 'Allow', Action: 's3:*', ...more });
  const policy = (...Statement: object[]): object => ({ Version: '2012-10-17', Statement });
  const folders = (count: number): string[] => list(count, (at) => `arn:aws:s3:::bb${at}/r/*`);
  yield ['with many buckets', policy(statement({ Resource: list(400, (at) => `arn:aws:s3:::bb${at}`) }))];
  yield ['with many folders', policy(statement({ Resource: folders(380) }))];
  yield ['with many statements', policy(...folders(120).map((Resource) => statement({ Resource })))];
  yield [
    'with many wildcards',
    policy(statement({ Resource: [...folders(180), ...list(200, (at) => `arn:aws:s3:::*a${at}*`)] })),
  ];
  yield [
    'with many conditions',
    policy(
      statement({ Resource: folders(180), Condition: { StringLike: { 's3:prefix': list(250, (at) => `*a${at}*/`) } } }),
    ),
  ];
  yield ['with deep text', `{"Statement":${'['.repeat(30_000)}${']'.repeat(30_000)}}`];
}

function* manifests(): Generator<[string, string]> {
  const fill = (head: string, row: (at: number) => string): string => {
    const rows = [head];
    for (let at = 0, length = head.length; length < 990_000; at++) length += rows[rows.push(row(at)) - 1]!.length;
    return rows.join('');
  };
  const index = (at: number): string => list(8, (base) => 'ACGT'[(at >> (2 * base)) & 3]).join('');
  yield ['with many samples', fill('[Samples]\nSampleName,Index1\n', (at) => `S${at},${index(at)}\n`)];
  yield ['with many columns', fill(`[Samples]\nSampleName${',b'.repeat(1000)}\n`, () => 'a\n')];
  yield ['with many wrong indexes', fill('[Samples]\nSampleName,Index1\n', (at) => `S${at},x\n`)];
  yield [
    'with composite indexes',
    fill(
      '[Settings]\nSettingName,Value\nI1MismatchThreshold,99999\n[Samples]\nSampleName,Index1,Index2\n',
      (at) => `S${at},A,${list(200, (each) => index(at * 200 + each)).join('+')}\n`,
    ),
  ];
}

/** Sends requests one after the other. @returns those that block the event loop, and how many had each status */
async function findSlow(requests: Iterable<Case>): Promise<{ slow: string[]; statuses: Map<number, number> }> {
  const slow: string[] = [];
  const statuses = new Map<number, number>();
  for (const { name, request } of requests) {
    let best = { cpuMs: Infinity, delayMs: 0 };
    let most = MOST_MS;
    let status = 0;
    // A request is slow if it is slow every time: the first one compiles code, and any can meet a garbage collection.
    for (let attempt = 0; attempt < 4 && best.cpuMs > most; attempt++) {
      await meter.reset();
      const answer = await client.send(request);
      await new Promise((resolve) => setImmediate(resolve));
      const measured = meter.longest();
      if (measured.cpuMs < best.cpuMs) best = measured;
      ({ status } = answer);
      expect([name, status < 500 || status === 503 ? '' : answer.text]).toEqual([name, '']);
      if (best.cpuMs > most) most = Math.max(most, MOST_MS * measureSlowness(meter));
    }
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    if (best.cpuMs > most)
      slow.push(
        `${name} (${status}): ${best.cpuMs.toFixed()} of ${most.toFixed()} ms, delay ${best.delayMs.toFixed()} ms`,
      );
  }
  return { slow, statuses };
}

describe('the event loop of the API', () => {
  it(`is never blocked for more than ${MOST_MS} ms by the headers of a request`, async () => {
    const { slow, statuses } = await findSlow(headerCases());
    expect(slow).toEqual([]);
    for (const reached of [200, 400, 401]) expect([reached, statuses.get(reached) ?? 0]).not.toEqual([reached, 0]);
  }, 600_000);

  it(`is never blocked for more than ${MOST_MS} ms by a request, however large`, async () => {
    const { slow, statuses } = await findSlow(cases());
    expect(slow).toEqual([]);
    // The requests reached the operations.
    for (const reached of [200, 201, 400, 404, 413])
      expect([reached, statuses.get(reached) ?? 0]).not.toEqual([reached, 0]);
  }, 1_800_000);
});
