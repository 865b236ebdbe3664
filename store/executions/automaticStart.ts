import type { Db } from '../database.js';
import { createExecution, type NewExecution } from './create.js';

/** A flow that was not started, since it started automatically for a copy of the run before. */
export interface EarlierStart {
  flowName: string;
  executionId: string;
}

/**
 * Creates an execution of each flow for a run whose upload is complete. A flow that has an automatic execution of this
 * run already is skipped, so the call can be repeated.
 * @returns the flows that were not started because of a copy of the run.
 */
export async function createAutomaticExecutions(
  db: Db,
  flows: readonly NewExecution['flow'][],
  run: Omit<NewExecution['run'], 'uploadState'>,
  storage: NewExecution['storage'],
): Promise<EarlierStart[]> {
  return db.transaction().execute(async (transaction) => {
    const earlier: EarlierStart[] = [];
    for (const flow of flows) {
      const created = await createExecution(transaction, {
        flow,
        run: { ...run, uploadState: 'complete' },
        storage,
        trigger: 'auto',
        startedBy: 'polony',
        startedById: 'polony',
      });
      if (created.id === undefined && created.startedBefore !== undefined)
        earlier.push({ flowName: flow.name, executionId: created.startedBefore });
    }
    return earlier;
  });
}
