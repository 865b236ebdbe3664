import { NativeConnection, Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createActivities } from '../activities/index.js';
import { WEBHOOK_SLOTS } from '../activities/webhooks/webhookSlots.js';
import type { WorkerConfig } from '../domain/settings.js';
import { VERSION } from '../domain/version.js';
import { counted } from '../observability/metrics.js';
import { type MetricsServer, startMetricsServer } from '../observability/metricsServer.js';
import { readMetrics } from '../store/metrics.js';
import { createDataConverter, toConnectionOptions, waitForTemporal, withAddress } from '../temporal/connection.js';
import { Deployments } from '../temporal/deployments.js';
import { toReadings } from '../temporal/taskQueues.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import { warnOfRights } from '../store/runtimeRole.js';
import { openDependencies, type OpenDependencies } from './dependencies.js';
import { type HealthServer, startHealthServer } from './health.js';
import { observed } from './interceptors.js';
import { checkWorker, waitForDatabase } from './readiness.js';
import { installRuntime } from './runtime.js';
import { makeSchedule } from './schedule.js';
import { toDeploymentOptions, waitUntilDrained } from './versioning.js';
import { loadWorkflows } from './workflowBundle.js';

/** A worker process that is running. */
export interface RunningWorker {
  /** Ends when the worker has stopped, by {@link stop} or because it failed. */
  done: Promise<void>;
  /** Takes no new work, ends what is under way and closes. HealthOmics runs continue; another worker watches them. */
  stop: () => Promise<void>;
}

/**
 * Starts the worker. It has several task queues, so that thousands of watched runs and slow receivers of webhooks leave
 * slots for other work. It waits for the database and for Temporal first.
 * @param stopping ends the waiting.
 */
export async function startWorker(config: WorkerConfig, logger: Logger, stopping: AbortSignal): Promise<RunningWorker> {
  const sdkPort = await installRuntime(logger, config.metricsAddress !== undefined);
  const opened = await openDependencies(config, logger);
  const workers: Worker[] = [];
  const parts = { databaseUrl: config.databaseUrl, db: opened.dependencies.db, orchestrator: opened.orchestrator };
  let health: HealthServer | undefined;
  let metrics: MetricsServer | undefined;
  let connection: NativeConnection | undefined;
  const close = async (): Promise<void> => {
    await health?.close();
    await metrics?.close();
    await opened.close(connection);
  };
  try {
    if (config.healthAddress !== undefined) {
      health = await startHealthServer(config.healthAddress, () => checkWorker(parts, workers));
      logger.info({ url: health.url }, 'health checks are answered');
    }
    if (config.metricsAddress !== undefined) {
      metrics = await serveMetrics(config, config.metricsAddress, opened, sdkPort);
      logger.info({ url: metrics.url }, 'metrics are served');
    }
    await waitForDatabase(parts, logger, stopping);
    await warnOfRights(parts.db, logger);
    await waitForTemporal(config.temporal, opened.temporal, logger, stopping);
    const connecting = NativeConnection.connect(toConnectionOptions(config.temporal));
    connection = await withAddress(config.temporal, connecting);
    await makeSchedule(config, opened.orchestrator, stopping);
    workers.push(...(await createWorkers(config, connection, opened)));
  } catch (error) {
    await close();
    throw error;
  }
  const runs = runTogether(workers);
  opened.watching.start();
  const ending = new AbortController();
  if (config.versioning?.endsWhenDrained === true) {
    const deployments = new Deployments(opened.temporal.connection, config.temporal.namespace);
    void waitUntilDrained(config.versioning, deployments, logger, ending.signal).then((isDrained) => {
      if (!isDrained) return;
      logger.info({ ...config.versioning }, 'no workflow needs this version any more; the worker ends');
      shutDown(workers);
    });
  }
  opened.leasedWork.start();
  const done = Promise.allSettled(runs).then(async (results) => {
    ending.abort();
    await close();
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  });
  logger.info({ taskQueues: taskQueues(config.taskQueue), namespace: config.temporal.namespace }, 'worker is running');
  return {
    done,
    stop: async () => {
      shutDown(workers);
      await opened.leasedWork.stop();
      await done;
    },
  };
}

/** Serves the metrics of this process, with those of Temporal's SDK. */
function serveMetrics(
  config: WorkerConfig,
  address: string,
  { dependencies, orchestrator, watching }: OpenDependencies,
  sdkPort: number | undefined,
): Promise<MetricsServer> {
  counted.startRunLimit.set(config.startRunsPerSecond);
  counted.getRunLimit.set(config.getRunsPerSecond);
  watching.budget.observe(counted);
  return startMetricsServer(address, {
    process: 'worker',
    version: VERSION,
    sdkPort,
    read: {
      database: () => readMetrics(dependencies.db),
      temporal: async () => toReadings(await orchestrator.describeTaskQueues()),
    },
  });
}

/** Creates one worker for each task queue. */
async function createWorkers(
  config: WorkerConfig,
  connection: NativeConnection,
  { dependencies, codec }: OpenDependencies,
): Promise<Worker[]> {
  const activities = createActivities(dependencies);
  const queues = taskQueues(config.taskQueue);
  const dataConverter = createDataConverter(codec);
  const { interceptors, sinks } = observed();
  const common = {
    connection,
    namespace: config.temporal.namespace,
    ...toDeploymentOptions(config.versioning),
    ...(dataConverter !== undefined && { dataConverter }),
    interceptors,
    shutdownGraceTime: '5 seconds' as const,
    shutdownForceTime: '20 seconds' as const,
  };
  return [
    await Worker.create({
      ...common,
      taskQueue: queues.main,
      workflowBundle: await loadWorkflows({
        encodesFailures: config.payloadKeys?.encrypts === true,
        pinnedWorkflows: config.versioning?.pinnedWorkflows ?? [],
      }),
      sinks,
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
