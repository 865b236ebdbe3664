import path from 'node:path';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Activities } from '../../activities/index.js';
import { createBlockedFailure } from '../../activities/failures.js';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import type { GrantAgenda, GrantChange } from '../../domain/grants/grant.js';
import type { Bases2FastqInput } from '../../workflows/messages/executions.js';
import { changeGrantUpdate, DRAINING } from '../../workflows/messages/grants.js';
import type { RunUploadInput } from '../../workflows/messages/runs.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';
import { workflowSource } from '../testStack.js';

// Time skips ahead whenever nothing happens, so that days pass in seconds. The workflows are real, the activities are
// fakes.
let env: TestWorkflowEnvironment;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const { binDir } = await ensurePython(PYTHON.timeSkippingServer);
  env = await TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path: path.join(binDir, 'temporal-test-server') } },
  });
  // temporal.api.enums.v1.IndexedValueType: 2 is a keyword, 5 a bool.
  const searchAttributes = Object.fromEntries(
    Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, type === 'Bool' ? 5 : 2]),
  );
  await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes });
});
afterAll(async () => env?.teardown());

/** Runs a workflow to its end; `execute` lets time skip. */
async function withWorker<T>(activities: Partial<Activities>, run: () => Promise<T>): Promise<T> {
  const worker = await Worker.create({
    connection: env.nativeConnection,
    taskQueue: 'test',
    ...workflowSource(),
    activities,
  });
  return worker.runUntil(run);
}

const execution: Bases2FastqInput = {
  executionId: 'e1',
  executionName: 'b2f RUN',
  flowName: 'b2f',
  runName: 'RUN',
  instrumentName: 'AV240001',
  runFolder: '20260101_AV240001_RUN',
  providerName: 'lab',
  account: '111122223333',
  region: 'us-west-2',
  storageConnectionName: 'runs',
  waitForUpload: false,
  watchTaskQueue: 'test',
  heartbeatTimeoutSeconds: 86_400,
};
const upload: RunUploadInput = {
  runId: 'r1',
  storageConnectionId: 's1',
  storageConnectionName: 'runs',
  instrumentName: 'AV240001',
  runFolder: '20260101_AV240001_RUN',
  runName: 'RUN',
};

it('follows an upload for three days with a short history', async () => {
  let looks = 0;
  const started = await env.currentTimeMs();
  const activities: Partial<Activities> = {
    async watchUpload() {
      looks++;
      if ((await env.currentTimeMs()) - started < 3 * 86_400_000) {
        throw ApplicationFailure.create({
          type: 'NotYet',
          message: 'uploading',
          nextRetryDelay: '10 minutes',
          category: ApplicationFailureCategory.BENIGN,
        });
      }
      return { usable: true, reason: 'The run is complete' };
    },
    startFlows: async () => ({ executions: ['e1'] }),
  };
  const run = (): Promise<unknown> =>
    env.client.workflow.execute('runUpload', { taskQueue: 'test', workflowId: 'upload-3-days', args: [upload] });
  const result = await withWorker(activities, run);
  expect(result).toMatchObject({ usable: true, executions: ['e1'] });
  expect(looks).toBeGreaterThan(400);
  expect((await env.client.workflow.getHandle('upload-3-days').fetchHistory()).events!.length).toBeLessThan(25);
});

it('gives up on an upload that never ends, and informs the waiting executions', async () => {
  let ended: unknown;
  const activities: Partial<Activities> = {
    async watchUpload() {
      throw ApplicationFailure.create({
        type: 'NotYet',
        message: 'uploading',
        nextRetryDelay: '6 hours',
        category: ApplicationFailureCategory.BENIGN,
      });
    },
    giveUpUpload: async () => undefined,
    startFlows: async (_runId, how) => {
      ended = how;
      return { executions: [] };
    },
  };
  const run = (): Promise<unknown> =>
    env.client.workflow.execute('runUpload', { taskQueue: 'test', workflowId: 'upload-endless', args: [upload] });
  await withWorker(activities, run);
  expect(ended).toMatchObject({ usable: false });
});

