import path from 'node:path';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import type { ApplicationFailure } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect } from 'vitest';
import type { Activities } from '../activities/index.js';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';
import type { GrantAgenda, GrantChange } from '../domain/grants/grant.js';
import type { Bases2FastqInput } from '../workflows/messages/executions.js';
import { changeGrantUpdate, DRAINING } from '../workflows/messages/grants.js';
import type { RunUploadInput } from '../workflows/messages/runs.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';
import { workflowSource, logErrorsOnly } from './testStack.js';

// Time skips ahead whenever nothing happens, so that days pass in seconds. The workflows are real, the activities are
// fakes.
export let env: TestWorkflowEnvironment;

/** Starts the time-skipping server before the tests of a file. */
export function useTimeSkipping(): void {
  beforeAll(async () => {
    logErrorsOnly();
    const { binDir } = await ensurePython(PYTHON.timeSkippingServer);
    env = await TestWorkflowEnvironment.createTimeSkipping({
      server: { executable: { type: 'existing-path', path: path.join(binDir, 'temporal-test-server') } },
    });
    // temporal.api.enums.v1.IndexedValueType
    const types = { Keyword: 2, Bool: 5, Datetime: 6, KeywordList: 7 };
    const searchAttributes = Object.fromEntries(
      Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, types[type]]),
    );
    await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes });
  });
  afterAll(async () => env?.teardown());
}

/** Runs a workflow to its end; `execute` lets time skip. */
export async function withWorker<T>(activities: Partial<Activities>, run: () => Promise<T>): Promise<T> {
  const worker = await Worker.create({
    connection: env.nativeConnection,
    taskQueue: 'test',
    ...workflowSource(),
    activities,
  });
  return worker.runUntil(run);
}

export const execution: Bases2FastqInput = {
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
};
export const upload: RunUploadInput = {
  runId: 'r1',
  storageConnectionId: 's1',
  storageConnectionName: 'runs',
  instrumentName: 'AV240001',
  runFolder: '20260101_AV240001_RUN',
  runName: 'RUN',
};

const grantId = '01920000-0000-7000-8000-000000000001';
export const nothingLeft: GrantAgenda = { due: null, open: 0, problem: null };
/**
 * Sends an update until the workflow accepts it. A workflow that is about to continue in a new history asks for a
 * repeat.
 */
export async function changeAccess(workflowId: string, bucket: string): Promise<GrantChange> {
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

/** What happened to a grant that expired after a hundred days. */
interface Expiry {
  result: unknown;
  /** Changes that the activity made. */
  changes: number;
  /** Days after which the workflow looked for expired grants. */
  settled: number[];
  /** The history of each run of the workflow that was seen. */
  histories: Awaited<ReturnType<ReturnType<typeof env.client.workflow.getHandle>['fetchHistory']>>[];
}

/** Changes a grant that expires after a hundred days so many times, and waits until the workflow has removed it. */
export async function letGrantExpire(count: number): Promise<Expiry> {
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
  const bucket = `expiry-${count}`;
  const workflowId = `bucket-access/${bucket}`;
  const runs = new Set<string>();
  const result = await withWorker(activities, async () => {
    const handle = await env.client.workflow.start('bucketAccess', {
      taskQueue: 'test',
      workflowId,
      args: [{ bucket: bucket }],
    });
    for (let number = 0; number < count; number++) {
      expect(await changeAccess(workflowId, bucket)).toEqual({ state: 'active', problem: null });
      if (number % 50 === 0) runs.add((await env.client.workflow.getHandle(workflowId).describe()).runId);
    }
    return handle.result() as Promise<unknown>;
  });
  const histories = await Promise.all(
    [...runs].map((runId) => env.client.workflow.getHandle(workflowId, runId).fetchHistory()),
  );
  for (const history of histories) await Worker.runReplayHistory(workflowSource(), history, workflowId);
  return { result, changes, settled, histories };
}
