import { once } from 'node:events';
import { type ClientRequest, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import { beginNextAttempt } from '../../store/executions/attempts.js';
import { markStartRefused, markStartSent, recordStartedRun } from '../../store/executions/start.js';
import { updateExecution } from '../../store/executions/update.js';
import { updateRun } from '../../store/runs/update.js';
import { saveVerification } from '../../store/verification/reports.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { createExecution } from '../../store/executions/create.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { Secrets } from '../../store/secrets.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';
import { stubOrchestrator } from '../stubOrchestrator.js';

const ROOT = 'root-key-0123456789-abcdefgh';
interface Event {
  id: string;
  data: { execution: { id: string; status: string; statusDescription: string }; details: { workflowId: string } };
}

let postgres: TestPostgres;
let app: FastifyInstance;
let aws: AwsSessions;
let url: string;
let start: () => Promise<string>;
const open: ClientRequest[] = [];

beforeAll(async () => {
  postgres = await startTestPostgres({ maxConnections: 20 });
  const { db } = postgres;
  const secrets = new Secrets([]);
  aws = new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) });
  app = await buildApp({
    db,
    databaseUrl: postgres.url,
    secrets,
    aws,
    orchestrator: stubOrchestrator,
    apiKey: ROOT,
    errorDomain: 'polony',
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  const post = async (path: string, payload: object) =>
    Object.values(
      (await app.inject({ method: 'POST', url: path, headers: { 'x-api-key': ROOT }, payload })).json<
        Record<string, { id: string }>
      >(),
    )[0]!.id;
  const providerId = await post('/v1/providers', {
    name: 'lab',
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: 'arn:aws:iam::111122223333:role/lab',
    externalId: 'lab-7f3a',
  });
  const storageId = await post('/v1/storage-connections', {
    name: 'runs',
    providerId,
    region: 'us-west-2',
    bucket: 'lab',
    useForRunUpload: true,
    useForDataExploration: true,
  });
  const computeId = await post('/v1/compute-connections', {
    name: 'omics',
    providerId,
    executionRoleArn: 'arn:aws:iam::111122223333:role/omics',
    region: 'us-west-2',
  });
  const flowId = await post('/v1/flows', {
    name: 'b2f',
    computeConnectionId: computeId,
    sharedWorkflowId: '1234567',
    workflowOwnerId: '588258415937',
  });
  const runId = (await insertRuns(db, storageId, 'AV1', 'AV1', [{ folder: 'r', runName: 'r' }])).get('r')!.id;
  const storage = await db
    .selectFrom('storage_connections')
    .selectAll()
    .where('id', '=', storageId)
    .executeTakeFirstOrThrow();
  start = async () =>
    (
      await createExecution(db, {
        flow: { id: flowId, name: 'b2f', computeConnectionId: computeId },
        run: { id: runId, name: 'r', storageConnectionId: storageId, uploadState: 'complete' },
        storage,
        trigger: 'api',
        startedBy: 'test',
      })
    ).id!;
});
afterEach(() => {
  for (const request of open.splice(0)) request.destroy();
});
afterAll(async () => {
  await app?.close();
  aws?.close();
  await postgres?.stop();
});

async function connect(
  id: string,
  { key = ROOT, lastEventId }: { key?: string; lastEventId?: string } = {},
): Promise<{ response: IncomingMessage; events: Event[]; ended: Promise<unknown> }> {
  const request = get(`${url}/v1/executions/${id}/events`, {
    headers: { 'x-api-key': key, ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
  });
  open.push(request);
  request.on('error', () => undefined);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const events: Event[] = [];
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (text + chunk).split('\n\n');
    text = parts.pop()!;
    for (const part of parts) {
      const [, eventId, data] = /^event: execution\nid: (.+)\ndata: (.+)$/.exec(part) ?? [];
      if (data !== undefined) events.push({ id: eventId!, data: JSON.parse(data) as Event['data'] });
    }
  });
  response.on('error', () => undefined);
  return { response, events, ended: new Promise((resolve) => response.on('close', resolve)) };
}
const listeners = async (): Promise<number> =>
  Number(
    (
      await sql<{
        count: string;
      }>`select count(*) from pg_stat_activity where query like 'listen polony_executions%' and datname = current_database()`.execute(
        postgres.db,
      )
    ).rows[0]!.count,
  );
const statuses = (events: Event[]): string[] =>
  events.map(({ data }) => data.execution.status.replace('EXECUTION_STATUS_', ''));

