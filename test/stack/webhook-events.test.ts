import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { ApplicationFailure } from '@temporalio/common';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createWebhookActivities, type WebhookSettings } from '../../activities/webhooks/deliver.js';
import { DeliveryDispatcher, startPendingDeliveries, sweepDeliveries } from '../../activities/webhooks/dispatch.js';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import { WEBHOOK_RETRY_SECONDS, WEBHOOK_EVENTS } from '../../domain/webhooks/webhook.js';
import { type Db, newId } from '../../store/database.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { listenForWakes } from '../../store/events.js';
import { insertComputeConnection } from '../../store/connections/compute.js';
import { writeFlow } from '../../store/connections/flows.js';
import { insertProvider, recordProviderUse, updateProvider } from '../../store/connections/providers.js';
import { insertStorageConnection } from '../../store/connections/storage.js';
import { markDeleted } from '../../store/connections/uses.js';
import { beginNextAttempt } from '../../store/executions/attempts.js';
import { updateExecution } from '../../store/executions/update.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { reopenRun, updateRun } from '../../store/runs/update.js';
import { saveVerification } from '../../store/verification/reports.js';
import { WEBHOOKS_CHANNEL } from '../../store/webhooks/claims.js';
import type { DeliveryRow } from '../../store/webhooks/deliveries.js';
import { listSigningSecrets } from '../../store/webhooks/secrets.js';
import { createExecution } from '../../store/executions/create.js';
import { reencrypt } from '../../store/reencrypt.js';
import { createLocalKey } from '../../encryption/keys.js';
import { Secrets } from '../../store/secrets.js';
import { answerChecker, type OpenApi } from '../openapi.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';

// The events that the triggers write, the API for them, and a single delivery attempt, on a real PostgreSQL and with a
// real receiver, without Temporal.
const KEY = 'test-key-0123456789-abcdefgh';
const region = 'us-west-2';
let postgres: TestPostgres;
let db: Db;
let app: FastifyInstance;
let document: OpenApi;
let check: ReturnType<typeof answerChecker>;
const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);
const orchestrator = {
  verification: { verify: async () => undefined },
};

interface Received {
  path: string;
  headers: Record<string, string>;
  body: {
    type: string;
    timestamp: string;
    data: Record<string, unknown> & { sequence: number; links: Record<string, string> };
  };
  raw: string;
}
let receiver: http.Server;
let at: string;
const received: Received[] = [];
/** How the receiver answers a path. The default is 200. */
const answers = new Map<string, (response: http.ServerResponse) => void>();

