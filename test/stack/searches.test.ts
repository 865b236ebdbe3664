import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient, connectAccount, type CustomerAccount, setUpCustomer } from '../../cli/customer.js';
import type { GuardedChild } from '../../local/guardian.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { closeDatabase, type Db, openDatabase } from '../../store/database.js';
import { releaseLeases } from '../../store/leases.js';
import { denialsOf, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';

let stateDir: string;
let stack: Stack;
let call: ReturnType<typeof apiClient>;
let connection: Connection;
let temporal: Client;
let account: CustomerAccount;
let db: Db;
let storageConnectionId: string;
let s3: ReturnType<typeof adminClients>['s3'];

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-searches-'));
  stack = await startTestStack({
    stateDir,
    env: { POLONY_DISCOVER_SECONDS: '1', POLONY_SWEEP_SECONDS: '1', POLONY_METRICS_ADDRESS: '127.0.0.1:0' },
  });
  call = apiClient(stack.info);
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  db = openDatabase(stack.info.databaseUrl, 2);
  s3 = adminClients(stack.info).s3;
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'searches');
  ({ storageConnectionId } = await connectAccount(call, account));
});
afterAll(async () => {
  s3?.destroy();
  await connection?.close();
  await closeDatabase(db);
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

/** How often a worker has searched or swept, by outcome. */
async function countOf(metric: string, outcome: string, worker: GuardedChild = stack.worker!): Promise<number> {
  const url = /"url":"(http:[^"]*metrics)"/.exec(worker.logTail(1 << 20))![1]!;
  const text = await (await fetch(url)).text();
  return Number(new RegExp(`^${metric}\\{outcome="${outcome}"\\} (\\d+)`, 'm').exec(text)?.[1]);
}

/** Waits for some searches, or sweeps, more. */
async function waitForMore(metric: string, outcome: string, more: number, worker?: GuardedChild): Promise<void> {
  const before = await countOf(metric, outcome, worker);
  await waitFor(`${metric} ${outcome}`, async () => (await countOf(metric, outcome, worker)) >= before + more);
}

const searches = async (): Promise<{ id: string; status: string }[]> => {
  const found: { id: string; status: string }[] = [];
  for await (const each of temporal.workflow.list({ query: 'WorkflowType = "discoverRuns"' }))
    found.push({ id: each.workflowId, status: each.status.name });
  return found;
};
const schedules = async (): Promise<string[]> => {
  const found: string[] = [];
  for await (const { scheduleId } of temporal.schedule.list()) found.push(scheduleId);
  return found.sort();
};
const upload = (runName: string, { bucket, prefix } = account): Promise<unknown> => {
  const run = describeRun({ runName, cycles: { R1: 1 }, samples: [{ name: 'one', index1: '', index2: '' }] });
  return simulateInstrument({ s3, bucket, prefix, run }).done;
};
const findRun = async (runName: string): Promise<string | undefined> =>
  (await call<{ runs: { name: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
    ({ name }) => name === runName,
  )?.status;
const isComplete = (runName: string): Promise<unknown> =>
  waitFor(`the run ${runName}`, async () => (await findRun(runName)) === 'RUN_STATUS_COMPLETED');
async function storage(): Promise<{ status: string; timeUsed: string | null; statusDescription: string }> {
  const { storageConnection, details } = await call<{
    storageConnection: { status: string };
    details: { timeUsed: string | null; statusDescription: string };
  }>('GET', `/v1/storage-connections/${storageConnectionId}/details`);
  return { ...details, status: storageConnection.status };
}

it('searches and sweeps again and again without a workflow or a schedule', async () => {
  await waitForMore('polony_searches_total', 'nothing', 2);
  await waitForMore('polony_sweeps_total', 'done', 2);
  expect(await searches()).toEqual([]);
  expect((await temporal.workflow.count('WorkflowType = "sweep"')).count).toBe(0);
  await waitFor('the schedule', async () => (await schedules()).join() === 'verify-all');
  // The time of the last search is written with many others.
  await waitFor('the time of a search', async () => (await storage()).timeUsed !== null);
  expect(await countOf('polony_searches_total', 'failed')).toBe(0);
});

it('follows a new run by one workflow, and starts no other one while the run uploads', async () => {
  const run = describeRun({ runName: 'FIRST', cycles: { R1: 2 }, samples: [{ name: 'one', index1: '', index2: '' }] });
  const simulation = simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run, stallAt: 1 });
  await waitFor('the run', async () => (await findRun('FIRST')) !== undefined);
  const id = `discover-runs/${storageConnectionId}`;
  await waitFor('its search to end', async () => (await searches())[0]?.status === 'COMPLETED');
  await waitForMore('polony_searches_total', 'nothing', 2);
  expect(await searches()).toEqual([{ id, status: 'COMPLETED' }]);
  expect(await countOf('polony_searches_total', 'found')).toBe(1);

  // Somebody terminates the workflow that follows the upload.
  let followed: string | undefined;
  await waitFor('the workflow of the upload', async () => {
    for await (const { workflowId } of temporal.workflow.list({
      query: 'WorkflowType = "runUpload" AND ExecutionStatus = "Running"',
    }))
      followed = workflowId;
    return followed;
  });
  const { runId } = await temporal.workflow.getHandle(followed!).describe();
  await temporal.workflow.getHandle(followed!).terminate('test');
  await waitFor('another workflow', async () => {
    const { status, runId: now } = await temporal.workflow.getHandle(followed!).describe();
    return status.name === 'RUNNING' && now !== runId;
  });
  simulation.resume();
  await simulation.done;
  await isComplete('FIRST');
});

