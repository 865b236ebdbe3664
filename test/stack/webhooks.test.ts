/** @module-tag long */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { openDatabase } from '../../store/database.js';
import { attributes } from '../../workflows/messages/searchAttributes.js';
import { executionsOf, HELD_MS, waitFor } from '../support.js';
import { countEvents, startTestStack, workflowSource, logErrorsOnly } from '../testStack.js';

// Webhooks on the whole stack, with a receiver that is slow, broken or unreachable.
let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let connection: Connection;
let temporal: Client;

interface Received {
  path: string;
  headers: Record<string, string>;
  raw: string;
  body: { type: string; data: Record<string, unknown> & { sequence: number; links: { self: string } } };
}
let receiver: http.Server;
let at: string;
const received: Received[] = [];
const answers = new Map<string, (response: http.ServerResponse, request: Received) => void>();
const secrets: string[] = [];

interface Delivery {
  id: string;
  eventId: string;
  eventType: string;
  state: string;
  attempts: number;
  replays: number;
  lastStatus: number | null;
}
async function webhook(where: string, eventTypes: string[] = []): Promise<{ id: string; secret: string }> {
  const made = await call<{ webhook: { id: string }; secret: string }>('POST', '/v1/webhooks', {
    url: `${at}${where}?token=url-token-7`,
    eventTypes,
  });
  secrets.push(made.secret);
  return { id: made.webhook.id, secret: made.secret };
}
const test = async (id: string): Promise<Delivery> =>
  (await call<{ delivery: Delivery }>('POST', `/v1/webhooks/${id}/test`)).delivery;
const deliveries = async (id: string): Promise<Delivery[]> =>
  (await call<{ deliveries: Delivery[] }>('GET', `/v1/webhooks/${id}/deliveries`)).deliveries;
const inState = (webhookId: string, id: string, state: string): Promise<Delivery> =>
  waitFor(`${id} ${state}`, async () =>
    (await deliveries(webhookId)).find((each) => each.id === id && each.state === state),
  );
const to = (where: string): Received[] => received.filter((each) => each.path.startsWith(`${where}?`));

beforeAll(async () => {
  logErrorsOnly();
  receiver = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const raw = Buffer.concat(parts).toString();
      const got: Received = {
        path: request.url!,
        headers: request.headers as Record<string, string>,
        raw,
        body: JSON.parse(raw) as Received['body'],
      };
      received.push(got);
      (answers.get(got.path.split('?')[0]!) ?? ((each) => void each.writeHead(200).end()))(response, got);
    });
  });
  await new Promise<void>((done) => receiver.listen(0, '127.0.0.1', done));
  at = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-webhooks-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: HELD_MS, STOPPING: 50 } },
    env: {
      POLONY_WEBHOOK_ALLOW_PRIVATE: 'true',
      POLONY_WEBHOOK_RETRY_SECONDS: '1,1,1',
      POLONY_SWEEP_SECONDS: '1',
      POLONY_PUBLIC_URL: 'https://polony.example.org',
    },
  });
  call = apiClient(stack.info);
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'webhooks');
});
beforeEach(() => answers.clear());
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  receiver?.closeAllConnections();
  receiver?.close();
  rmSync(stateDir, { recursive: true, force: true });
});