interface ShownDelivery {
  id: string;
  eventId: string;
  eventType: string;
  sequence: number;
  state: string;
  attempts: number;
  replays: number;
  lastStatus: number | null;
  lastError: string | null;
  timeNext: string | null;
  timeEnded: string | null;
  data: Record<string, unknown>;
}
async function call<T>(
  method: string,
  url: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{
  status: number;
  headers: Record<string, unknown>;
  body: T & { details?: { reason: string; metadata: Record<string, string> }[] };
}> {
  const response = await app.inject({
    method,
    url,
    headers: { 'x-api-key': KEY, ...headers },
    ...(body !== undefined && { payload: body }),
  } as InjectOptions);
  const json = response.body === '' ? undefined : (JSON.parse(response.body) as T);
  expect(check(method, url, response.statusCode, json)).toEqual([]);
  return { status: response.statusCode, headers: response.headers, body: json as never };
}
interface Made {
  webhook: { id: string; url: string; enabled: boolean; disabledReason: string | null; eventTypes: string[] };
  secret: string;
}
async function webhook(fields: object = {}): Promise<Made> {
  const { status, body } = await call<Made>('POST', '/v1/webhooks', { url: `${at}/hook`, ...fields });
  expect(status, JSON.stringify(body)).toBe(201);
  return body;
}
const deliveries = async (id: string): Promise<ShownDelivery[]> =>
  (await call<{ deliveries: ShownDelivery[] }>('GET', `/v1/webhooks/${id}/deliveries`)).body.deliveries;
/** The events that are stored for a webhook, oldest first. */
const told = async (id: string): Promise<string[]> =>
  (
    await db
      .selectFrom('webhook_deliveries')
      .select('event_type')
      .where('webhook_id', '=', id)
      .orderBy('event_sequence')
      .execute()
  ).map((row) => row.event_type);
const rowsOf = async (id: string): Promise<DeliveryRow[]> =>
  db.selectFrom('webhook_deliveries').selectAll().where('webhook_id', '=', id).orderBy('event_sequence').execute();
const count = async (): Promise<number> =>
  Number(
    (
      await db
        .selectFrom('webhook_deliveries')
        .select((e) => e.fn.countAll<string>().as('count'))
        .executeTakeFirstOrThrow()
    ).count,
  );

let suffix = 0;
async function resources() {
  const of = `w${++suffix}`;
  const provider = newId();
  await insertProvider(db, provider, {
    name: `provider ${of}`,
    defaultRegion: region,
    credential: { type: 'role', roleArn: `arn:aws:iam::111122223333:role/${of}`, externalId: `external-${of}` },
  });
  const storage = await insertStorageConnection(db, {
    name: `storage ${of}`,
    providerId: provider,
    region,
    bucket: `lab-${of}`,
    prefix: 'runs',
    useForRunUpload: true,
    useForDataExploration: true,
    allowPolicyProbe: false,
  });
  const compute = await insertComputeConnection(db, {
    name: `compute ${of}`,
    providerId: provider,
    executionRoleArn: `arn:aws:iam::111122223333:role/omics-${of}`,
    region,
  });
  const flow = await writeFlow(db, {
    name: `flow ${of}`,
    computeConnectionId: compute.id,
    sharedWorkflowId: '1234567',
    workflowOwnerId: '444455556666',
    sharedWorkflowRegion: null,
    parameterNames: {},
    parameters: {},
    storageConnectionIds: [],
  });
  return { provider, storage, compute, flow };
}
async function run(storageConnectionId: string): Promise<string> {
  const folder = `20260115_AV240001_RUN${++suffix}`;
  return (
    await insertRuns(db, storageConnectionId, 'AV240001', 'AV240001', [{ folder, runName: folder.slice(18) }])
  ).get(folder)!.id;
}
async function execution(
  { flow, storage }: Awaited<ReturnType<typeof resources>>,
  runId: string,
  uploadState: 'uploading' | 'complete' = 'complete',
): Promise<string> {
  return (
    await createExecution(db, {
      flow: { id: flow.id, name: flow.name, computeConnectionId: flow.compute_connection_id },
      run: { id: runId, name: 'RUN', storageConnectionId: storage.id, uploadState },
      storage,
      trigger: 'api',
      startedBy: 'test',
    })
  ).id!;
}
const blocked = (action: string) => ({
  kind: 'ACCESS_DENIED',
  action,
  resource: 'arn:aws:omics:us-west-2:111122223333:run/*',
  message: 'AWS said: sample PATIENT-7 is not yours',
  remedy: 'Allow it',
});

const settings = (more: Partial<WebhookSettings> = {}): WebhookSettings => ({
  secrets,
  networks: { allowPrivate: true, allowedNetworks: [] },
  retrySeconds: WEBHOOK_RETRY_SECONDS,
  ...more,
});
const trying = (more: Partial<WebhookSettings> = {}) => {
  const activities = createWebhookActivities(db, settings(more));
  return (id: string, round: number) => activities.attemptDelivery(id, round);
};
/** Attempts each delivery of a webhook once. */
async function deliverAll(id: string, more: Partial<WebhookSettings> = {}): Promise<void> {
  const attempt = trying(more);
  for (const row of await rowsOf(id)) await attempt(row.id, row.round);
}

beforeAll(async () => {
  postgres = await startTestPostgres();
  db = postgres.db;
  app = await buildApp({
    db,
    databaseUrl: postgres.url,
    secrets,
    aws: new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) }),
    orchestrator: orchestrator as never,
    apiKey: KEY,
    errorDomain: 'polony',
    webhookNetworks: { allowPrivate: true, allowedNetworks: [] },
    resolve: async (host) => (host.startsWith('private') ? ['8.8.8.8', '169.254.169.254'] : ['8.8.8.8']),
  });
  document = JSON.parse(
    (await app.inject({ method: 'GET', url: '/openapi.json', headers: { 'x-api-key': KEY } })).body,
  ) as OpenApi;
  check = answerChecker(document);
  receiver = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const raw = Buffer.concat(parts).toString();
      const path = request.url!;
      received.push({
        path,
        headers: request.headers as Record<string, string>,
        raw,
        body: JSON.parse(raw) as Received['body'],
      });
      (answers.get(path) ?? ((each) => void each.writeHead(200).end()))(response);
    });
  });
  await new Promise<void>((done) => receiver.listen(0, '127.0.0.1', done));
  at = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
});
afterAll(async () => {
  receiver?.closeAllConnections();
  receiver?.close();
  await app?.close();
  await postgres?.stop();
});
beforeEach(async () => {
  received.splice(0);
  answers.clear();
  await db.deleteFrom('webhooks').execute();
  await db.deleteFrom('webhook_deliveries').execute();
});

