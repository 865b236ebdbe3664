import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { type AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createActivities } from '../../activities/index.js';
import { GetRunBudget } from '../../activities/executions/getRunBudget.js';
import { SessionError, AwsSessions } from '../../aws/sessions.js';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { type Db, openDatabase } from '../../store/database.js';
import { Orchestrator } from '../../temporal/client.js';
import { taskQueues } from '../../workflows/messages/taskQueues.js';
import { HELD_MS, waitFor } from '../support.js';
import { countEvents, startTestStack, workflowSource } from '../testStack.js';

// The worker runs in this process, so that the test can set its sessions, clock and polls. Its activities are the real
// ones.
let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let db: Db;
let connection: Connection;
let native: NativeConnection;
let temporal: Client;
let workers: Worker[] = [];
let running: Promise<unknown>;
let flowId: string;
let runId: string;
let providerId: string;
const settings = {
  runPollSeconds: 0.05,
  uploadPollSeconds: 1,
  discoverSeconds: 3600,
  startRunsPerSecond: 1000,
  retryRunSeconds: 1,
  stalledMinutes: 120,
  closedWorkflows: 'adopt' as const,
};
/** The settings that the worker uses at the moment. Each test sets its own. */
let current: AwsSessions;
let assumed = 0;

function awsAccess(options: { sessionSeconds: number; now?: () => number }): AwsSessions {
  assumed = 0;
  return new AwsSessions({
    ...options,
    loadProvider: async () => {
      assumed++;
      return {
        type: 'role',
        version: '1',
        roleArn: account.providerRoleArn,
        externalId: account.externalId,
        region: 'us-west-2',
      };
    },
  });
}

const runOf = (executionId: string) =>
  [...stack.aws.emulator.runs.values()].find((run) => run.requestId === executionId)!;
const callsOf = (executionId: string, operation: string) =>
  stack.aws.emulator.calls.filter(
    (call) =>
      call.operation === operation &&
      (call.requestId === executionId || (call.runId !== undefined && call.runId === runOf(executionId)?.id)),
  );

/** Carries out an execution. Its run ends after enough looks. */
async function execute(enough: (polls: number) => boolean): Promise<{ id: string; events: number; polls: number }> {
  const call = apiClient(stack.info);
  const { execution } = await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId });
  const handle = temporal.workflow.getHandle(`execution/${execution.id}`);
  const polls = (): number => callsOf(execution.id, 'GetRun').length;
  await waitFor('enough polls', () => runOf(execution.id)?.status === 'RUNNING' && enough(polls()), polls);
  stack.aws.emulator.finish(runOf(execution.id).id);
  expect(await handle.result()).toMatchObject({ status: 'COMPLETED' });
  return {
    id: execution.id,
    events: countEvents(await handle.fetchHistory()),
    polls: callsOf(execution.id, 'GetRun').length,
  };
}

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-sessions-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: HELD_MS, STOPPING: 50 } },
  });
  stack.worker!.kill();
  // The SDK takes the endpoint and the credentials of polony itself from the environment.
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: stack.aws.endpoint,
    AWS_ACCESS_KEY_ID: stack.aws.serviceAccessKeyId,
    AWS_SECRET_ACCESS_KEY: stack.aws.serviceSecretAccessKey,
  });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'sessions');
  const { iam } = adminClients(stack.info);
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: account.providerRoleArn.split('/').at(-1),
      PolicyName: 'tags',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 'omics:TagResource', Resource: '*' }],
      }),
    }),
  );
  db = openDatabase(stack.info.databaseUrl, 5);
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  native = await NativeConnection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  const taskQueue = 'polony';
  current = awsAccess({ sessionSeconds: 900 });
  const aws = new Proxy({} as AwsSessions, {
    get: (_target, name: string) => {
      const member = (current as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
      return (...args: unknown[]) => member.apply(current, args);
    },
  });
  const activities = createActivities({
    db,
    aws,
    orchestrator: new Orchestrator(temporal, taskQueue),
    settings,
    polls: new GetRunBudget(db, 10_000),
  });
  const queues = taskQueues(taskQueue);
  workers = [
    await Worker.create({
      connection: native,
      taskQueue: queues.main,
      ...workflowSource(),
      activities: activities.main,
    }),
    await Worker.create({ connection: native, taskQueue: queues.watch, activities: activities.watch }),
  ];
  running = Promise.all(workers.map(async (worker) => worker.run()));

  const call = apiClient(stack.info);
  const connected = await connectAccount(call, account);
  ({ providerId, flowId } = connected);
  const { s3 } = adminClients(stack.info);
  await simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'SESSIONS', cycles: { R1: 4, I1: 8, I2: 8 } }),
  }).done;
  await call('POST', `/v1/storage-connections/${connected.storageConnectionId}/discover`);
  runId = await waitFor(
    'the run to be complete',
    async () =>
      (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        (run) => run.status === 'RUN_STATUS_COMPLETED',
      )?.id,
  );
});