it('watches a run for twelve hours', async () => {
  const activities: Partial<Activities> = {
    prepareExecution: async () => undefined,
    startRun: async () => ({ healthOmicsRunId: '1000001', runOutputUri: 's3://b/o/1000001' }),
    async watchRun(_executionId, from) {
      await env.sleep(from === 'PENDING' ? '20 minutes' : '12 hours');
      return from === 'PENDING'
        ? { status: 'RUNNING', healthOmicsStatus: 'RUNNING' }
        : { status: 'COMPLETED', healthOmicsStatus: 'COMPLETED' };
    },
    readResults: async () => ({ description: 'done', runOutputUri: 's3://b/o/1000001' }),
  };
  const began = await env.currentTimeMs();
  const run = (): Promise<unknown> =>
    env.client.workflow.execute('bases2fastq', { taskQueue: 'test', workflowId: 'run-12-hours', args: [execution] });
  expect(await withWorker(activities, run)).toMatchObject({ status: 'COMPLETED', healthOmicsRunId: '1000001' });
  expect((await env.currentTimeMs()) - began).toBeGreaterThan(12 * 3_600_000);
  expect((await env.client.workflow.getHandle('run-12-hours').fetchHistory()).events!.length).toBeLessThanOrEqual(45);
});

it('stays blocked through a thousand probes with a short history, and continues without help', async () => {
  let tries = 0;
  const started = await env.currentTimeMs();
  const activities: Partial<Activities> = {
    async prepareExecution() {
      tries++;
      if ((await env.currentTimeMs()) - started < 4 * 86_400_000)
        throw createBlockedFailure({
          kind: 'ACCESS_DENIED',
          action: 'omics:GetWorkflow',
          message: 'denied',
          remedy: 'allow it',
        });
    },
    startRun: async () => ({ healthOmicsRunId: '1000002', runOutputUri: 's3://b/o/1000002' }),
    watchRun: async () => ({ status: 'COMPLETED', healthOmicsStatus: 'COMPLETED' }),
    readResults: async () => ({ description: 'done', runOutputUri: 's3://b/o/1000002' }),
  };
  const run = (): Promise<unknown> =>
    env.client.workflow.execute('bases2fastq', {
      taskQueue: 'test',
      workflowId: 'blocked-4-days',
      args: [{ ...execution, executionId: 'e2' }],
    });
  expect(await withWorker(activities, run)).toMatchObject({ status: 'COMPLETED' });
  expect(tries).toBeGreaterThan(1000);
  expect((await env.client.workflow.getHandle('blocked-4-days').fetchHistory()).events!.length).toBeLessThan(60);
});

it('gives up after the maximum time of blocking, and names the missing permission', async () => {
  let ended: unknown;
  let days = 0;
  const activities: Partial<Activities> = {
    async prepareExecution() {
      throw createBlockedFailure({
        kind: 'ACCESS_DENIED',
        action: 'omics:GetWorkflow',
        message: 'denied.',
        remedy: 'Allow it.',
      });
    },
    recordEnd: async (_executionId, end) => {
      ended = end;
      days = ((await env.currentTimeMs()) - began) / 86_400_000;
    },
  };
  const began = await env.currentTimeMs();
  const run = (): Promise<unknown> =>
    env.client.workflow.execute('bases2fastq', {
      taskQueue: 'test',
      workflowId: 'blocked-for-ever',
      args: [{ ...execution, executionId: 'e3', giveUpDays: 2 }],
    });
  await expect(withWorker(activities, run)).rejects.toThrow();
  expect(ended).toMatchObject({
    status: 'FAILED',
    errorType: 'BlockedTooLong',
    description: expect.stringContaining('blocked for 2 days. denied. Allow it.') as string,
  });
  expect(days).toBeGreaterThan(1.9);
  expect(days).toBeLessThan(2.1);
});

it('keeps a blocked search for runs in one workflow, and completes it once unblocked', async () => {
  let tries = 0;
  const activities: Partial<Activities> = {
    async discoverRunFolders() {
      if (++tries <= 20)
        throw createBlockedFailure({
          kind: 'ACCESS_DENIED',
          action: 's3:ListBucket',
          message: 'denied.',
          remedy: 'Allow it.',
        });
      return { instruments: 1, runFolders: 2, started: 2 };
    },
  };
  const run = (): Promise<unknown> =>
    env.client.workflow.execute('discoverRuns', {
      taskQueue: 'test',
      workflowId: 'discover-blocked',
      args: [{ storageConnectionId: 's1', storageConnectionName: 'runs' }],
    });
  expect(await withWorker(activities, run)).toEqual({ instruments: 1, runFolders: 2, started: 2 });
  expect((await env.client.workflow.getHandle('discover-blocked').fetchHistory()).events!.length).toBeLessThan(25);
});

