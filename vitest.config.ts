import { defineConfig } from 'vitest/config';

/** Projects whose tests need no database. */
const WITHOUT_POSTGRES = new Set(['unit', 'chart', 'package', 'console']);

const project = (name: string, groupOrder: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    globalSetup: ['test/globalSetup.ts', ...(WITHOUT_POSTGRES.has(name) ? [] : ['test/sharedPostgres.ts'])],
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
    tags: [
      {
        name: 'long',
        description:
          'Takes long: kills processes, moves much data, starts many, or tests the local AWS and instrument.',
      },
    ],
    // `npm test` runs the first two, without the tests that have the tag `long`. `npm run test:long` runs those.
    // Each of the others takes minutes and has a command of its own (package.json).
    projects: [
      project('unit', 0),
      project('stack', 0),
      // Alone: what other files leave in the process would count as work of the API.
      project('event-loop', 1),
      project('schemathesis', 2),
      project('processes', 3),
      project('images', 4),
      project('faults', 5),
      project('load', 6),
      project('chart', 7),
      project('package', 8),
      project('console', 9),
    ],
  },
});
