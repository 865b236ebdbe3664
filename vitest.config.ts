import { defineConfig } from 'vitest/config';

const common = {
  globalSetup: ['test/globalSetup.ts'],
  execArgv: ['--disable-warning=NodeVersionSupportWarning'],
  testTimeout: 120_000,
  hookTimeout: 240_000,
};

export default defineConfig({
  test: {
    projects: [
      { test: { ...common, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          ...common,
          name: 'stack',
          include: ['test/stack/**/*.test.ts'],
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
