import path from 'node:path';
import type { Client } from '@temporalio/client';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { inject } from 'vitest';
import { type Stack, type StackOptions, startStack } from '../local/stack.js';

/** Starts a whole stack for one test file. Its processes run the build that all tests share. */
export async function startTestStack(options: StackOptions): Promise<Stack> {
  const stack = await startStack({ durable: false, headless: true, build: inject('build'), ...options });
  const { stop } = stack;
  // A graceful stop of a worker waits for its activities, which costs time. test/processes tests that.
  stack.stop = async () => {
    stack.worker?.kill();
    stack.api?.kill();
    await stack.temporal.kill();
    await stop();
  };
  return stack;
}

/** Whether an event belongs to a workflow task. Their number depends on the worker's speed, not on the workflow. */
export function isWorkflowTask(event: object): boolean {
  return Object.entries(event).some(([name, value]) => name.startsWith('workflowTask') && value != null);
}

/** Counts the events of a history, without those of workflow tasks. */
export function countEvents({ events }: { events?: object[] | null }): number {
  return (events ?? []).filter((event) => !isWorkflowTask(event)).length;
}

/** The compiled command line, for `node`. `node --import tsx cli/main.ts` would compile it at every start. */
export const cliFile = (): string => path.join(inject('build'), 'cli/main.js');

/** Settings of a worker that a test starts itself: quick polls. */
export const WORKER_SETTINGS = {
  runPollSeconds: 1,
  uploadPollSeconds: 1,
  startRunsPerSecond: 1000,
  retryRunSeconds: 1,
  stalledMinutes: 120,
  closedWorkflows: 'adopt' as const,
};

/** The workflow bundle that all tests share, for workers that a test starts itself. */
export const workflowSource = (): { workflowBundle: { codePath: string } } => ({
  workflowBundle: { codePath: path.join(inject('build'), 'worker/workflow-bundle.js') },
});

let isRuntimeInstalled = false;
/** Lets workers in this process log errors only. Test files share a process, which can set this only once. */
export function logErrorsOnly(): void {
  if (!isRuntimeInstalled) Runtime.install({ logger: new DefaultLogger('ERROR') });
  isRuntimeInstalled = true;
}

/** An execution of a workflow; the latest one if `runId` is missing. */
interface WorkflowRun {
  workflowId: string;
  runId?: string;
}

/**
 * Replays histories of workflows with the current code.
 * @throws the first error, such as a DeterminismViolationError
 */
export async function replay(temporal: Client, workflows: Iterable<WorkflowRun>): Promise<void> {
  async function* fetchHistories() {
    for (const { workflowId, runId } of workflows)
      yield { workflowId, history: await temporal.workflow.getHandle(workflowId, runId).fetchHistory() };
  }
  // One worker replays all of them: it loads the workflows once.
  for await (const { error } of Worker.runReplayHistories(workflowSource(), fetchHistories())) if (error) throw error;
}