const grantId = '01920000-0000-7000-8000-000000000001';
const nothingLeft: GrantAgenda = { due: null, open: 0, problem: null };
/**
 * Sends an update until the workflow accepts it. A workflow that is about to continue in a new history asks for a
 * repeat.
 */
async function changeAccess(workflowId: string, bucket: string): Promise<GrantChange> {
  for (;;) {
    try {
      return await env.client.workflow.getHandle(workflowId).executeUpdate(changeGrantUpdate, {
        args: [{ bucket, grantId, principal: 'arn:aws:iam::444455556666:root' }],
      });
    } catch (error) {
      if (!(error instanceof WorkflowUpdateFailedError) || (error.cause as ApplicationFailure).type !== DRAINING)
        throw error;
    }
  }
}

it('removes a grant when it expires, after a hundred days and many histories', async () => {
  const began = await env.currentTimeMs();
  const due = began + 100 * 86_400_000;
  const settled: number[] = [];
  let changes = 0;
  const activities: Partial<Activities> = {
    async changeAccess() {
      changes++;
      return { state: 'active', problem: null, agenda: { ...nothingLeft, due } };
    },
    async settleAccess() {
      const days = ((await env.currentTimeMs()) - began) / 86_400_000;
      settled.push(days);
      return days < 100 ? { ...nothingLeft, due } : nothingLeft;
    },
  };
  const workflowId = 'bucket-access/expiry';
  const runs = new Set<string>();
  const result = await withWorker(activities, async () => {
    const handle = await env.client.workflow.start('bucketAccess', {
      taskQueue: 'test',
      workflowId,
      args: [{ bucket: 'expiry' }],
    });
    for (let number = 0; number < 400; number++) {
      expect(await changeAccess(workflowId, 'expiry')).toEqual({ state: 'active', problem: null });
      if (number % 50 === 0) runs.add((await env.client.workflow.getHandle(workflowId).describe()).runId);
    }
    return handle.result() as Promise<unknown>;
  });
  expect([result, changes]).toEqual([{ changes: 400 }, 400]);
  expect(runs.size).toBeGreaterThanOrEqual(2);
  // The workflow checks every thirty days, and right after the expiry.
  expect(settled.map(Math.round)).toEqual([30, 60, 90, 100]);
  expect(settled.at(-1)).toBeGreaterThanOrEqual(100);
  expect(settled.at(-1)).toBeLessThan(100.01);
  for (const runId of runs) {
    const history = await env.client.workflow.getHandle(workflowId, runId).fetchHistory();
    expect(history.events!.length).toBeLessThan(2200);
    await Worker.runReplayHistory(workflowSource(), history, workflowId);
  }
});

it('retries removals with growing waits, makes other changes meanwhile, and ends when nothing is left', async () => {
  const problem = { kind: 'ACCESS_DENIED', action: 's3:PutBucketPolicy', message: 'denied', remedy: 'Allow it' };
  const tried: number[] = [];
  const began = await env.currentTimeMs();
  const activities: Partial<Activities> = {
    changeAccess: async () => ({ state: 'removing', problem, agenda: { due: null, open: 1, problem } }),
    async settleAccess() {
      tried.push(Math.round(((await env.currentTimeMs()) - began) / 1000));
      // A failure that is marked as final is retried too.
      if (tried.length === 3) throw ApplicationFailure.nonRetryable('gone', 'Unexpected');
      return tried.length < 12 ? { due: null, open: 1, problem } : nothingLeft;
    },
  };
  const workflowId = 'bucket-access/denied';
  const result = await withWorker(activities, async () => {
    const handle = await env.client.workflow.start('bucketAccess', {
      taskQueue: 'test',
      workflowId,
      args: [{ bucket: 'denied' }],
    });
    // Open removals do not delay other changes.
    for (let number = 0; number < 2; number++)
      expect(await changeAccess(workflowId, 'denied')).toEqual({ state: 'removing', problem });
    return handle.result() as Promise<unknown>;
  });
  expect(result).toEqual({ changes: 2 });
  expect(tried).toHaveLength(12);
  const waits = tried.map((time, at) => time - (tried[at - 1] ?? 0));
  expect(waits[0]).toBeLessThan(30);
  expect(Math.max(...waits)).toBeLessThanOrEqual(610);
  expect(waits.at(-1)).toBeGreaterThan(500);
  const history = await env.client.workflow.getHandle(workflowId).fetchHistory();
  expect(history.events!.length).toBeLessThan(200);
  await Worker.runReplayHistory(workflowSource(), history, workflowId);
});
