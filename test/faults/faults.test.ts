import { expect, it } from 'vitest';
import { runFaults } from './faults.js';

// The short form of `npm run faults`, which draws a new seed each time. Here the seed is fixed, so that you can
// repeat a failure.
it('loses no execution, starts none twice and ends every run while parts crash and answers are lost', async () => {
  const { details, faults, ...report } = await runFaults({ executions: 30, seed: 5, crashEvery: 3 });
  expect(details).toEqual([]);
  expect(report).toMatchObject({ executions: 30, duplicates: 0, lost: 0, leftRunning: 0, wrongState: 0 });
  expect(report.runs).toBeGreaterThan(15);
  // A run without faults would prove nothing.
  expect(Object.keys(faults).filter((kind) => kind.endsWith('killed')).length).toBeGreaterThan(0);
  expect(faults['answers lost']).toBeGreaterThan(0);
}, 1_800_000);