afterAll(async () => {
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  await running;
  await native?.close();
  await connection?.close();
  await db?.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

it('works with sessions of two seconds and renews each before it ends', async () => {
  current = awsAccess({ sessionSeconds: 2 });
  const { id, polls } = await execute((count) => assumed >= 3 && count > 2 * assumed);
  // This role may tag resources, so the run has tags.
  expect(runOf(id).tags).toMatchObject({ 'polony:execution': id });
  expect(assumed).toBeGreaterThanOrEqual(3);
  // All calls share sessions, so there are far fewer sessions than calls.
  expect(polls).toBeGreaterThan(2 * assumed);
  expect(callsOf(id, 'StartRun')).toHaveLength(1);
});

it('renews a session that AWS calls expired before our clock does, and repeats the call', async () => {
  const stopped = Date.now();
  current = awsAccess({ sessionSeconds: 2, now: () => stopped });
  const { id } = await execute(() => assumed >= 3);
  expect(assumed).toBeGreaterThanOrEqual(3);
  expect(callsOf(id, 'StartRun')).toHaveLength(1);
});

it('has as many events after five hundred polls as after five', async () => {
  current = awsAccess({ sessionSeconds: 900 });
  settings.runPollSeconds = 1;
  const few = await execute((polls) => polls >= 5);
  settings.runPollSeconds = 0.001;
  const many = await execute((polls) => polls >= 500);
  expect(few.polls).toBeLessThan(50);
  expect(many.polls).toBeGreaterThanOrEqual(500);
  expect(many.events).toBe(few.events);
  expect(few.events).toBeLessThanOrEqual(24);
});

it('shares one session among simultaneous calls', async () => {
  const access = awsAccess({ sessionSeconds: 900 });
  const sessions = await Promise.all(Array.from({ length: 20 }, async () => access.session(providerId)));
  expect(new Set(sessions.map((session) => session.accessKeyId)).size).toBe(1);
  expect(assumed).toBe(1);
  access.close();
});

it('reduces the session length until the role allows it, and remembers the result', async () => {
  const asked: (number | undefined)[] = [];
  // The local AWS does not limit DurationSeconds. The real one answers with a ValidationError.
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with `this` below
  const send = STSClient.prototype.send;
  STSClient.prototype.send = async function (this: STSClient, command: AssumeRoleCommand) {
    asked.push(command.input.DurationSeconds);
    if ((command.input.DurationSeconds ?? 0) > 3600)
      throw Object.assign(
        new Error('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.'),
        { name: 'ValidationError', $metadata: { httpStatusCode: 400 } },
      );
    return (send as (command: AssumeRoleCommand) => Promise<unknown>).call(this, command);
  } as typeof send;
  try {
    const access = awsAccess({ sessionSeconds: 43_200 });
    const { expiration } = await access.session(providerId);
    expect(asked).toEqual([43_200, 28_800, 14_400, 7200, 3600]);
    expect(expiration.getTime() - Date.now()).toBeLessThanOrEqual(3_601_000);
    access.forget(providerId);
    expect((await access.session(providerId)).seconds).toBe(3600);
    expect(asked.slice(5)).toEqual([3600]);
    access.close();
  } finally {
    STSClient.prototype.send = send;
  }
});

it('reports a role that it cannot assume, and tries again at the next call', async () => {
  const access = new AwsSessions({
    sessionSeconds: 900,
    loadProvider: async () => ({
      type: 'role',
      version: '1',
      roleArn: account.providerRoleArn,
      externalId: assumed++ === 0 ? 'wrong-one' : account.externalId,
      region: 'us-west-2',
    }),
  });
  assumed = 0;
  await expect(access.session(providerId)).rejects.toThrow(SessionError);
  expect((await access.session(providerId)).accessKeyId).toMatch(/^ASIA/);
  access.close();
});
