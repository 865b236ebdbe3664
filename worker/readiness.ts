import { setTimeout } from 'node:timers/promises';
import type { Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { errorMessage } from '../domain/errors.js';
import { untilAborted, withDeadline } from '../observability/deadline.js';
import { type Db, describeAddress, isMigrated } from '../store/database.js';
import type { Orchestrator } from '../temporal/client.js';
import type { WorkerHealth } from './health.js';

/** How long a part may take to answer before it counts as unreachable, in milliseconds. */
const CHECK_MS = 3000;
/** Pauses between two tries to reach the database, in milliseconds. */
const PAUSES_MS = [250, 500, 1000, 2000, 5000];

/** What a worker needs before it can work. */
interface Parts {
  db: Db;
  databaseUrl: string;
  orchestrator: Pick<Orchestrator, 'check'>;
}

/**
 * Waits until the database answers and has the tables of this build. A worker that polled before would fail the tasks
 * of other workers.
 * @param stopping ends the waiting.
 * @throws AbortError when it ends so.
 */
export async function waitForDatabase(
  { db, databaseUrl }: Pick<Parts, 'db' | 'databaseUrl'>,
  logger: Logger,
  stopping: AbortSignal,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const state = await untilAborted(checkDatabase(db), stopping);
    if (state === 'ok') return;
    logger.warn(
      { database: describeAddress(databaseUrl), state },
      'waiting for the database; the worker does not poll',
    );
    await setTimeout(PAUSES_MS[Math.min(attempt, PAUSES_MS.length - 1)], undefined, { signal: stopping });
  }
}

/** What works now. @param workers those of the task queues; none before they are created. */
export async function checkWorker(
  { db, orchestrator }: Pick<Parts, 'db' | 'orchestrator'>,
  workers: readonly Worker[],
): Promise<WorkerHealth> {
  const [database, temporal] = await Promise.all([checkDatabase(db), checkTemporal(orchestrator)]);
  const isPolling = workers.length > 0 && workers.every((worker) => worker.getState() === 'RUNNING');
  return { database, temporal, tasks: isPolling ? 'ok' : 'not polling' };
}

async function checkDatabase(db: Db): Promise<string> {
  try {
    return (await withDeadline(isMigrated(db), CHECK_MS)) ? 'ok' : 'not migrated: run polony migrate';
  } catch (error) {
    return `unreachable: ${errorMessage(error)}`;
  }
}

async function checkTemporal(orchestrator: Pick<Orchestrator, 'check'>): Promise<string> {
  try {
    await withDeadline(orchestrator.check(), CHECK_MS);
    return 'ok';
  } catch (error) {
    return `unreachable: ${errorMessage(error)}`;
  }
}
