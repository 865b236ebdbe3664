import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PutRolePolicyCommand, UpdateRoleCommand } from '@aws-sdk/client-iam';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect } from 'vitest';
import { createActivities } from '../activities/index.js';
import { RunWatching } from '../activities/executions/runWatching.js';
import { AwsSessions } from '../aws/sessions.js';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../cli/customer.js';
import { describeRun, simulateInstrument } from '../local/instrument.js';
import type { Stack } from '../local/stack.js';
import { type Db, openDatabase } from '../store/database.js';
import { Orchestrator } from '../temporal/client.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import { HELD_MS, waitFor } from './support.js';
import { countEvents, startTestStack, workflowSource, logErrorsOnly, WORKER_SETTINGS } from './testStack.js';

// The worker runs in this process, so that the test can set its sessions, clock and polls. Its activities are the real
// ones.
let stateDir: string;
let stack: Stack;
export let account: CustomerAccount;
let db: Db;
let connection: Connection;
let native: NativeConnection;
let temporal: Client;
let workers: Worker[] = [];
let watching: RunWatching | undefined;
let running: Promise<unknown>;
let flowId: string;
let runId: string;
export let providerId: string;
export const settings = { ...WORKER_SETTINGS, runPollSeconds: 0.05 };
/** The sessions that the worker uses at the moment. */
let current: AwsSessions;
/** Sets the sessions that the worker uses from now on. */
export function setSessions(sessions: AwsSessions): void {
  current = sessions;
}
/**
 * Counts how often the provider was loaded to assume its role, by the latest {@link awsAccess}. The worker may still use
 * an earlier one.
 */
export const assumed = { count: 0 };
let latest = {};

export function awsAccess(options: { sessionSeconds: number; now?: () => number }): AwsSessions {
  assumed.count = 0;
  const self = (latest = {});
  return new AwsSessions({
    ...options,
    loadProvider: async () => {
      if (self === latest) assumed.count++;
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

export const runOf = (executionId: string) =>
  [...stack.aws.emulator.runs.values()].find((run) => run.requestId === executionId)!;
export const callsOf = (executionId: string, operation: string) =>
  stack.aws.emulator.calls.filter(
    (call) =>
      call.operation === operation &&
      (call.requestId === executionId || (call.runId !== undefined && call.runId === runOf(executionId)?.id)),
  );

/** Carries out an execution. Its run ends after enough looks. */
export async function execute(
  enough: (polls: number) => boolean,
): Promise<{ id: string; events: number; polls: number }> {
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

/** Sets the longest session that AWS gives for the provider's role. */
export async function limitSessions(seconds: number): Promise<void> {
  const { iam } = adminClients(stack.info);
  const RoleName = account.providerRoleArn.split('/').at(-1);
  await iam.send(new UpdateRoleCommand({ RoleName, MaxSessionDuration: seconds }));
  iam.destroy();
}

/** Starts a stack before the tests of a file, with a worker in this process. */
export function usePollingStack(): void {
  beforeAll(async () => {
    logErrorsOnly();
    stateDir = mkdtempSync(path.join(tmpdir(), 'polony-sessions-'));
    stack = await startTestStack({
      stateDir,
      // Some tests use sessions of two seconds.
      allowShortSessions: true,
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
    const orchestrator = new Orchestrator(temporal, taskQueue);
    watching = new RunWatching({
      db,
      leaseDb: db,
      aws,
      orchestrator,
      settings,
      getRunsPerSecond: 10_000,
      warn: () => undefined,
    });
    watching.start();
    const activities = createActivities({ db, aws, orchestrator, settings, watching });
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
    await watching?.close();
    await native?.close();
    await connection?.close();
    await db?.destroy();
    await stack?.stop();
    rmSync(stateDir, { recursive: true, force: true });
  });
}
