import { describe, it } from 'vitest';
import { loseTemporal } from '../support.js';
import { database, expectReconciled, stack, startedRuns, stateDir, stopPolony, useStack, work } from './reconciling.js';

// PostgreSQL, Temporal or both were restored or lost. One command brings everything together: no HealthOmics run is
// started twice, and none is left without a workflow.
useStack('reconcile');

describe('polony reconcile', () => {
  it('after PostgreSQL was restored, with Temporal intact', async () => {
    const scenario = await work('INTACT');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await database.restoreDump();
    await expectReconciled(scenario, before);
  });

  it('after PostgreSQL was restored, with Temporal lost', async () => {
    const scenario = await work('LOST');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await database.restoreDump();
    await loseTemporal(stack, stateDir);
    await expectReconciled(scenario, before);
  });
});
