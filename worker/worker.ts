import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createActivities, type Dependencies } from '../activities/index.js';
import { GetRunBudget } from '../activities/executions/getRunBudget.js';
import { DeliveryDispatcher, WEBHOOK_SLOTS } from '../activities/webhooks/deliver.js';
import { AwsSessions } from '../aws/sessions.js';
import { createKmsDataKeys } from '../aws/kms.js';
import type { WorkerConfig } from '../domain/config.js';
import { openDatabase } from '../store/database.js';
import { listenForWakes } from '../store/events.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { createSecrets } from '../store/secrets.js';
import { WEBHOOKS_CHANNEL } from '../store/webhooks/claims.js';
import { connectTemporal, Orchestrator } from '../temporal/client.js';
import { taskQueues } from '../workflows/messages.js';

/** A worker process at work. */
export interface RunningWorker {
  /** Ends when the worker has stopped, by {@link stop} or because it failed. */
  done: Promise<void>;
  /** Stops taking work, lets what runs come to a stop and closes. HealthOmics runs go on; another worker watches them. */
  stop: () => Promise<void>;
}

/** Where workflows come from: the bundle of a build, else their source. */
export function workflowSource(): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'> {
  const bundle = fileURLToPath(new URL('./workflow-bundle.js', import.meta.url));
  if (existsSync(bundle)) return { workflowBundle: { codePath: bundle } };
  const source = fileURLToPath(new URL('../workflows/index.ts', import.meta.url));
  return {
    workflowsPath: existsSync(source) ? source : fileURLToPath(new URL('../workflows/index.js', import.meta.url)),
  };
}

/** Starts the worker: several task queues, so that watching thousands of runs, and slow receivers of webhooks, leave the other work its slots. */
export async function startWorker(config: WorkerConfig, logger: Logger): Promise<RunningWorker> {
  Runtime.install({
    shutdownSignals: [],
    logger: {
      log: (level, message, meta) =>
        logger[
          level === 'TRACE'
            ? 'trace'
            : level === 'DEBUG'
              ? 'debug'
              : level === 'INFO'
                ? 'info'
                : level === 'WARN'
                  ? 'warn'
                  : 'error'
        ](meta ?? {}, message),
      trace: (message, meta) => logger.trace(meta ?? {}, message),
      debug: (message, meta) => logger.debug(meta ?? {}, message),
      info: (message, meta) => logger.info(meta ?? {}, message),
      warn: (message, meta) => logger.warn(meta ?? {}, message),
      error: (message, meta) => logger.error(meta ?? {}, message),
    },
    ...(config.metricsAddress !== undefined && {
      telemetryOptions: { metrics: { prometheus: { bindAddress: config.metricsAddress } } },
    }),
  });
  const db = openDatabase(config.databaseUrl, config.maxDbConnections);
  const { client, connection: clientConnection } = await connectTemporal(config.temporal);
  const orchestrator = new Orchestrator(client, config.taskQueue, config.giveUpDays);
  const secrets = createSecrets(config.encryptionKeys, createKmsDataKeys);
  const aws = new AwsSessions({ sessionSeconds: config.sessionSeconds, ...createProviderLoader(db, secrets) });
  const polls = new GetRunBudget(db, config.getRunsPerSecond);
  const dispatcher = new DeliveryDispatcher(db, orchestrator, (message) =>
    logger.warn({ error: message }, 'webhooks could not be handed over; the sweep will'),
  );
  const stopListening = listenForWakes(config.databaseUrl, (id) => polls.wake(id), {
    [WEBHOOKS_CHANNEL]: () => dispatcher.wake(),
  });
  const dependencies: Dependencies = {
    db,
    aws,
    orchestrator,
    settings: config,
    polls,
    webhooks: {
      secrets,
      networks: config.webhookNetworks,
      retrySeconds: config.webhookRetrySeconds,
      apiUrl: config.publicUrl,
    },
  };
  const connection = await NativeConnection.connect({
    address: config.temporal.address,
    ...(config.temporal.apiKey !== undefined && { apiKey: config.temporal.apiKey }),
    ...(config.temporal.tls === true || config.temporal.apiKey !== undefined ? { tls: true } : {}),
  });
  const { watchRun, attemptDelivery, ...others } = createActivities(dependencies) as Record<
    string,
    (...args: never[]) => Promise<unknown>
  >;
  const queues = taskQueues(config.taskQueue);
  const common = {
    connection,
    namespace: config.temporal.namespace,
    shutdownGraceTime: '5 seconds' as const,
    shutdownForceTime: '20 seconds' as const,
  };
  const main = await Worker.create({
    ...common,
    taskQueue: queues.main,
    ...workflowSource(),
    activities: others,
    maxConcurrentActivityTaskExecutions: config.activitySlots,
    maxCachedWorkflows: config.workflowCache,
  });
  const watch = await Worker.create({
    ...common,
    taskQueue: queues.watch,
    activities: { watchRun: watchRun! },
    maxConcurrentActivityTaskExecutions: config.watchSlots,
    maxHeartbeatThrottleInterval: '20 seconds',
  });
  const webhooks = await Worker.create({
    ...common,
    taskQueue: queues.webhooks,
    activities: { attemptDelivery: attemptDelivery! },
    maxConcurrentActivityTaskExecutions: WEBHOOK_SLOTS,
  });
  const workers = [main, watch, webhooks];
  const stop = (): void => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const runs = workers.map((worker) =>
    worker.run().catch((error: unknown) => {
      // One queue without its worker would be work that nobody does: stop, and let the process be started again.
      stop();
      throw error;
    }),
  );
  await orchestrator.ensureSweep(config.sweepSeconds);
  await orchestrator.ensureVerification(config.verifySeconds);
  const done = Promise.allSettled(runs).then(async (results) => {
    polls.close();
    await stopListening();
    await dispatcher.close();
    aws.close();
    await connection.close();
    await clientConnection.close();
    await db.destroy();
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  });
  logger.info({ taskQueues: queues, namespace: config.temporal.namespace }, 'worker is running');
  return {
    done,
    stop: async () => {
      stop();
      await done;
    },
  };
}