it('delivers all events of an account, a run and its execution, also to a receiver that fails at first', async () => {
  const seen = new Set<string>();
  answers.set('/flaky', (response, { headers }) => {
    const again = seen.has(headers['webhook-id']!);
    seen.add(headers['webhook-id']!);
    response.writeHead(again ? 200 : 500).end();
  });
  const all = await webhook('/all');
  const flaky = await webhook('/flaky', ['execution.completed', 'run.uploaded']);
  await connectAccount(call, account, { autoStart: true });
  const { s3 } = adminClients(stack.info);
  await simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'WEBHOOKS', cycles: { R1: 4, I1: 8, I2: 8 } }),
  }).done;
  s3.destroy();
  const { id } = await waitFor(
    'the execution',
    async () => (await call<{ executions: { id: string }[] }>('GET', '/v1/executions')).executions[0],
  );
  const { inStatus: executionIn, runsOf } = executionsOf(stack, call);
  // The run is held until the execution shows RUNNING, because a slow worker might miss that state.
  await executionIn(id, 'RUNNING');
  stack.aws.emulator.finish(runsOf(id)[0]!.id);
  await executionIn(id, 'COMPLETED');
  const completed = await waitFor('its end to be told', () =>
    to('/all').find(({ body }) => body.type === 'execution.completed'),
  );
  // Each event once. They may arrive in any order.
  const of = (field: string, value: string): string[] => {
    const mine = to('/all')
      .filter(({ body }) => body.data[field] === value)
      .sort((one, other) => one.body.data.sequence - other.body.data.sequence);
    expect(new Set(mine.map(({ headers }) => headers['webhook-id'])).size).toBe(mine.length);
    return mine.map(({ body }) => body.type);
  };
  await waitFor('all of the execution', () => of('executionId', id).length >= 4);
  expect(of('executionId', id)).toEqual([
    'execution.initialized',
    'execution.pending',
    'execution.running',
    'execution.completed',
  ]);
  const runId = completed.body.data.runId as string;
  await waitFor('all of the run', () => to('/all').filter(({ body }) => body.type.startsWith('run.')).length === 2);
  expect(
    to('/all')
      .filter(({ body }) => body.type.startsWith('run.'))
      .map(({ body }) => [body.type, body.data.runId])
      .sort(),
  ).toEqual([
    ['run.uploaded', runId],
    ['run.uploading', runId],
  ]);
  await waitFor(
    'the verification to be told',
    () =>
      of('name', 'lab').includes('provider.connected') && of('name', 'runs').includes('storage_connection.connected'),
  );
  expect(of('name', 'lab')[0]).toBe('provider.created');
  expect(completed.body.data).toMatchObject({
    status: 'EXECUTION_STATUS_COMPLETED',
    runName: 'WEBHOOKS',
    flowName: 'b2f',
    links: { self: `https://polony.example.org/v1/executions/${id}` },
  });
  for (const each of to('/all')) expect(new Webhook(all.secret).verify(each.raw, each.headers)).toEqual(each.body);
  const retried = await waitFor('the flaky receiver to have taken both', async () => {
    const both = await deliveries(flaky.id);
    return both.length === 2 && both.every(({ state }) => state === 'delivered') && both;
  });
  expect(retried.map(({ attempts }) => attempts)).toEqual([2, 2]);
  const [first, second] = to('/flaky').filter(({ body }) => body.type === 'execution.completed');
  expect([second!.raw, second!.headers['webhook-id']]).toEqual([first!.raw, completed.headers['webhook-id']]);
  await call('PATCH', `/v1/webhooks/${all.id}`, { enabled: false });
});

it('loses no delivery when the worker is killed, whether it was new or under way', async () => {
  const held: http.ServerResponse[] = [];
  answers.set('/held', (response) => void held.push(response));
  const hook = await webhook('/held');
  const underWay = await test(hook.id);
  await waitFor('the receiver to be asked', () => held.length === 1);
  stack.worker!.kill();
  await stack.worker!.exited;
  const unheard = await test(hook.id);
  answers.clear();
  stack.worker = await stack.startWorker();
  await inState(hook.id, unheard.id, 'delivered');
  // Another worker takes it over once Temporal considers the first worker dead.
  expect(
    await waitFor('the other to be delivered', async () =>
      (await deliveries(hook.id)).find((each) => each.id === underWay.id && each.state === 'delivered'),
    ),
  ).toMatchObject({ attempts: 2 });
  expect(
    new Set(
      to('/held')
        .filter(({ headers }) => headers['webhook-id'] === underWay.eventId)
        .map(({ raw }) => raw),
    ).size,
  ).toBe(1);
});

