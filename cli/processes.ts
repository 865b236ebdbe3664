import type { Logger } from 'pino';
import { createKmsDataKeys } from '../aws/kms.js';
import {
  parseApiConfig,
  parseCodecConfig,
  parseMigrateConfig,
  parsePromoteConfig,
  parseWorkerConfig,
} from './settings/parse.js';
import { secretValues } from './settings/secretValues.js';
import { errorMessage } from '../domain/errors.js';
import { VERSION } from '../domain/version.js';
import { createLogger } from '../observability/log.js';
import { Redactor } from '../observability/redact.js';
import { startTracing } from '../observability/startTracing.js';
import { tracing } from '../observability/tracing.js';
import { type Db, listMigrations, migrate, openDatabase } from '../store/database.js';
import { grantRuntimeRole } from '../store/runtimeRole.js';
import { reencrypt } from '../store/reencrypt.js';
import { createSecrets } from '../store/secrets.js';
import { connectTemporal } from '../temporal/connection.js';
import { Deployments } from '../temporal/deployments.js';
import { registerSearchAttributes } from '../temporal/searchAttributes.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';

/** The logger of a process. It knows the secrets in the settings, so that no line contains them. */
function logger(level: string): Logger {
  return createLogger(level, { secrets: secretValues(process.env) });
}

/**
 * Waits for a signal to end. Call it first: the first process of a container receives only signals that it listens to.
 * @returns the signal.
 */
function waitForTermination(): Promise<NodeJS.Signals> {
  // Keep listening: a second signal while we stop must not interrupt the stop. A shell sends a signal to us that the
  // terminal has already sent to its whole process group.
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, resolve);
  });
}

/** Runs a part until a signal to end, or until the part ends by itself. The signal can arrive while the part starts. */
async function runUntilTermination<T>(
  log: Logger,
  start: (stopping: AbortSignal) => Promise<T>,
  stop: (part: T) => Promise<void>,
  done: (part: T) => Promise<void> = () => new Promise(() => undefined),
): Promise<void> {
  const termination = waitForTermination();
  const stopping = new AbortController();
  const starting = start(stopping.signal);
  const early = await Promise.race([termination, starting.then(() => undefined)]);
  // A part that hangs must not delay a deployment.
  const exitAfterLimit = (): void => void setTimeout(() => process.exit(1), 30_000).unref();
  if (early !== undefined) {
    log.info({ by: early }, 'stopping before the start is complete');
    exitAfterLimit();
    stopping.abort();
    // A start that fails, for example because its server stops too, leaves nothing to stop.
    await starting.then(stop, () => undefined);
    return;
  }
  const part = await starting;
  const by = await Promise.race([termination, done(part).then(() => 'its own end')]);
  log.info({ by }, 'stopping');
  exitAfterLimit();
  await stop(part);
}

/** Turns tracing on where the settings say so. Otherwise nothing of it is loaded. */
async function openTracing(service: string, { isTracing }: { isTracing: boolean }, log: Logger): Promise<void> {
  if (!isTracing) return;
  const redactor = new Redactor(secretValues(process.env));
  await startTracing(
    service,
    VERSION,
    (text) => redactor.redactText(text),
    (error) => {
      if (error === undefined) log.info('the collector of traces accepts spans again');
      else log.warn({ error }, 'the collector of traces does not accept spans; they are lost until it does');
    },
  );
}

/** `polony api` */
export async function apiProcess(): Promise<void> {
  const config = parseApiConfig(process.env);
  const log = logger(config.logLevel);
  await runUntilTermination(
    log,
    // Each process loads only its own part, which saves it a quarter of its start.
    async () => {
      await openTracing('polony-api', config, log);
      return (await import('../api/server.js')).startApi(config, log);
    },
    async (api) => {
      await api.close();
      await tracing()?.stop();
    },
  );
}

/** `polony worker` */
export async function workerProcess(): Promise<void> {
  const config = parseWorkerConfig(process.env);
  const log = logger(config.logLevel);
  await runUntilTermination(
    log,
    async (stopping) => {
      await openTracing('polony-worker', config, log);
      return (await import('../worker/worker.js')).startWorker(config, log, stopping);
    },
    async (worker) => {
      await worker.stop();
      await tracing()?.stop();
    },
    (worker) => worker.done,
  );
}

/** `polony codec` */
export async function codecProcess(): Promise<void> {
  const config = parseCodecConfig(process.env);
  const log = logger(config.logLevel);
  await runUntilTermination(
    log,
    async () => (await import('../api/codec/server.js')).startCodecServer(config, log),
    (server) => server.close(),
  );
}

