import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createActivities } from '../activities/index.js';
import { WEBHOOK_SLOTS } from '../activities/webhooks/webhookSlots.js';
import type { WorkerConfig } from '../domain/settings.js';
import { toConnectionOptions, withAddress } from '../temporal/connection.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import { warnOfRights } from '../store/runtimeRole.js';
import { openDependencies, type OpenDependencies } from './dependencies.js';
import { type HealthServer, startHealthServer } from './health.js';
import { checkWorker, waitForDatabase } from './readiness.js';
import { installRuntime } from './runtime.js';

/** A worker process that is running. */
export interface RunningWorker {
  /** Ends when the worker has stopped, by {@link stop} or because it failed. */
  done: Promise<void>;
  /** Takes no new work, ends what is under way and closes. HealthOmics runs continue; another worker watches them. */
  stop: () => Promise<void>;
}

/** Where workflows come from: the bundle of a build, otherwise their source. */
function workflowSource(): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'> {
  const bundle = fileURLToPath(new URL('./workflow-bundle.js', import.meta.url));
  if (existsSync(bundle)) return { workflowBundle: { codePath: bundle } };
  const source = fileURLToPath(new URL('../workflows/index.ts', import.meta.url));
  return {
    workflowsPath: existsSync(source) ? source : fileURLToPath(new URL('../workflows/index.js', import.meta.url)),
  };
}

/**
 * Starts the worker. It has several task queues, so that thousands of watched runs and slow receivers of webhooks leave
 * slots for other work. It waits for the database first.
 * @param stopping ends the waiting.
 */
export async function startWorker(config: WorkerConfig, logger: Logger, stopping: AbortSignal): Promise<RunningWorker> {
  installRuntime(config, logger);
  const opened = await openDependencies(config, logger);
  const workers: Worker[] = [];
  const parts = { databaseUrl: config.databaseUrl, db: opened.dependencies.db, orchestrator: opened.orchestrator };
  let health: HealthServer | undefined;
  let connection: NativeConnection | undefined;
  const close = async (): Promise<void> => {
    await health?.close();
    await opened.close(connection);
  };
  try {
    if (config.healthAddress !== undefined) {
      health = await startHealthServer(config.healthAddress, () => checkWorker(parts, workers));
      logger.info({ url: health.url }, 'health checks are answered');
    }
    await waitForDatabase(parts, logger, stopping);
    await warnOfRights(parts.db, logger);
    const connecting = NativeConnection.connect(toConnectionOptions(config.temporal));
    connection = await withAddress(config.temporal, connecting);
    workers.push(...(await createWorkers(config, connection, opened)));
  } catch (error) {
    await close();
    throw error;
  }
  const runs = runTogether(workers);
  await opened.schedules.ensureSweep(config.sweepSeconds);
  await opened.schedules.ensureVerification(config.verifySeconds);
  const done = Promise.allSettled(runs).then(async (results) => {
    await close();
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  });
  logger.info({ taskQueues: taskQueues(config.taskQueue), namespace: config.temporal.namespace }, 'worker is running');
  return {
    done,
    stop: async () => {
      shutDown(workers);
      await done;
    },
  };
}

/** Creates one worker for each task queue. */
async function createWorkers(
  config: WorkerConfig,
  connection: NativeConnection,
  { dependencies }: OpenDependencies,
): Promise<Worker[]> {
  const activities = createActivities(dependencies);
  const queues = taskQueues(config.taskQueue);
  const common = {
    connection,
    namespace: config.temporal.namespace,
    shutdownGraceTime: '5 seconds' as const,
    shutdownForceTime: '20 seconds' as const,
  };
  return [
    await Worker.create({
      ...common,
      taskQueue: queues.main,
      ...workflowSource(),
      activities: activities.main,
      maxConcurrentActivityTaskExecutions: config.activitySlots,
      maxCachedWorkflows: config.workflowCache,
    }),
    await Worker.create({
      ...common,
      taskQueue: queues.watch,
      activities: activities.watch,
      maxConcurrentActivityTaskExecutions: config.watchSlots,
      maxHeartbeatThrottleInterval: '20 seconds',
    }),
    await Worker.create({
      ...common,
      taskQueue: queues.webhooks,
      activities: activities.webhooks,
      maxConcurrentActivityTaskExecutions: WEBHOOK_SLOTS,
    }),
  ];
}

/**
 * Runs the workers. Where one fails, all stop: nobody would do the work of its task queue. The process is started
 * again.
 */
function runTogether(workers: readonly Worker[]): Promise<void>[] {
  return workers.map((worker) =>
    worker.run().catch((error: unknown) => {
      shutDown(workers);
      throw error;
    }),
  );
}

function shutDown(workers: readonly Worker[]): void {
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
}