describe('the stream of changes', () => {
  interface Followed {
    response: IncomingMessage;
    events: { event: string; id: string; data: Record<string, string> }[];
    ended: Promise<unknown>;
  }
  const follow = async (
    query: string,
    { key = ROOT, lastEventId }: { key?: string; lastEventId?: string } = {},
  ): Promise<Followed> => {
    const request = get(`${url}/v1/changes?${query}`, {
      headers: { 'x-api-key': key, ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
    });
    open.push(request);
    request.on('error', () => undefined);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const events: Followed['events'] = [];
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (text + chunk).split('\n\n');
      text = parts.pop()!;
      for (const part of parts) {
        const [, event, id, data] = /^event: (.+)\nid: (.+)\ndata: (.+)$/.exec(part) ?? [];
        if (data !== undefined)
          events.push({ event: event!, id: id!, data: JSON.parse(data) as Record<string, string> });
      }
    });
    response.on('error', () => undefined);
    return { response, events, ended: new Promise((resolve) => response.on('close', resolve)) };
  };
  const createKey = async (name: string, scopes: string[]) =>
    (
      await app.inject({
        method: 'POST',
        url: '/v1/api-keys',
        headers: { 'x-api-key': ROOT },
        payload: { name, scopes },
      })
    ).json<{ key: string; apiKey: { id: string } }>();
  const changesOf = ({ events }: Followed) => events.filter(({ event }) => event === 'change').map(({ data }) => data);
  const runOf = async (id: string): Promise<string> =>
    (await postgres.db.selectFrom('executions').select('run_id').where('id', '=', id).executeTakeFirstOrThrow()).run_id;

  it('shows runs, executions and verifications that change, each only to those who may see it', async () => {
    const [id, other] = [await start(), await start()];
    const runId = await runOf(id);
    const narrow = await createKey('narrow', [`executions:read:${id}`]);
    const everything = await follow('topics=runs,executions,verifications');
    const own = await follow('topics=executions', { key: narrow.key });
    const narrowed = await follow(`topics=runs,executions&executionId=${id}`);
    const inCapitals = await follow(`topics=executions&executionId=${id.toUpperCase()}`);
    const streams = [everything, own, narrowed, inCapitals];
    await waitFor('all have begun', () => streams.every(({ events }) => events[0]?.event === 'ready'));
    expect(await listeners()).toBe(1);
    await updateExecution(postgres.db, other, { status: 'RUNNING' });
    await updateExecution(postgres.db, id, { status: 'RUNNING' });
    await updateRun(postgres.db, runId, { description: 'The upload goes on' });
    const storage = await postgres.db.selectFrom('storage_connections').select(['id', 'provider_id']).execute();
    await saveVerification(postgres.db, {
      kind: 'storageConnection',
      id: storage[0]!.id,
      report: { status: 'WARNING', description: '' } as never,
      started: new Date(),
      provider: { id: storage[0]!.provider_id, accountId: null, sessionSeconds: null },
    });
    await waitFor('all changes', () => changesOf(everything).length >= 4);
    const shown = changesOf(everything);
    expect(shown).toContainEqual({
      topic: 'executions',
      id,
      status: 'EXECUTION_STATUS_RUNNING',
      timeChanged: expect.stringMatching(/^\d{4}-.*Z$/) as string,
    });
    expect(shown).toContainEqual(expect.objectContaining({ topic: 'runs', id: runId }));
    expect(shown).toContainEqual(
      expect.objectContaining({
        topic: 'verifications',
        kind: 'storageConnection',
        id: storage[0]!.id,
        status: 'VERIFICATION_STATUS_WARNING',
      }),
    );
    expect(shown).toContainEqual(expect.objectContaining({ topic: 'executions', id: other }));
    for (const one of [own, narrowed, inCapitals])
      expect(new Set(changesOf(one).map((change) => change.id))).toEqual(new Set([id]));
    // The key is deleted: the next change ends its stream.
    await app.inject({ method: 'DELETE', url: `/v1/api-keys/${narrow.apiKey.id}`, headers: { 'x-api-key': ROOT } });
    await updateExecution(postgres.db, id, { status: 'COMPLETED' });
    await own.ended;
    expect(changesOf(own).map(({ status }) => status)).not.toContain('EXECUTION_STATUS_COMPLETED');
  });
  it('resumes after the last event, or says that everything must be loaded again', async () => {
    const id = await start();
    const before = await follow('topics=executions');
    await waitFor('it has begun', () => before.events[0]?.event === 'ready');
    before.response.destroy();
    await updateExecution(postgres.db, id, { status: 'PENDING' });
    const after = await follow('topics=executions', { lastEventId: before.events[0]!.id });
    await waitFor('the missed change', () => changesOf(after).some((change) => change.id === id));
    expect(after.events[0]!.event).toBe('ready');
    for (const lastEventId of ['12', 'x', '99999999999999']) {
      const lost = await follow('topics=executions', { lastEventId });
      await waitFor('it has begun', () => lost.events.length > 0);
      expect([lastEventId, lost.events[0]!.event]).toEqual([lastEventId, 'reset']);
    }
    await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where query like 'listen polony_executions%' and datname = current_database()`.execute(postgres.db);
    await waitFor('it says that it missed changes', () => after.events.some(({ event }) => event === 'reset'));
  });
  it('rejects unknown topics, topics without a scope, and objects that the caller may not see', async () => {
    const [id, other] = [await start(), await start()];
    const { key } = await createKey('one execution', [`executions:read:${id}`]);
    const answer = async (query: string): Promise<[number, string]> => {
      const response = await app.inject({
        method: 'GET',
        url: `/v1/changes?${query}`,
        headers: { 'x-api-key': key },
      });
      return [response.statusCode, response.json<{ details: { reason: string }[] }>().details[0]!.reason];
    };
    expect(await answer('topics=flows')).toEqual([400, 'INVALID_FIELD']);
    expect(await answer('')).toEqual([400, 'INVALID_FIELD']);
    expect(await answer('topics=executions,runs')).toEqual([403, 'INSUFFICIENT_SCOPE']);
    expect(await answer('topics=verifications')).toEqual([403, 'INSUFFICIENT_SCOPE']);
    expect(await answer(`topics=executions&executionId=${other}`)).toEqual([404, 'EXECUTION_NOT_FOUND']);
    expect(await answer(`topics=executions&runId=${await runOf(id)}`)).toEqual([404, 'RUN_NOT_FOUND']);
  });
});

describe('the steps of an execution', () => {
  interface Step {
    step: string;
    attempt: number;
    timeStarted: string;
    timeEnded: string | null;
    waitsFor: string | null;
  }
  it('have times, go on after a refused StartRun and with the next attempt, and say what is waited for', async () => {
    const id = await start();
    const steps = async () =>
      (await app.inject({ method: 'GET', url: `/v1/executions/${id}/steps`, headers: { 'x-api-key': ROOT } })).json<{
        steps: Step[];
        blockedSince: string | null;
      }>();
    const names = async () => (await steps()).steps.map(({ step, attempt }) => `${step} ${attempt}`);
    expect(await names()).toEqual(['ACCEPTED 1', 'PREPARING 1']);
    const { db } = postgres;
    await updateExecution(db, id, { parameters: {} });
    await markStartSent(db, { id, attempt: 1 }, {});
    await markStartRefused(db, { id, attempt: 1 });
    await updateExecution(db, id, { blocked: { kind: 'ACCESS_DENIED', message: 'denied', remedy: 'allow it' } });
    const blocked = await steps();
    expect(blocked.steps.at(-1)).toMatchObject({
      step: 'STARTING',
      timeEnded: null,
      waitsFor: 'the answer of AWS to StartRun',
    });
    expect(blocked.blockedSince).toMatch(/Z$/);
    await markStartSent(db, { id, attempt: 1 }, {});
    await recordStartedRun(db, { id, attempt: 1 }, { runId: '1', uuid: null, arn: null, runOutputUri: 's3://b/1' });
    await updateExecution(db, id, { status: 'RUNNING', healthOmicsStatus: 'RUNNING', blocked: null });
    await beginNextAttempt(db, id, 1, { failureReason: 'X', description: 'It failed' });
    await markStartSent(db, { id, attempt: 2 }, {});
    await recordStartedRun(db, { id, attempt: 2 }, { runId: '2', uuid: null, arn: null, runOutputUri: 's3://b/2' });
    await updateExecution(db, id, { status: 'RUNNING', healthOmicsStatus: 'COMPLETED' });
    await updateExecution(db, id, { status: 'COMPLETED', timeCompleted: new Date() });
    expect(await names()).toEqual([
      ...['ACCEPTED 1', 'PREPARING 1', 'QUEUED 1', 'STARTING 1', 'PENDING 1', 'RUNNING 1'],
      ...['QUEUED 2', 'STARTING 2', 'PENDING 2', 'READING_RESULTS 2', 'ENDED 2'],
    ]);
    const ended = (await steps()).steps;
    for (const [at, { timeEnded, waitsFor }] of ended.entries())
      expect([timeEnded, waitsFor]).toEqual([(ended[at + 1] ?? ended[at]!).timeStarted, null]);
  });
});

describe('the stream of an execution', () => {
  it('ends for a key that is deleted, without further events', async () => {
    const id = await start();
    const made = (
      await app.inject({
        method: 'POST',
        url: '/v1/api-keys',
        headers: { 'x-api-key': ROOT },
        payload: { name: 'watcher', scopes: [`executions:read:${id}`] },
      })
    ).json<{ key: string; apiKey: { id: string } }>();
    const [watched, other] = [await connect(id, { key: made.key }), await connect(id)];
    await waitFor('the first events', () => watched.events.length === 1 && other.events.length === 1);
    await waitFor('it is listened', async () => (await listeners()) === 1);
    await app.inject({ method: 'DELETE', url: `/v1/api-keys/${made.apiKey.id}`, headers: { 'x-api-key': ROOT } });
    await updateExecution(postgres.db, id, { status: 'RUNNING' });
    await watched.ended;
    await waitFor('the change', () => statuses(other.events).includes('RUNNING'));
    expect(statuses(watched.events)).toEqual(['INITIALIZED']);
    other.response.destroy();
    await waitFor('nobody listens any more', async () => (await listeners()) === 0);
  });
  it('sends the current state and each change, and ends with the execution', async () => {
    const id = await start();
    const { response, events, ended } = await connect(id);
    expect([
      response.statusCode,
      response.headers['content-type'],
      response.headers['cache-control'],
      typeof response.headers['x-request-id'],
    ]).toEqual([200, 'text/event-stream; charset=utf-8', 'no-store', 'string']);
    await waitFor('the first event', () => events.length === 1);
    await waitFor('it is listened', async () => (await listeners()) === 1);
    await updateExecution(postgres.db, id, { status: 'RUNNING', statusDescription: 'It runs' });
    await waitFor('the change', () => statuses(events).includes('RUNNING'));
    // An update without a visible change sends no event.
    await postgres.db.updateTable('executions').set({ time_updated: new Date() }).where('id', '=', id).execute();
    await updateExecution(postgres.db, id, { status: 'COMPLETED' });
    await ended;
    expect(statuses(events)).toEqual(['INITIALIZED', 'RUNNING', 'COMPLETED']);
    expect(events.at(-1)!.data.details.workflowId).toBe(`execution/${id}`);
    await waitFor('nobody listens any more', async () => (await listeners()) === 0);
  });
  it('resumes after the last event that the client saw', async () => {
    const id = await start();
    const first = await connect(id);
    await waitFor('the first event', () => first.events.length === 1);
    open.splice(0).forEach((request) => request.destroy());
    const again = await connect(id, { lastEventId: first.events[0]!.id });
    await waitFor('it is listened', async () => (await listeners()) === 1);
    await updateExecution(postgres.db, id, { status: 'FAILED', error: { type: 'X', message: 'x' } });
    await again.ended;
    expect(statuses(again.events)).toEqual(['FAILED']);
    expect((await connect(id, { lastEventId: again.events[0]!.id })).response.statusCode).toBe(204);
    const late = await connect(id);
    await late.ended;
    expect(statuses(late.events)).toEqual(['FAILED']);
  });
  it('uses one database connection for all clients and recovers when it breaks', async () => {
    const id = await start();
    const streams = await Promise.all(Array.from({ length: 20 }, () => connect(id)));
    await waitFor('all have begun', () => streams.every(({ events }) => events.length === 1));
    expect(await listeners()).toBe(1);
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen polony_executions%' and datname = current_database()`.execute(
      postgres.db,
    );
    await updateExecution(postgres.db, id, { status: 'COMPLETED' });
    await Promise.all(streams.map(({ ended }) => ended));
    expect(new Set(streams.map(({ events }) => statuses(events).at(-1)))).toEqual(new Set(['COMPLETED']));
  });
  it('requires access to the execution and limits the streams of a caller', { tags: 'long' }, async () => {
    const id = await start();
    const made = (
      await app.inject({
        method: 'POST',
        url: '/v1/api-keys',
        headers: { 'x-api-key': ROOT },
        payload: { name: 'one', scopes: [`executions:read:${id}`] },
      })
    ).json<{ key: string }>();
    expect((await connect(await start(), { key: made.key })).response.statusCode).toBe(404);
    const streams = await Promise.all(Array.from({ length: 100 }, () => connect(id, { key: made.key })));
    expect(streams.map(({ response }) => response.statusCode)).toEqual(streams.map(() => 200));
    expect((await connect(id, { key: made.key })).response.statusCode).toBe(429);
    expect((await connect(id)).response.statusCode).toBe(200);
  });
  it('ends when the API shuts down', async () => {
    const { ended } = await connect(await start());
    const closed = app.close();
    await ended;
    await closed;
  });
});
