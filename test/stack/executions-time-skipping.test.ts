/** @module-tag long */
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { describe, expect, it } from 'vitest';
import type { Activities } from '../../activities/index.js';
import { createBlockedFailure } from '../../activities/failures.js';
import { retrySignal } from '../../workflows/messages/retry.js';
import { lookSignal, type RunUploadEnded, searchAgainSignal } from '../../workflows/messages/runs.js';
import { attributes } from '../../workflows/messages/searchAttributes.js';
import { waitFor } from '../support.js';
import { workflowSource } from '../testStack.js';
import {
  letGrantExpire,
  changeAccess,
  env,
  execution,
  nothingLeft,
  upload,
  useTimeSkipping,
  withWorker,
} from '../timeSkipping.js';

useTimeSkipping();

it('follows an upload for three days with a short history', { tags: 'long' }, async () => {
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

it('checks an upload again if it is asked to while it ends, and starts the flows then', async () => {
  const found: RunUploadEnded[] = [];
  let end = (): void => undefined;
  const mayEnd = new Promise<void>((resolve) => (end = resolve));
  let reportEnding = (): void => undefined;
  const ending = new Promise<void>((resolve) => (reportEnding = resolve));
  const activities: Partial<Activities> = {
    watchUpload: async () => ({ usable: found.length > 0, reason: 'judged' }),
    async startFlows(_runId, ended) {
      found.push(ended);
      if (ended.usable) return { executions: ['e1'] };
      reportEnding();
      await mayEnd;
      return { executions: [] };
    },
  };
  const options = { taskQueue: 'test', workflowId: 'upload-reopened', args: [upload] };
  const run = async (): Promise<unknown> => {
    const handle = await env.client.workflow.start('runUpload', options);
    await ending;
    await env.client.workflow.signalWithStart('runUpload', { ...options, signal: lookSignal, signalArgs: [] });
    end();
    return handle.result();
  };
  expect(await withWorker(activities, run)).toMatchObject({ usable: true, executions: ['e1'] });
  expect(found.map(({ usable }) => usable)).toEqual([false, true]);
});

it.each([retrySignal, lookSignal])(
  'shows an upload as no longer blocked after its cause was repaired and the signal %o was sent',
  { tags: 'long' },
  async (signal) => {
    let isRepaired = false;
    let hasEnded = false;
    const activities: Partial<Activities> = {
      async watchUpload(_runId, probing) {
        if (!isRepaired) throw createBlockedFailure({ kind: 'ACCESS_DENIED', message: 'denied', remedy: 'allow it' });
        if (hasEnded) return { usable: true, reason: 'The run is complete' };
        throw probing
          ? ApplicationFailure.nonRetryable('No longer blocked', 'Unblocked')
          : ApplicationFailure.create({ type: 'NotYet', message: 'uploading', nextRetryDelay: '10 minutes' });
      },
      startFlows: async () => ({ executions: [] }),
      recordRetry: async () => undefined,
    };
    await withWorker(activities, async () => {
      const handle = await env.client.workflow.start('runUpload', {
        taskQueue: 'test',
        workflowId: `upload-blocked-${signal.name}`,
        args: [upload],
      });
      const isBlocked = async (): Promise<unknown> =>
        (await handle.describe()).typedSearchAttributes.get(attributes.blocked);
      await waitFor('it to be blocked', async () => (await isBlocked()) === true);
      isRepaired = true;
      await handle.signal(signal);
      await waitFor('it to be unblocked', async () => (await isBlocked()) === false);
      hasEnded = true;
      await handle.result();
    });
  },
);

it('watches a run for twelve hours', { tags: 'long' }, async () => {
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

it(
  'stays blocked through a thousand probes with a short history, and continues without help',
  { tags: 'long' },
  async () => {
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
  },
);

it('gives up after the maximum time of blocking, and names the missing permission', { tags: 'long' }, async () => {
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

it('removes a grant when it expires, after a hundred days', { tags: 'long' }, async () => {
  const { result, settled } = await letGrantExpire(3);
  expect(result).toEqual({ changes: 3 });
  // The workflow checks every thirty days, and right after the expiry.
  expect(settled.map(Math.round)).toEqual([30, 60, 90, 100]);
  expect(settled.at(-1)).toBeGreaterThanOrEqual(100);
  expect(settled.at(-1)).toBeLessThan(100.01);
});

it(
  'retries removals with growing waits, makes other changes meanwhile, and ends when nothing is left',
  { tags: 'long' },
  async () => {
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
  },
);

it(
  'waits longer from attempt to attempt where a grant expires while its policy cannot be changed',
  { tags: 'long' },
  async () => {
    const began = await env.currentTimeMs();
    const tried: number[] = [];
    const activities: Partial<Activities> = {
      changeAccess: async () => ({
        state: 'active',
        problem: null,
        agenda: { due: began + 3_600_000, open: 0, problem: null },
      }),
      async settleAccess() {
        tried.push(((await env.currentTimeMs()) - began) / 1000);
        if (tried.length < 8) throw ApplicationFailure.nonRetryable('the database is away', 'Unexpected');
        return nothingLeft;
      },
    };
    const workflowId = 'bucket-access/expired';
    await withWorker(activities, async () => {
      const handle = await env.client.workflow.start('bucketAccess', {
        taskQueue: 'test',
        workflowId,
        args: [{ bucket: 'expired' }],
      });
      await changeAccess(workflowId, 'expired');
      await handle.result();
      await Worker.runReplayHistory(workflowSource(), await handle.fetchHistory(), workflowId);
    });
    const waits = tried.slice(1).map((time, at) => time - tried[at]!);
    for (const [at, wait] of waits.entries()) {
      expect(wait).toBeGreaterThan(at === 0 ? 14 : waits[at - 1]! - 5);
      expect(wait).toBeLessThanOrEqual(620);
    }
    expect(waits.at(-1)).toBeGreaterThan(500);
  },
);

it(
  'tries outstanding changes of a bucket policy again in time while other changes keep coming',
  { tags: 'long' },
  async () => {
    const began = await env.currentTimeMs();
    const settled: number[] = [];
    const problem = { kind: 'ACCESS_DENIED', message: 'denied', remedy: 'allow it' };
    const activities: Partial<Activities> = {
      changeAccess: async () => ({ state: 'active', problem: null, agenda: { due: null, open: 1, problem } }),
      async settleAccess() {
        settled.push(((await env.currentTimeMs()) - began) / 1000);
        return settled.length < 3 ? { due: null, open: 1, problem } : nothingLeft;
      },
    };
    await withWorker(activities, async () => {
      const workflowId = 'bucket-access/busy';
      const handle = await env.client.workflow.start('bucketAccess', {
        taskQueue: 'test',
        workflowId,
        args: [{ bucket: 'busy' }],
      });
      // On a busy machine, the skipped time runs ahead of the worker. A workflow whose wait begins again with each change
      // would never get there.
      for (let changes = 0; settled.length < 3 && changes < 200; changes++) {
        await changeAccess(workflowId, 'busy');
        await env.sleep('5 seconds');
      }
      expect(settled).toHaveLength(3);
      await handle.result();
      await Worker.runReplayHistory(workflowSource(), await handle.fetchHistory(), workflowId);
    });
    // The waits double: 15, 30 and 60 seconds.
    expect(settled[0]).toBeGreaterThan(14);
    expect(settled[1]! - settled[0]!).toBeGreaterThan(29);
    expect(settled[2]! - settled[1]!).toBeGreaterThan(59);
  },
);

// Last in this file: on a busy machine, the server skips no time any more after the thousands of requests of one of
// them.
describe('a request to search for runs', () => {
  const input = { storageConnectionId: 's1', storageConnectionName: 'runs' };
  const found = { instruments: 1, runFolders: 1, started: 1 };
  const request = (workflowId: string) =>
    env.client.workflow.signalWithStart('discoverRuns', {
      taskQueue: 'test',
      workflowId,
      args: [input],
      signal: searchAgainSignal,
    });

  it('searches once where nothing searches yet', async () => {
    let count = 0;
    const discoverRunFolders = async () => ({ ...found, started: ++count });
    const search = async (): Promise<unknown> => (await request('search-once')).result();
    expect(await withWorker({ discoverRunFolders }, search)).toEqual(found);
  });

  it('is not lost while a search is under way', async () => {
    let count = 0;
    let searching: (() => void) | undefined;
    const begun = new Promise<void>((resolve) => (searching = resolve));
    let release: (() => void) | undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const discoverRunFolders = async () => {
      searching!();
      await released;
      return { ...found, started: ++count };
    };
    const search = async (): Promise<unknown> => {
      const handle = await request('search-again');
      await begun;
      // Several requests mean one more search.
      await request('search-again');
      await request('search-again');
      release!();
      return handle.result();
    };
    expect(await withWorker({ discoverRunFolders }, search)).toEqual({ ...found, started: 2 });
  });

  it('makes a blocked search try again at once, in histories that do not grow with the requests', async () => {
    let isAllowed = false;
    const discoverRunFolders = async () => {
      if (isAllowed) return found;
      throw createBlockedFailure({
        kind: 'ACCESS_DENIED',
        action: 's3:ListBucket',
        message: 'denied.',
        remedy: 'Allow it.',
      });
    };
    const search = async (): Promise<unknown> => {
      await request('search-often');
      for (let at = 0; at < 300; at++) await Promise.all([1, 2, 3, 4, 5, 6, 7].map(() => request('search-often')));
      isAllowed = true;
      await request('search-often');
      // The time-skipping server does not always answer a client that follows the runs of a workflow to its end.
      const last = env.client.workflow.getHandle('search-often');
      const end = async (): Promise<string> => (await last.describe()).status.name;
      await expect.poll(end, { timeout: 120_000, interval: 100 }).toBe('COMPLETED');
      return last.result();
    };
    expect(await withWorker({ discoverRunFolders }, search)).toEqual(found);
    const { events } = await env.client.workflow.getHandle('search-often').fetchHistory();
    expect(events!.length).toBeLessThan(2100);
    expect(events![0]!.workflowExecutionStartedEventAttributes!.continuedExecutionRunId).not.toBe('');
  });
});