it('shows a denied search as one blocked workflow, lists nothing meanwhile, and heals', async () => {
  const { deny, allow } = denialsOf(stack, account);
  const before = (await searches()).length;
  await deny('s3:ListBucket');
  const handle = temporal.workflow.getHandle(`discover-runs/${storageConnectionId}`);
  const isBlocked = async (): Promise<boolean> =>
    (
      await temporal.workflow.count(
        `WorkflowId = "discover-runs/${storageConnectionId}" AND PolonyBlocked = true AND ExecutionStatus = "Running"`,
      )
    ).count === 1;
  await waitFor('the search to be blocked', isBlocked);
  expect(await storage()).toMatchObject({ statusDescription: expect.stringContaining('s3:ListBucket') as string });
  const failed = await countOf('polony_searches_total', 'failed');
  const nothing = await countOf('polony_searches_total', 'nothing');
  await waitForMore('polony_sweeps_total', 'done', 3);
  expect(await countOf('polony_searches_total', 'failed')).toBe(failed);
  expect(await countOf('polony_searches_total', 'nothing')).toBe(nothing);
  expect((await searches()).length).toBe(before + 1);
  await allow();
  // A request makes a blocked search try again at once.
  await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
  await handle.result();
  await waitFor(
    'the storage connection to work',
    async () => (await storage()).status === 'STORAGE_CONNECTION_STATUS_CONNECTED',
  );
  await waitForMore('polony_searches_total', 'nothing', 1);
});

it('searches a new storage connection at once, and a disabled or deleted one no more', async () => {
  const other = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'searches-more');
  const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
    name: 'more',
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: other.providerRoleArn,
    externalId: other.externalId,
  });
  await upload('EARLY', other);
  const { storageConnection } = await call<{ storageConnection: { id: string } }>('POST', '/v1/storage-connections', {
    name: 'more',
    providerId: provider.id,
    region: 'us-west-2',
    bucket: other.bucket,
    prefix: other.prefix,
    useForRunUpload: true,
    useForDataExploration: false,
  });
  await isComplete('EARLY');
  const url = `/v1/storage-connections/${storageConnection.id}`;
  await call('PATCH', url, { useForRunUpload: false });
  const expectNotFound = async (runName: string): Promise<void> => {
    // A search that began before may still end.
    await waitForMore('polony_searches_total', 'nothing', 1);
    await upload(runName, other);
    await waitForMore('polony_searches_total', 'nothing', 4);
    expect(await findRun(runName)).toBeUndefined();
  };
  await expectNotFound('DISABLED');
  await call('PATCH', url, { useForRunUpload: true });
  await isComplete('DISABLED');
  await call('DELETE', url);
  await expectNotFound('DELETED');
});

describe('schedules of an older version', () => {
  const createOld = async (): Promise<void> => {
    const spec = { intervals: [{ every: 1000 }] };
    const common = { type: 'startWorkflow' as const, taskQueue: 'polony' };
    await temporal.schedule.create({
      scheduleId: 'sweep',
      spec,
      action: { ...common, workflowType: 'sweep', workflowId: 'sweep', args: [] },
    });
    await temporal.schedule.create({
      scheduleId: `discover/${storageConnectionId}`,
      spec,
      action: {
        ...common,
        workflowType: 'discoverRuns',
        workflowId: `discover-runs/${storageConnectionId}`,
        args: [{ storageConnectionId, storageConnectionName: 'runs' }],
      },
    });
  };
  const areGone = (): Promise<unknown> =>
    waitFor('the schedules to be removed', async () => (await schedules()).join() === 'verify-all');

  it('are removed when they start something, as an old worker beside may create them again', async () => {
    await createOld();
    await areGone();
    await waitFor('the sweep to end', async () => {
      const { count } = await temporal.workflow.count('WorkflowType = "sweep" AND ExecutionStatus = "Completed"');
      return count > 0;
    });
  });

  it('are removed by a worker of this version that starts', async () => {
    stack.worker!.kill();
    await stack.worker!.exited;
    await releaseAll();
    await temporal.schedule.create({
      scheduleId: 'discover/0192f4d0-0000-7000-8000-000000000000',
      spec: { intervals: [{ every: '1 day' }] },
      action: { type: 'startWorkflow', workflowType: 'discoverRuns', taskQueue: 'polony', args: [] },
    });
    await createOld();
    stack.worker = await stack.startWorker();
    await areGone();
  });
});

/** As if the leases had expired. */
async function releaseAll(): Promise<void> {
  for (const { holder } of await db.selectFrom('leases').select('holder').distinct().execute())
    await releaseLeases(db, holder);
}

describe('another worker', { tags: 'long' }, () => {
  it('goes on at once where one stops, and within a minute where one is killed', async () => {
    const second = await stack.startWorker();
    await waitForMore('polony_sweeps_total', 'done', 1, second);
    expect(await countOf('polony_searches_total', 'nothing', second)).toBe(0);
    await stack.worker!.stop();
    await upload('STOPPED');
    await isComplete('STOPPED');
    const third = await stack.startWorker();
    await waitForMore('polony_searches_total', 'nothing', 1, second);
    expect(await countOf('polony_searches_total', 'nothing', third)).toBe(0);
    second.kill();
    await second.exited;
    await upload('KILLED');
    await isComplete('KILLED');
    await waitForMore('polony_sweeps_total', 'done', 2, third);
    stack.worker = third;
  });
});