describe('the event triggers', () => {
  it('write nothing if no webhook is enabled', async () => {
    const { webhook: off } = await webhook({ enabled: false });
    const all = await resources();
    const runId = await run(all.storage.id);
    const id = await execution(all, runId);
    await updateExecution(db, id, { status: 'RUNNING', blocked: blocked('omics:GetRun') });
    await updateRun(db, runId, { uploadState: 'complete' });
    expect(await count()).toBe(0);
    expect(await deliveries(off.id)).toEqual([]);
  });

  it('write each change of status and block of an execution once, in order', async () => {
    const began = Date.now();
    const { webhook: hook } = await webhook();
    const all = await resources();
    const runId = await run(all.storage.id);
    const id = await execution(all, runId, 'uploading');
    const change = (fields: Parameters<typeof updateExecution>[2]) => updateExecution(db, id, fields);
    await change({ status: 'INITIALIZED', statusDescription: 'Checking' });
    await change({ status: 'INITIALIZED', statusDescription: 'Still checking' });
    await change({ blocked: blocked('omics:GetWorkflow') });
    await change({ blocked: { ...blocked('omics:GetWorkflow'), message: 'AWS said it in other words' } });
    await change({ blocked: blocked('omics:StartRun') });
    await change({ blocked: null });
    await change({ status: 'PENDING', healthOmics: { runId: '1000001' } });
    await change({ status: 'RUNNING' });
    await change({ status: 'RUNNING' });
    await beginNextAttempt(db, id, 1, { failureReason: 'SERVICE_ERROR', description: 'once more' });
    await change({ status: 'PENDING', blocked: blocked('omics:GetRun') });
    await change({ status: 'FAILED', blocked: null, error: { type: 'BlockedTooLong', message: 'sample PATIENT-7' } });
    // The execution has ended, so nothing changes any more.
    await change({ status: 'RUNNING' });
    expect((await told(hook.id)).filter((type) => type.startsWith('execution.'))).toEqual([
      'execution.untriggered',
      'execution.initialized',
      'execution.blocked',
      'execution.blocked',
      'execution.unblocked',
      'execution.pending',
      'execution.running',
      'execution.initialized',
      'execution.pending',
      'execution.blocked',
      'execution.failed',
    ]);
    const rows = (await rowsOf(hook.id)).filter((row) => row.event_type.startsWith('execution.'));
    const sequences = rows.map((row) => Number(row.event_sequence));
    expect(sequences).toEqual([...sequences].sort((one, other) => one - other));
    expect(new Set(sequences).size).toBe(sequences.length);
    expect(rows.map((row) => row.event_data.attempt)).toEqual([1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    expect(rows.at(-1)!.event_data).toEqual({
      executionId: id,
      executionName: `${all.flow.name} RUN`,
      status: 'EXECUTION_STATUS_FAILED',
      trigger: 'api',
      attempt: 2,
      flowId: all.flow.id,
      flowName: all.flow.name,
      runId,
      runName: expect.stringMatching(/^RUN\d+$/) as string,
      instrumentName: 'AV240001',
      storageConnectionId: all.storage.id,
      computeConnectionId: all.compute.id,
      healthOmicsRunId: null,
      errorType: 'BlockedTooLong',
      blocked: null,
    });
    expect(rows[2]!.event_data.blocked).toEqual({
      kind: 'ACCESS_DENIED',
      action: 'omics:GetWorkflow',
      resource: 'arn:aws:omics:us-west-2:111122223333:run/*',
    });
    // Events contain neither texts of AWS nor content of files.
    expect(JSON.stringify(rows)).not.toMatch(/PATIENT|external-/);
    expect(rows.map((row) => row.id)).toEqual(
      rows.map((row) => row.id).sort((one, other) => one.slice(0, 13).localeCompare(other.slice(0, 13))),
    );
    expect(rows[0]!.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const time = Number.parseInt(rows[0]!.id.replace('-', '').slice(0, 12), 16);
    expect(time).toBeGreaterThan(began - 1000);
    expect(time).toBeLessThan(Date.now() + 1000);
  });

  it('write each change of an upload once: stalled, resumed, blocked, complete, failed, vanished', async () => {
    const { webhook: hook } = await webhook();
    const { storage } = await resources();
    const id = await run(storage.id);
    const progress = (stalled: boolean, objects = 1) => ({
      progress: { objects, bytes: 1, cycles: 1, expectedCycles: 2, timeGrown: '2026-01-15T00:00:00Z', stalled },
    });
    await updateRun(db, id, progress(false));
    await updateRun(db, id, progress(true));
    await updateRun(db, id, progress(true, 2));
    await updateRun(db, id, progress(false, 3));
    await updateRun(db, id, { blocked: blocked('s3:GetObject') });
    await updateRun(db, id, { blocked: null });
    await updateRun(db, id, progress(true, 4));
    await updateRun(db, id, { uploadState: 'refused', outcome: 'stopped' });
    await reopenRun(db, id);
    await updateRun(db, id, { uploadState: 'complete', outcome: 'completed', description: 'The run is complete' });
    const gone = await run(storage.id);
    await updateRun(db, gone, { uploadState: 'vanished' });
    expect((await told(hook.id)).filter((type) => type.startsWith('run.'))).toEqual([
      'run.uploading',
      'run.stalled',
      'run.resumed',
      'run.blocked',
      'run.unblocked',
      'run.stalled',
      'run.failed',
      'run.uploading',
      'run.uploaded',
      'run.uploading',
      'run.vanished',
    ]);
    const rows = (await rowsOf(hook.id)).filter((row) => row.event_data.runId === id);
    expect(rows.at(-1)!.event_data).toMatchObject({
      runId: id,
      instrumentName: 'AV240001',
      uploadState: 'complete',
      outcome: 'completed',
      stalled: false,
      blocked: null,
      storageConnectionId: storage.id,
    });
  });

  it('write changes of credentials and of the verification status, but not a new encryption of secrets', async () => {
    const { webhook: hook } = await webhook();
    const id = newId();
    const sealed = await secrets.seal('wJalrXUtnFEMI', `provider/${id}/secret-access-key`);
    const keys = (secret: typeof sealed, accessKeyId = 'AKIAIOSFODNN7EXAMPLE') => ({
      name: `keys ${id}`,
      defaultRegion: region,
      credential: { type: 'accessKeys' as const, accessKeyId, secret },
    });
    await insertProvider(db, id, keys(sealed));
    const report = {
      description: 'x',
      permissions: [],
      capabilities: [],
      findings: [],
      identity: null,
      sessionSeconds: null,
    };
    const verified = (kind: 'provider' | 'flow', resource: string, status: 'CONNECTED' | 'WARNING' | 'FAILED') =>
      saveVerification(db, {
        kind,
        id: resource,
        report: { ...report, status },
        started: new Date(),
        provider: { id, accountId: '111122223333', sessionSeconds: 3600 },
      });
    await verified('provider', id, 'FAILED');
    await verified('provider', id, 'FAILED');
    await verified('provider', id, 'CONNECTED');
    await recordProviderUse(db, id);
    await updateProvider(db, id, { ...keys(sealed), name: `renamed ${id}` }, false);
    await reencrypt(
      db,
      new Secrets([createLocalKey('new', Buffer.alloc(32, 8)), createLocalKey('test', Buffer.alloc(32, 7))]),
    );
    await updateProvider(db, id, keys(await secrets.seal('another', `provider/${id}/secret-access-key`)), true);
    await updateProvider(
      db,
      id,
      keys(await secrets.seal('another', `provider/${id}/secret-access-key`), 'AKIAIOSFODNN7EXAMPL2'),
      true,
    );
    await markDeleted(db, 'providers', id);
    expect(await told(hook.id)).toEqual([
      'provider.created',
      'provider.failed',
      'provider.connected',
      'provider.credentials_changed',
      'provider.credentials_changed',
      'provider.deleted',
    ]);
    const rows = await rowsOf(hook.id);
    expect(rows[1]!.event_data).toEqual({ providerId: id, name: `keys ${id}`, status: 'PROVIDER_STATUS_FAILED' });
    expect(JSON.stringify(rows)).not.toMatch(/AKIA|wJalr|sealed/);
    await db.deleteFrom('webhook_deliveries').execute();
    const all = await resources();
    await verified('flow', all.flow.id, 'WARNING');
    await updateProvider(
      db,
      all.provider,
      {
        name: `p ${all.provider}`,
        defaultRegion: region,
        credential: { type: 'role', roleArn: 'arn:aws:iam::111122223333:role/other', externalId: 'other' },
      },
      true,
    );
    await markDeleted(db, 'storage_connections', all.storage.id);
    expect(await told(hook.id)).toEqual([
      'provider.created',
      'storage_connection.created',
      'compute_connection.created',
      'flow.created',
      'flow.warning',
      'provider.credentials_changed',
      'storage_connection.deleted',
    ]);
  });

  it('write nothing for a rolled back transaction, and notify listeners only after the commit', async () => {
    const { webhook: hook } = await webhook({ eventTypes: ['execution.running', 'execution.completed'] });
    const all = await resources();
    const id = await execution(all, await run(all.storage.id));
    let heard = 0;
    const stop = listenForWakes(postgres.url, () => undefined, { [WEBHOOKS_CHANNEL]: () => void heard++ });
    try {
      await waitFor('the listener to hear a notification', async () => {
        await sql`select pg_notify(${WEBHOOKS_CHANNEL}, '')`.execute(db);
        return heard > 0;
      });
      await expect(
        db.transaction().execute(async (transaction) => {
          await updateExecution(transaction, id, { status: 'RUNNING' });
          expect(await transaction.selectFrom('webhook_deliveries').select('id').execute()).toHaveLength(1);
          throw new Error('the transaction is given up');
        }),
      ).rejects.toThrow('given up');
      expect(await count()).toBe(0);
      heard = 0;
      await db.transaction().execute((transaction) => updateExecution(transaction, id, { status: 'PENDING' }));
      // The webhook has not subscribed to this event.
      expect(await count()).toBe(0);
      await updateExecution(db, id, { status: 'RUNNING' });
      await waitFor('the listener to hear of the event', () => heard > 0);
      expect(await told(hook.id)).toEqual(['execution.running']);
    } finally {
      await stop();
    }
  });

  it('write an event with the same id for each webhook that subscribes to it', async () => {
    const [one, other] = [await webhook(), await webhook({ eventTypes: ['run.uploading'] })];
    const { webhook: not } = await webhook({ eventTypes: ['run.uploaded'] });
    const { storage } = await resources();
    await run(storage.id);
    const [first] = (await rowsOf(one.webhook.id)).filter((row) => row.event_type === 'run.uploading');
    expect((await rowsOf(other.webhook.id)).map((row) => [row.event_id, row.event_sequence])).toEqual([
      [first!.event_id, first!.event_sequence],
    ]);
    expect(await rowsOf(not.id)).toEqual([]);
    // The API knows the name of every event that the triggers write.
    expect((await told(one.webhook.id)).every((type) => WEBHOOK_EVENTS.includes(type))).toBe(true);
  });

  it('do not fail or wait if a webhook is deleted at the same time', async () => {
    const { webhook: hook } = await webhook();
    const all = await resources();
    const id = await execution(all, await run(all.storage.id));
    await db.transaction().execute(async (transaction) => {
      await updateExecution(transaction, id, { status: 'RUNNING' });
      expect((await call('DELETE', `/v1/webhooks/${hook.id}`)).status).toBe(204);
      await updateExecution(transaction, id, { status: 'PENDING' });
    });
    // The next attempt finds that its webhook no longer exists.
    const [left] = await rowsOf(hook.id);
    expect(left!.event_type).toBe('execution.running');
    expect(await trying()(left!.id, 1)).toMatchObject({ state: 'superseded' });
    expect(await rowsOf(hook.id)).toEqual([]);
  });
});

describe('a delivery', () => {
  it('has signatures by the new secret, and by the old secret for a day after a rotation', async () => {
    const { webhook: hook, secret } = await webhook();
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect((await call('POST', `/v1/webhooks/${hook.id}/test`)).status).toBe(202);
    await deliverAll(hook.id, { apiUrl: 'https://polony.example.org' });
    const [first] = received;
    const [delivery] = await deliveries(hook.id);
    expect(delivery).toMatchObject({
      eventType: 'webhook.test',
      state: 'delivered',
      attempts: 1,
      lastStatus: 200,
      lastError: null,
      timeNext: null,
    });
    expect(new Webhook(secret).verify(first!.raw, first!.headers)).toMatchObject({
      type: 'webhook.test',
      data: { webhookId: hook.id, links: { self: `https://polony.example.org/v1/webhooks/${hook.id}` } },
    });
    expect(first!.headers['webhook-id']).toBe(delivery!.eventId);
    const rotated = await call<Made>('POST', `/v1/webhooks/${hook.id}/rotate-secret`);
    expect(rotated.status).toBe(200);
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    await deliverAll(hook.id);
    const second = received.at(-1)!;
    for (const each of [secret, rotated.body.secret])
      expect(new Webhook(each).verify(second.raw, second.headers)).toBeDefined();
    expect(second.headers['webhook-signature']!.split(' ').map((each) => each.slice(0, 3))).toEqual(['v1,', 'v1,']);
    // A day later.
    await db
      .updateTable('webhook_secrets')
      .set({ time_expires: new Date(Date.now() - 1000) })
      .where('time_expires', 'is not', null)
      .execute();
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    await deliverAll(hook.id);
    const third = received.at(-1)!;
    expect(() => new Webhook(secret).verify(third.raw, third.headers)).toThrow();
    expect(new Webhook(rotated.body.secret).verify(third.raw, third.headers)).toBeDefined();
    // Further rotations would remove a secret that is still valid, so the API rejects them.
    for (let times = 0; times < 4; times++)
      expect((await call('POST', `/v1/webhooks/${hook.id}/rotate-secret`)).status).toBe(200);
    const refused = await call('POST', `/v1/webhooks/${hook.id}/rotate-secret`);
    expect([refused.status, refused.body.details![0]!.reason]).toEqual([409, 'TOO_MANY_SECRETS']);
  });

  it('uses secrets that are stored encrypted, bound to their row, and that reencrypt covers', async () => {
    const { webhook: hook, secret } = await webhook();
    const [row] = await listSigningSecrets(db, hook.id);
    expect(JSON.stringify(row)).not.toContain(secret.slice(6, 40));
    await expect(
      secrets.open({ keyId: row!.key_id, sealed: row!.sealed }, `webhook-secret/${newId()}/signing-secret`),
    ).rejects.toThrow('cannot be decrypted');
    const both = new Secrets([createLocalKey('new', Buffer.alloc(32, 8)), createLocalKey('test', Buffer.alloc(32, 7))]);
    expect(await reencrypt(db, both)).toBeGreaterThan(0);
    expect((await listSigningSecrets(db, hook.id))[0]!.key_id).toBe('new');
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    const [delivery] = await rowsOf(hook.id);
    // A worker without the key reports it, counts no attempt, and continues once it has the key.
    await expect(trying()(delivery!.id, 1)).rejects.toMatchObject({ type: 'SecretUnreadable', nonRetryable: false });
    expect((await deliveries(hook.id))[0]).toMatchObject({ state: 'pending', attempts: 0 });
    expect(await trying({ secrets: both })(delivery!.id, 1)).toMatchObject({ state: 'delivered' });
    expect(new Webhook(secret).verify(received.at(-1)!.raw, received.at(-1)!.headers)).toBeDefined();
  });

  it('is retried at growing intervals with the same id and body, then fails, and can be replayed', async () => {
    answers.set('/hook', (response) => void response.writeHead(500).end('database is down'));
    const { webhook: hook } = await webhook();
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    const [{ id }] = (await rowsOf(hook.id)) as [DeliveryRow];
    const attempt = trying();
    for (const [at, seconds] of WEBHOOK_RETRY_SECONDS.entries()) {
      const failure = (await attempt(id, 1).catch((error: unknown) => error)) as ApplicationFailure;
      expect(failure).toBeInstanceOf(ApplicationFailure);
      expect(failure).toMatchObject({
        type: 'NotDelivered',
        nonRetryable: false,
        nextRetryDelay: seconds * 1000,
        category: 'BENIGN',
      });
      expect(failure.message).toBe(`Attempt ${at + 1} of 10: HTTP 500: database is down`);
      expect((await deliveries(hook.id))[0]).toMatchObject({
        state: 'retrying',
        attempts: at + 1,
        lastStatus: 500,
        lastError: 'HTTP 500: database is down',
        timeEnded: null,
      });
    }
    expect(await attempt(id, 1)).toMatchObject({ state: 'failed' });
    expect((await deliveries(hook.id))[0]).toMatchObject({
      state: 'failed',
      attempts: 10,
      lastError: 'HTTP 500: database is down (gave up after 10 attempts)',
      timeNext: null,
    });
    expect(await attempt(id, 1)).toMatchObject({ state: 'failed' });
    expect(received).toHaveLength(10);
    expect(new Set(received.map(({ headers, raw }) => `${headers['webhook-id']} ${raw}`)).size).toBe(1);
    answers.clear();
    expect(
      (await call<{ replayed: number }>('POST', `/v1/webhooks/${hook.id}/replay`, { onlyFailed: true })).body,
    ).toEqual({ replayed: 1 });
    expect((await deliveries(hook.id))[0]).toMatchObject({ state: 'pending', attempts: 0, replays: 1 });
    // The old workflow finds that a new round has replaced it.
    expect(await attempt(id, 1)).toMatchObject({ state: 'superseded' });
    expect(await attempt(id, 2)).toMatchObject({ state: 'delivered' });
    expect(received.at(-1)!.headers['webhook-id']).toBe(received[0]!.headers['webhook-id']);
  });

  it('that is answered with 410 disables the webhook, and the rest fails until a replay', async () => {
    answers.set('/hook', (response) => void response.writeHead(410).end());
    const { webhook: hook } = await webhook();
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    const rows = await rowsOf(hook.id);
    expect(await trying()(rows[0]!.id, 1)).toMatchObject({ state: 'failed' });
    expect((await call<Made>('GET', `/v1/webhooks/${hook.id}`)).body.webhook).toMatchObject({
      enabled: false,
      disabledReason: 'The receiver answered 410 Gone',
    });
    expect(await trying()(rows[1]!.id, 1)).toMatchObject({
      state: 'failed',
      description: expect.stringContaining('switched off') as string,
    });
    expect(received).toHaveLength(1);
    for (const where of ['test', 'replay']) {
      const answer = await call(
        'POST',
        `/v1/webhooks/${hook.id}/${where}`,
        where === 'replay' ? { onlyFailed: true } : undefined,
      );
      expect([answer.status, answer.body.details![0]!.reason]).toEqual([409, 'WEBHOOK_DISABLED']);
    }
    const all = await resources();
    await execution(all, await run(all.storage.id));
    expect(await rowsOf(hook.id)).toHaveLength(2);
    answers.clear();
    expect((await call<Made>('PATCH', `/v1/webhooks/${hook.id}`, { enabled: true })).body.webhook).toMatchObject({
      enabled: true,
      disabledReason: null,
    });
    expect(
      (await call<{ replayed: number }>('POST', `/v1/webhooks/${hook.id}/replay`, { onlyFailed: true })).body.replayed,
    ).toBe(2);
    await deliverAll(hook.id);
    expect((await deliveries(hook.id)).map(({ state }) => state)).toEqual(['delivered', 'delivered']);
  });

  it('can be replayed by time, by id and while it waits', async () => {
    const { webhook: hook } = await webhook();
    const tests: ShownDelivery[] = [];
    for (let times = 0; times < 4; times++)
      tests.push((await call<{ delivery: ShownDelivery }>('POST', `/v1/webhooks/${hook.id}/test`)).body.delivery);
    const times = (await rowsOf(hook.id)).map((row) => row.time_event);
    await deliverAll(hook.id);
    const replay = async (body: object): Promise<number> =>
      (await call<{ replayed: number }>('POST', `/v1/webhooks/${hook.id}/replay`, body)).body.replayed;
    const { webhook: other } = await webhook();
    expect(await replay({ since: new Date(Date.now() + 60_000).toISOString() })).toBe(0);
    expect(await replay({ deliveryIds: ['nonsense', newId()] })).toBe(0);
    expect(
      (await call<{ replayed: number }>('POST', `/v1/webhooks/${other.id}/replay`, { deliveryIds: [tests[0]!.id] }))
        .body.replayed,
    ).toBe(0);
    expect(await replay({ since: times[0]!.toISOString(), onlyFailed: true })).toBe(0);
    expect(await replay({ deliveryIds: [tests[0]!.id, tests[2]!.id] })).toBe(2);
    // These two are already pending.
    expect(await replay({ since: '2020-01-01T00:00:00Z' })).toBe(2);
    await deliverAll(hook.id);
    expect(
      await replay({ since: '2020-01-01T00:00:00Z', until: new Date(times[0]!.getTime() - 1000).toISOString() }),
    ).toBe(0);
    answers.set('/hook', (response) => void response.writeHead(503).end());
    expect(await replay({ deliveryIds: [tests[3]!.id] })).toBe(1);
    await trying()(tests[3]!.id, 3).catch(() => undefined);
    expect((await deliveries(hook.id))[0]).toMatchObject({ id: tests[3]!.id, state: 'retrying' });
    expect(await replay({ deliveryIds: [tests[3]!.id] })).toBe(1);
    expect((await deliveries(hook.id))[0]).toMatchObject({ state: 'pending', replays: 3, attempts: 0 });
  });

  it('to a slow receiver uses only the slots of that webhook, and a wait for a slot counts no attempt', async () => {
    const waiting: http.ServerResponse[] = [];
    answers.set('/slow', (response) => void waiting.push(response));
    const [slow, quick] = [await webhook({ url: `${at}/slow` }), await webhook({ url: `${at}/quick` })];
    for (let times = 0; times < 8; times++) await call('POST', `/v1/webhooks/${slow.webhook.id}/test`);
    await call('POST', `/v1/webhooks/${quick.webhook.id}/test`);
    const attempt = trying();
    const rows = await rowsOf(slow.webhook.id);
    const first = rows.slice(0, 5).map((row) => attempt(row.id, 1));
    await waitFor('five deliveries to be under way', () => waiting.length === 5);
    const waits: number[] = [];
    for (const row of rows.slice(5)) {
      const failure = (await attempt(row.id, 1).catch((error: unknown) => error)) as ApplicationFailure;
      expect(failure).toMatchObject({ type: 'Busy', nonRetryable: false, category: 'BENIGN' });
      waits.push(failure.nextRetryDelay as number);
    }
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(500);
    // The other webhook receives its delivery meanwhile.
    const [other] = await rowsOf(quick.webhook.id);
    expect(await attempt(other!.id, 1)).toMatchObject({ state: 'delivered' });
    expect((await deliveries(slow.webhook.id)).filter(({ attempts }) => attempts === 0)).toHaveLength(3);
    for (const response of waiting) response.writeHead(200).end();
    expect((await Promise.all(first)).map(({ state }) => state)).toEqual(Array(5).fill('delivered'));
    answers.clear();
    for (const row of rows.slice(5)) expect(await attempt(row.id, 1)).toMatchObject({ state: 'delivered' });
  });

  it('never goes to a private address that the setting forbids now, even if it was allowed before', async () => {
    const { webhook: hook } = await webhook();
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    const [delivery] = await rowsOf(hook.id);
    await expect(
      trying({ networks: { allowPrivate: false, allowedNetworks: [] } })(delivery!.id, 1),
    ).rejects.toMatchObject({
      type: 'NotDelivered',
      message: expect.stringContaining('not an address of the public internet') as string,
    });
    expect(received).toHaveLength(0);
  });
});

describe('the dispatch of deliveries', () => {
  const started: string[] = [];
  const starter = {
    startDelivery: async ({ deliveryId, round }: { deliveryId: string; round: number }) =>
      void started.push(`${deliveryId}/${round}`),
  };
  beforeEach(() => void started.splice(0));

  it('starts each delivery once with two processes, and recovers from a process that dies', async () => {
    const { webhook: hook } = await webhook();
    await sql`
      select webhook_emit('webhook.test', jsonb_build_object('webhookId', ${hook.id}::text, 'number', number))
      from generate_series(1, 250) as number
    `.execute(db);
    const [one, other] = await Promise.all([startPendingDeliveries(db, starter), startPendingDeliveries(db, starter)]);
    expect(one + other).toBe(250);
    expect(new Set(started).size).toBe(250);
    expect(await startPendingDeliveries(db, starter)).toBe(0);
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    await expect(
      startPendingDeliveries(db, { startDelivery: async () => Promise.reject(new Error('Temporal is away')) }),
    ).rejects.toThrow('Temporal is away');
    // The claim is recent, so its process may still be alive.
    expect(await startPendingDeliveries(db, starter)).toBe(0);
    await db
      .updateTable('webhook_deliveries')
      .set({ time_handed: new Date(Date.now() - 31_000) })
      .where('handed_over', '=', false)
      .execute();
    await sweepDeliveries(db, starter);
    expect(started).toHaveLength(251);
  });

  it('starts a delivery again if it is replayed during its start', async () => {
    const { webhook: hook } = await webhook();
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    const replaying = {
      startDelivery: async (input: { deliveryId: string; round: number }) => {
        await starter.startDelivery(input);
        if (input.round > 1) return;
        await trying()(input.deliveryId, 1);
        expect(
          (await call('POST', `/v1/webhooks/${hook.id}/replay`, { deliveryIds: [input.deliveryId] })).body,
        ).toEqual({ replayed: 1 });
      },
    };
    expect(await startPendingDeliveries(db, replaying)).toBe(1);
    expect(await startPendingDeliveries(db, replaying)).toBe(1);
    expect(started.map((each) => each.slice(-2))).toEqual(['/1', '/2']);
  });

  it('happens after each notification, and survives an outage of Temporal', async () => {
    const { webhook: hook } = await webhook();
    const trouble: string[] = [];
    let away = true;
    const dispatcher = new DeliveryDispatcher(
      db,
      { startDelivery: async (input) => (away ? Promise.reject(new Error('away')) : starter.startDelivery(input)) },
      (message) => void trouble.push(message),
    );
    await call('POST', `/v1/webhooks/${hook.id}/test`);
    dispatcher.wake();
    await waitFor('the dispatcher to report the failure', () => trouble.length > 0);
    expect(trouble).toEqual(['away']);
    away = false;
    const { body } = await call<{ delivery: ShownDelivery }>('POST', `/v1/webhooks/${hook.id}/test`);
    for (let times = 0; times < 50; times++) dispatcher.wake();
    await waitFor('the dispatcher to start the second delivery', () => started.length > 0);
    await dispatcher.close();
    expect(started).toEqual([`${body.delivery.id}/1`]);
  });

  it('is repeated by the sweep for lost workflows, and the sweep deletes old deliveries', async () => {
    const { webhook: hook } = await webhook();
    for (let times = 0; times < 3; times++) await call('POST', `/v1/webhooks/${hook.id}/test`);
    await startPendingDeliveries(db, starter);
    const [lost, old, kept] = (await rowsOf(hook.id)).map((row) => row.id) as [string, string, string];
    const attempt = trying();
    await attempt(old, 1);
    await attempt(kept, 1);
    await db
      .updateTable('webhook_deliveries')
      .set({ time_handed: new Date(Date.now() - 11 * 60_000) })
      .where('id', '=', lost)
      .execute();
    await db
      .updateTable('webhook_deliveries')
      .set({ time_ended: new Date(Date.now() - 31 * 86_400_000) })
      .where('id', '=', old)
      .execute();
    started.splice(0);
    await sweepDeliveries(db, starter);
    expect(started).toEqual([`${lost}/1`]);
    expect((await rowsOf(hook.id)).map((row) => row.id)).toEqual([lost, kept]);
    // The sweep keeps the newest 10,000 deliveries of each webhook, and every delivery that has not ended.
    await sql`
      insert into webhook_deliveries
        (id, webhook_id, event_id, event_type, event_sequence, event_data, time_event, state, handed_over, time_ended)
      select webhook_delivery_id(), ${hook.id}::uuid, gen_random_uuid(), 'webhook.test', number, '{}', now(),
        'delivered', true, now()
      from generate_series(1, 10050) as number
    `.execute(db);
    await sweepDeliveries(db, starter);
    const left = await rowsOf(hook.id);
    expect(left).toHaveLength(10_001);
    expect(left.filter((row) => row.time_ended === null).map((row) => row.id)).toEqual([lost]);
  });
});

describe('the webhook API', () => {
  it('creates, lists, changes and deletes a webhook', async () => {
    const { webhook: made } = await webhook({ description: 'LIMS', eventTypes: ['run.uploaded', 'run.uploaded'] });
    expect(made).toMatchObject({
      url: `${at}/hook`,
      description: 'LIMS',
      eventTypes: ['run.uploaded'],
      enabled: true,
      disabledReason: null,
    });
    expect(Object.keys((await call<Made>('GET', `/v1/webhooks/${made.id}`)).body)).toEqual(['webhook']);
    const second = await webhook();
    const page = await call<{ webhooks: { id: string }[]; nextPageToken: string }>('GET', '/v1/webhooks?pageSize=1');
    expect(page.body.webhooks.map(({ id }) => id)).toEqual([made.id]);
    expect(
      (
        await call<{ webhooks: { id: string }[] }>('GET', `/v1/webhooks?pageToken=${page.body.nextPageToken}`)
      ).body.webhooks.map(({ id }) => id),
    ).toEqual([second.webhook.id]);
    expect(
      (
        await call<Made>('PATCH', `/v1/webhooks/${made.id}`, {
          url: 'https://lims.example.org/x',
          eventTypes: [],
          enabled: false,
        })
      ).body.webhook,
    ).toMatchObject({
      url: 'https://lims.example.org/x',
      description: 'LIMS',
      eventTypes: [],
      enabled: false,
      disabledReason: null,
    });
    expect((await call('DELETE', `/v1/webhooks/${made.id}`)).status).toBe(204);
    for (const [method, where] of [
      ['GET', ''],
      ['DELETE', ''],
      ['PATCH', ''],
      ['POST', '/test'],
      ['POST', '/rotate-secret'],
      ['POST', '/replay'],
      ['GET', '/deliveries'],
    ] as const) {
      const answer = await call(
        method,
        `/v1/webhooks/${made.id}${where}`,
        method === 'PATCH' ? { enabled: true } : where === '/replay' ? { onlyFailed: true } : undefined,
      );
      expect([answer.status, answer.body.details![0]!.reason], where).toEqual([404, 'WEBHOOK_NOT_FOUND']);
    }
    expect(await db.selectFrom('webhook_secrets').select('id').where('webhook_id', '=', made.id).execute()).toEqual([]);
  });

  it('rejects bad fields and names field and rule', async () => {
    const rules = async (method: string, url: string, body: unknown): Promise<string[]> => {
      const answer = await call(method, url, body);
      expect(answer.status, JSON.stringify(answer.body)).toBe(400);
      return answer.body.details!.map(({ metadata }) => `${metadata.field} ${metadata.rule}`).sort();
    };
    expect(await rules('POST', '/v1/webhooks', {})).toEqual(['url REQUIRED']);
    expect(
      await rules('POST', '/v1/webhooks', {
        url: 'https://u:p@example.org',
        eventTypes: ['all', 'run.uploaded'],
        description: '\u0000',
      }),
    ).toEqual(['description CHARACTERS', 'eventTypes.0 EVENT_TYPE', 'url URL_CREDENTIALS']);
    expect(await rules('POST', '/v1/webhooks', { url: 'https://169.254.169.254/' })).toEqual(['url ADDRESS_REFUSED']);
    expect(await rules('POST', '/v1/webhooks', { url: 'https://private.example.org/' })).toEqual([
      'url ADDRESS_REFUSED',
    ]);
    expect(await rules('POST', '/v1/webhooks', { url: 'http://public.example.org/' })).toEqual(['url ADDRESS_REFUSED']);
    const { webhook: hook } = await webhook();
    expect(await rules('PATCH', `/v1/webhooks/${hook.id}`, { url: 'https://private.example.org/' })).toEqual([
      'url ADDRESS_REFUSED',
    ]);
    expect((await rules('PATCH', `/v1/webhooks/${hook.id}`, { secret: 'mine' }))[0]).toMatch(/^secret /);
    expect(await rules('POST', `/v1/webhooks/${hook.id}/replay`, { onlyFailed: false })).toEqual(['since REQUIRED']);
    expect((await rules('POST', `/v1/webhooks/${hook.id}/replay`, { since: 'yesterday' }))[0]).toMatch(/^since /);
    expect((await call('GET', `/v1/webhooks/${hook.id}/deliveries?state=lost`)).status).toBe(400);
    expect((await call<Made>('GET', `/v1/webhooks/${hook.id}`)).body.webhook.url).toBe(`${at}/hook`);
  });

  it('shows the secret again for a repeated request, and never stores it in plain text', async () => {
    const create = () => call<Made>('POST', '/v1/webhooks', { url: `${at}/hook` }, { 'idempotency-key': 'webhook-1' });
    const [first, second] = [await create(), await create()];
    expect(second.headers['idempotency-replayed']).toBe('true');
    expect(second.body).toEqual(first.body);
    expect(await db.selectFrom('webhooks').select('id').execute()).toHaveLength(1);
    for (const table of ['idempotency_keys', 'webhooks', 'webhook_secrets']) {
      const { rows } = await sql<{ row: string }>`select t::text as row from ${sql.table(table)} as t`.execute(db);
      expect(rows.map(({ row }) => row).join()).not.toContain(first.body.secret.slice(6, 30));
    }
    await call('POST', `/v1/webhooks/${first.body.webhook.id}/rotate-secret`);
    expect((await create()).body).toEqual({ ...first.body, secret: null });
  });

  it('rejects a new webhook if no encryption key is configured', async () => {
    const without = await buildApp({
      db,
      databaseUrl: postgres.url,
      secrets: new Secrets([]),
      aws: new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) }),
      orchestrator: orchestrator as never,
      apiKey: KEY,
      errorDomain: 'polony',
      resolve: async () => ['8.8.8.8'],
    });
    const response = await without.inject({
      method: 'POST',
      url: '/v1/webhooks',
      headers: { 'x-api-key': KEY },
      payload: { url: 'https://lims.example.org/' },
    });
    expect([
      response.statusCode,
      (JSON.parse(response.body) as { details: { reason: string }[] }).details[0]!.reason,
    ]).toEqual([409, 'ENCRYPTION_KEYS_MISSING']);
    await without.close();
  });

  it('lists deliveries both ways, newest first, and filters them by state', async () => {
    const { webhook: hook } = await webhook();
    for (let times = 0; times < 5; times++) await call('POST', `/v1/webhooks/${hook.id}/test`);
    const ids = (await deliveries(hook.id)).map(({ id }) => id);
    expect(ids).toHaveLength(5);
    const get = async (query: string) =>
      (
        await call<{ deliveries: ShownDelivery[]; nextPageToken: string; previousPageToken: string }>(
          'GET',
          `/v1/webhooks/${hook.id}/deliveries?${query}`,
        )
      ).body;
    const first = await get('pageSize=2');
    const next = await get(`pageSize=2&pageToken=${first.nextPageToken}`);
    expect([...first.deliveries, ...next.deliveries].map(({ id }) => id)).toEqual(ids.slice(0, 4));
    expect((await get(`pageSize=2&pageToken=${next.previousPageToken}`)).deliveries.map(({ id }) => id)).toEqual(
      ids.slice(0, 2),
    );
    await trying()(ids[4]!, 1);
    expect((await get('state=delivered')).deliveries.map(({ id }) => id)).toEqual([ids[4]]);
    expect((await get('state=pending')).deliveries).toHaveLength(4);
    const { webhook: other } = await webhook();
    expect((await call('GET', `/v1/webhooks/${other.id}/deliveries?pageToken=${first.nextPageToken}`)).status).toBe(
      400,
    );
  });
});