it('does not let one receiver that hangs delay another', async () => {
  const held = new Set<http.ServerResponse>();
  let most = 0;
  answers.set('/hangs', (response) => {
    held.add(response);
    most = Math.max(most, held.size);
    response.on('close', () => held.delete(response));
  });
  const [hangs, quick] = [await webhook('/hangs'), await webhook('/quick')];
  for (let times = 0; times < 70; times++) await test(hangs.id);
  await waitFor('it to hang', () => held.size === 5);
  const sent = await Promise.all(Array.from({ length: 20 }, () => test(quick.id)));
  await waitFor('the other to have all', () => to('/quick').length >= sent.length);
  // They overtook the other deliveries. Most of those have no attempt yet: each attempt hangs for 15 s, five at a time.
  expect(
    (
      await call<{ deliveries: Delivery[] }>('GET', `/v1/webhooks/${hangs.id}/deliveries?pageSize=100`)
    ).deliveries.filter(({ attempts }) => attempts === 0).length,
  ).toBeGreaterThan(0);
  expect(most).toBe(5);
  answers.clear();
  for (const response of held) response.writeHead(200).end();
  await call('DELETE', `/v1/webhooks/${hangs.id}`);
});

it('replays a failed delivery, and shows the state in Temporal', async () => {
  answers.set('/broken', (response) => void response.writeHead(503).end('maintenance'));
  const hook = await webhook('/broken');
  const failed = await test(hook.id);
  expect(await inState(hook.id, failed.id, 'failed')).toMatchObject({ attempts: 4, lastStatus: 503 });
  const handle = temporal.workflow.getHandle(`webhook/${failed.id}`);
  await expect(handle.result()).rejects.toThrow();
  const described = await handle.describe();
  expect(described.status.name).toBe('FAILED');
  expect(await described.staticSummary()).toBe(`Webhook webhook.test to ${new URL(at).host}`);
  expect(described.typedSearchAttributes.get(attributes.status)).toBe('FAILED');
  const history = await handle.fetchHistory();
  // The history does not grow with the number of attempts.
  expect(countEvents(history)).toBeLessThan(8);
  await Worker.runReplayHistory({ ...workflowSource() }, history);
  answers.clear();
  expect(await call('POST', `/v1/webhooks/${hook.id}/replay`, { deliveryIds: [failed.id] })).toEqual({ replayed: 1 });
  expect(await inState(hook.id, failed.id, 'delivered')).toMatchObject({ attempts: 1, replays: 1 });
  const again = temporal.workflow.getHandle(`webhook/${failed.id}/2`);
  expect(await again.result()).toMatchObject({ state: 'delivered' });
  await Worker.runReplayHistory({ ...workflowSource() }, await again.fetchHistory());
  expect(to('/broken')).toHaveLength(5);
});

it('keeps secrets and URL tokens out of histories and logs, and secrets out of the database', async () => {
  const places: Record<string, string> = {};
  for await (const workflow of temporal.workflow.list({ query: 'WorkflowType = "deliverWebhook"' })) {
    places[`history of ${workflow.workflowId}`] = JSON.stringify(
      await temporal.workflow.getHandle(workflow.workflowId, workflow.runId).fetchHistory(),
      (_key, value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value),
    );
  }
  expect(Object.keys(places).length).toBeGreaterThan(20);
  for (const entry of readdirSync(stateDir, { recursive: true, withFileTypes: true }))
    if (entry.isFile() && entry.name.endsWith('.log'))
      places[entry.name] = readFileSync(path.join(entry.parentPath, entry.name), 'latin1');
  const db = openDatabase(stack.info.databaseUrl, 1);
  const tables = await sql<{
    name: string;
  }>`select table_name as name from information_schema.tables where table_schema = 'public'`.execute(db);
  const rows: string[] = [];
  for (const { name } of tables.rows)
    rows.push(
      ...(await sql<{ row: string }>`select t::text as row from ${sql.table(name)} as t`.execute(db)).rows.map(
        ({ row }) => row,
      ),
    );
  await db.destroy();
  const forms = secrets.flatMap((secret) => [
    secret.slice(6),
    Buffer.from(secret).toString('base64').slice(0, 40),
    Buffer.from(secret.slice(6), 'base64').toString('latin1'),
  ]);
  expect(forms.length).toBeGreaterThan(10);
  expect(
    Object.entries(places)
      .filter(([, text]) => [...forms, 'url-token-7'].some((form) => text.includes(form)))
      .map(([place]) => place),
  ).toEqual([]);
  expect(rows.filter((row) => forms.some((form) => row.includes(form)))).toEqual([]);
  expect(rows.some((row) => row.includes('url-token-7'))).toBe(true);
});
