import { ApplicationFailure } from '@temporalio/common';
import { noteLogIds } from '../../observability/logContext.js';
import type { Db } from '../../store/database.js';
import { findRun, type RunContext } from '../../store/runs/load.js';

/** Loads a run. @throws ApplicationFailure `RunUnknown`, which is not retried. */
export async function loadRun(db: Db, runId: string): Promise<RunContext> {
  const run = await findRun(db, runId);
  if (run === undefined) throw ApplicationFailure.nonRetryable(`Run ${runId} is not in the store`, 'RunUnknown');
  noteLogIds({ runId, storageConnectionId: run.storageConnectionId, providerId: run.storage.providerId });
  return run;
}
