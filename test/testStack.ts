import path from 'node:path';
import { inject } from 'vitest';
import { type Stack, type StackOptions, startStack } from '../local/stack.js';

/** Starts a whole stack of one test file, whose processes start from the build of all tests. */
export async function startTestStack(options: StackOptions): Promise<Stack> {
  const stack = await startStack({ durable: false, headless: true, build: inject('build'), ...options });
  const { stop } = stack;
  // A worker that stops in good order waits for its activities; test/processes tests that.
  stack.stop = async () => {
    stack.worker?.kill();
    stack.api?.kill();
    await stack.temporal.kill();
    await stop();
  };
  return stack;
}

/** Whether an event is of a workflow task: a slow worker adds some of these, so they say nothing about a workflow. */
export function isWorkflowTask(event: object): boolean {
  return Object.entries(event).some(([name, value]) => name.startsWith('workflowTask') && value != null);
}

/** How many events a history has, without those of workflow tasks. */
export function countEvents({ events }: { events?: object[] | null }): number {
  return (events ?? []).filter((event) => !isWorkflowTask(event)).length;
}

/** The compiled command line, for `node`; `node --import tsx cli/main.ts` would compile it anew at each start. */
export const cliFile = (): string => path.join(inject('build'), 'cli/main.js');

/** Where workers that tests start themselves have the workflows from: the bundle of all tests. */
export const workflowSource = (): { workflowBundle: { codePath: string } } => ({
  workflowBundle: { codePath: path.join(inject('build'), 'worker/workflow-bundle.js') },
});
