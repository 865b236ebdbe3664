import { defineConfig } from 'vitest/config';

declare module 'vitest' {
  export interface ProvidedContext {
    /** How many random samples tests draw: `many` in `npm run test:load`. */
    samples: 'few' | 'many';
  }
}

/** Tests that `npm run test:load` repeats with more samples. */
const withSamples = ['iam-enforcement', 'runs'].map((subject) => `test/stack/${subject}.test.ts`);

const project = (name: string, groupOrder: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`, ...(name === 'load' ? withSamples : [])],
    provide: { samples: name === 'load' ? ('many' as const) : ('few' as const) },
    globalSetup: ['test/globalSetup.ts', ...(name === 'unit' ? [] : ['test/sharedPostgres.ts'])],
    // The AWS SDK warns about Node 20, which polony supports.
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
    // Tests wait until something happens, not for a time. These limits only end what hangs, on the slowest machine.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    teardownTimeout: 60_000,
    // Files that run in the same process load each module once.
    isolate: false,
    sequence: { groupOrder },
    // Files that start services wait more than they work.
    maxWorkers: 4,
  },
});

export default defineConfig({
  test: {
    // `npm test` runs the first two; each of the others takes minutes and has a command of its own (package.json).
    projects: [
      project('unit', 0),
      project('stack', 0),
      project('schemathesis', 1),
      project('processes', 2),
      project('images', 3),
      project('faults', 4),
      project('load', 5),
    ],
  },
});
