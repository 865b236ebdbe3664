import { expect, it } from 'vitest';
import { runFaults } from './faults.js';

// The short form of `npm run test:faults`. A run of its own draws a new seed each time; this one is always the same, so that a failure can be looked into.
it('loses nothing, starts nothing twice and leaves nothing running while parts are killed and answers are lost', async () => {
  const { details, faults, ...report } = await runFaults({ executions: 30, seed: 5, crashEvery: 3 });
  expect(details).toEqual([]);
  expect(report).toMatchObject({ executions: 30, duplicates: 0, lost: 0, leftRunning: 0, wrongState: 0 });
  expect(report.runs).toBeGreaterThan(15);
  // The suite is worth nothing if it injects nothing.
  expect(Object.keys(faults).filter((kind) => kind.endsWith('killed')).length).toBeGreaterThan(0);
  expect(faults['answers lost']).toBeGreaterThan(0);
}, 300_000);