/**
 * `polony promote`: makes the version of the settings the current one of its deployment, as soon as its workers poll.
 * @param waitSeconds how long to wait for them
 */
export async function promoteProcess(waitSeconds: number): Promise<void> {
  const { temporal, taskQueue, version } = parsePromoteConfig(process.env);
  const { connection } = await connectTemporal(temporal);
  try {
    const deployments = new Deployments(connection, temporal.namespace);
    const queues = taskQueues(taskQueue);
    const needed = [
      { name: queues.main, kind: 'workflow' as const },
      ...Object.values(queues).map((queue) => ({ name: queue, kind: 'activity' as const })),
    ];
    const name = `${version.buildId} of ${version.deploymentName}`;
    const deadline = AbortSignal.timeout(waitSeconds * 1000);
    let missing = '';
    const sayWhatIsMissing = (reason: string): void => {
      missing = reason;
      process.stderr.write(`Waiting for ${reason}\n`);
    };
    try {
      await deployments.waitForWorkers(version, needed, sayWhatIsMissing, deadline);
    } catch (error) {
      if (!deadline.aborted) throw error;
      throw new Error(
        `No worker of version ${name} polls all task queues after ${waitSeconds} s, so nothing was changed. It waited ` +
          `for ${missing}. Start workers with the same POLONY_DEPLOYMENT_NAME, POLONY_BUILD_ID and POLONY_TASK_QUEUE, ` +
          'and try again.',
        { cause: error },
      );
    }
    const before = await deployments.makeCurrent(version);
    const after = before === undefined || before === version.buildId ? '' : ` after ${before}`;
    process.stdout.write(`Version ${name} is the current one${after}.\n`);
  } finally {
    await connection.close();
  }
}

/** gRPC codes of Temporal Cloud, which does not let its users register search attributes: denied and unimplemented. */
const REGISTRATION_NOT_ALLOWED: readonly unknown[] = [7, 12];

/** @returns what was done to the tables, for people */
export async function migrateTables(db: Db): Promise<string> {
  const done = await migrate(db);
  if (done.length > 0) return `Migrated the database: ${done.join(', ')}`;
  const { known, applied } = await listMigrations(db);
  const newer = applied.filter((name) => !known.includes(name));
  if (newer.length === 0) return 'The database is up to date.';
  return (
    `A newer version of polony migrated the database (${newer.join(', ')}). It stays as it is, so that you can go ` +
    'back to this version.'
  );
}

/** `polony migrate`: migrates the database and, when TEMPORAL_ADDRESS is set, registers the search attributes. */
export async function migrateProcess(): Promise<void> {
  const { databaseUrl, temporal, runtimeRole } = parseMigrateConfig(process.env);
  const db = openDatabase(databaseUrl, 1);
  try {
    process.stdout.write(`${await migrateTables(db)}\n`);
    if (runtimeRole !== undefined) {
      await grantRuntimeRole(db, runtimeRole);
      process.stdout.write(`The role ${runtimeRole.name} has the rights of the API and the worker.\n`);
    }
  } finally {
    await db.destroy();
  }
  if (temporal === undefined) return;
  const { connection } = await connectTemporal(temporal);
  try {
    await registerSearchAttributes(connection, temporal.namespace, SEARCH_ATTRIBUTES);
    process.stdout.write(`Namespace ${temporal.namespace} has the search attributes.\n`);
  } catch (error) {
    const code = (error as { cause?: { code?: unknown } }).cause?.code;
    if (!REGISTRATION_NOT_ALLOWED.includes(code)) throw error;
    // The search attributes may exist: this server does not let us list them either.
    process.stderr.write(`${errorMessage(error)}\n`);
  } finally {
    await connection.close();
  }
}

/**
 * `polony reencrypt`: encrypts every secret with the first key of POLONY_ENCRYPTION_KEYS. The setting must also contain
 * the keys that secrets are encrypted with now.
 */
export async function reencryptProcess(): Promise<void> {
  const { databaseUrl, encryptionKeys } = parseWorkerConfig({ ...process.env, TEMPORAL_ADDRESS: 'none:7233' });
  const secrets = createSecrets(encryptionKeys, createKmsDataKeys);
  const db = openDatabase(databaseUrl, 1);
  try {
    const count = await reencrypt(db, secrets);
    process.stdout.write(
      `Encrypted ${count} secret${count === 1 ? '' : 's'} again. All are now encrypted with ${secrets.currentKeyId}.\n`,
    );
  } finally {
    await db.destroy();
  }
}
