import path from 'node:path';
import { inject } from 'vitest';
import { type Stack, type StackOptions, startStack } from '../local/stack.js';

/** Starts a whole stack of one test file, whose processes start from the build of all tests. */
export const startTestStack = (options: StackOptions): Promise<Stack> =>
  startStack({ durable: false, headless: true, build: inject('build'), ...options });

/** The compiled command line, for `node`; `node --import tsx cli/main.ts` would compile it anew at each start. */
export const cliFile = (): string => path.join(inject('build'), 'cli/main.js');

/** Where workers that tests start themselves have the workflows from: the bundle of all tests. */
export const workflowSource = (): { workflowBundle: { codePath: string } } => ({
  workflowBundle: { codePath: path.join(inject('build'), 'worker/workflow-bundle.js') },
});
