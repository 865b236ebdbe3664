import { pino, type Logger } from 'pino';
import { createKmsDataKeys } from '../aws/kms.js';
import { parseApiConfig, parseRuntimeRole, parseWorkerConfig } from './settings/parse.js';
import { errorMessage, loggableError } from '../domain/errors.js';
import { migrate, openDatabase } from '../store/database.js';
import { grantRuntimeRole } from '../store/runtimeRole.js';
import { reencrypt } from '../store/reencrypt.js';
import { createSecrets } from '../store/secrets.js';
import { connectTemporal } from '../temporal/connection.js';
import { registerSearchAttributes } from '../temporal/searchAttributes.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';

function logger(level: string): Logger {
  // API keys and external ids must never reach a log.
  return pino({
    level,
    // Without these, pino writes an error as {}.
    serializers: { error: serializeError, err: serializeError },
    redact: {
      paths: ['req.headers["x-api-key"]', 'req.headers.authorization', '*.externalId', '*.external_id'],
      remove: true,
    },
  });
}

/** An error with its causes. What is safe to log already stays as it is. */
function serializeError(value: unknown): unknown {
  return value instanceof Error ? loggableError(value) : value;
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

/** `polony api` */
export async function apiProcess(): Promise<void> {
  const config = parseApiConfig(process.env);
  const log = logger(config.logLevel);
  await runUntilTermination(
    log,
    // Each process loads only its own part, which saves it a quarter of its start.
    async () => (await import('../api/server.js')).startApi(config, log),
    (api) => api.close(),
  );
}

/** `polony worker` */
export async function workerProcess(): Promise<void> {
  const config = parseWorkerConfig(process.env);
  const log = logger(config.logLevel);
  await runUntilTermination(
    log,
    async (stopping) => (await import('../worker/worker.js')).startWorker(config, log, stopping),
    (worker) => worker.stop(),
    (worker) => worker.done,
  );
}

/** gRPC codes of Temporal Cloud, which does not let its users register search attributes: denied and unimplemented. */
const REGISTRATION_NOT_ALLOWED: readonly unknown[] = [7, 12];

/** `polony migrate`: migrates the database and, when TEMPORAL_ADDRESS is set, registers the search attributes. */
export async function migrateProcess(): Promise<void> {
  // The API and the worker read the same settings. Only TEMPORAL_ADDRESS is optional here.
  const { TEMPORAL_ADDRESS: address, ...env } = process.env;
  const hasTemporal = address !== undefined && address.trim() !== '';
  const { databaseUrl, temporal } = parseWorkerConfig({
    ...env,
    TEMPORAL_ADDRESS: hasTemporal ? address : 'none:7233',
  });
  const role = parseRuntimeRole(env);
  const db = openDatabase(databaseUrl, 1);
  try {
    const done = await migrate(db);
    process.stdout.write(
      done.length === 0 ? 'The database is up to date.\n' : `Migrated the database: ${done.join(', ')}\n`,
    );
    if (role !== undefined) {
      await grantRuntimeRole(db, role);
      process.stdout.write(`The role ${role.name} has the rights of the API and the worker.\n`);
    }
  } finally {
    await db.destroy();
  }
  if (!hasTemporal) return;
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
