import { pino, type Logger } from 'pino';
import { startApi } from '../api/server.js';
import { createKmsDataKeys } from '../aws/kms.js';
import { parseApiConfig, parseWorkerConfig } from './settings/parse.js';
import { errorMessage } from '../domain/errors.js';
import { migrate, openDatabase } from '../store/database.js';
import { reencrypt } from '../store/reencrypt.js';
import { createSecrets } from '../store/secrets.js';
import { connectTemporal } from '../temporal/connection.js';
import { registerSearchAttributes } from '../temporal/searchAttributes.js';
import { startWorker } from '../worker/worker.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';

function logger(level: string): Logger {
  // Keys and external ids never reach a log, wherever they stand in what is logged.
  return pino({
    level,
    redact: {
      paths: ['req.headers["x-api-key"]', 'req.headers.authorization', '*.externalId', '*.external_id'],
      remove: true,
    },
  });
}

/** What a process is told to end by. Listened to from its first moment: the first process of a container gets no signal that it does not listen to. */
function toldToEnd(): Promise<NodeJS.Signals> {
  // Not once: a second one while we stop (a shell passes on what its group has got already) must not cut the stop short.
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, resolve);
  });
}

/** Runs a part until the process is told to end or the part ends by itself, also when it is told while the part still starts. */
async function run<T>(
  log: Logger,
  start: () => Promise<T>,
  stop: (part: T) => Promise<void>,
  done: (part: T) => Promise<void> = () => new Promise(() => undefined),
): Promise<void> {
  const told = toldToEnd();
  const starting = start();
  const early = await Promise.race([told, starting.then(() => undefined)]);
  // A part that hangs must not keep a deployment waiting.
  const limit = (): void => void setTimeout(() => process.exit(1), 30_000).unref();
  if (early !== undefined) {
    log.info({ by: early }, 'stopping before it has started');
    limit();
    // What cannot start any more, because what it needs stops too, has nothing to stop.
    await starting.then(stop, () => undefined);
    return;
  }
  const part = await starting;
  const by = await Promise.race([told, done(part).then(() => 'its own end')]);
  log.info({ by }, 'stopping');
  limit();
  await stop(part);
}

/** `polony api` */
export async function apiProcess(): Promise<void> {
  const config = parseApiConfig(process.env);
  const log = logger(config.logLevel);
  await run(
    log,
    () => startApi(config, log),
    (api) => api.close(),
  );
}

/** `polony worker` */
export async function workerProcess(): Promise<void> {
  const config = parseWorkerConfig(process.env);
  const log = logger(config.logLevel);
  await run(
    log,
    () => startWorker(config, log),
    (worker) => worker.stop(),
    (worker) => worker.done,
  );
}

/** gRPC codes of a server that does not let its users register search attributes: Temporal Cloud. */
const NOT_OURS_TO_REGISTER: readonly unknown[] = [7, 12];

/** `polony migrate`: the tables, and the search attributes of the namespace where a Temporal server is named. */
export async function migrateProcess(): Promise<void> {
  // By the same rules, and with the same words, as the processes that come after; Temporal need not be there yet.
  const { TEMPORAL_ADDRESS: address, ...env } = process.env;
  const named = address !== undefined && address.trim() !== '';
  const { databaseUrl, temporal } = parseWorkerConfig({ ...env, TEMPORAL_ADDRESS: named ? address : 'none:7233' });
  const db = openDatabase(databaseUrl, 1);
  try {
    const done = await migrate(db);
    process.stdout.write(done.length === 0 ? 'The tables are up to date.\n' : `Carried out: ${done.join(', ')}\n`);
  } finally {
    await db.destroy();
  }
  if (!named) return;
  const { connection } = await connectTemporal(temporal);
  try {
    await registerSearchAttributes(connection, temporal.namespace, SEARCH_ATTRIBUTES);
    process.stdout.write(`Namespace ${temporal.namespace} has the search attributes.\n`);
  } catch (error) {
    const code = (error as { cause?: { code?: unknown } }).cause?.code;
    if (!NOT_OURS_TO_REGISTER.includes(code)) throw error;
    // They may well be there: this server does not even let us look.
    process.stderr.write(`${errorMessage(error)}\n`);
  } finally {
    await connection.close();
  }
}

/** `polony reencrypt`: with the new key first in POLONY_ENCRYPTION_KEYS, then those that secrets are encrypted with. */
export async function reencryptProcess(): Promise<void> {
  const { databaseUrl, encryptionKeys } = parseWorkerConfig({ ...process.env, TEMPORAL_ADDRESS: 'none:7233' });
  const secrets = createSecrets(encryptionKeys, createKmsDataKeys);
  const db = openDatabase(databaseUrl, 1);
  try {
    const count = await reencrypt(db, secrets);
    process.stdout.write(
      `${count} secret${count === 1 ? '' : 's'} encrypted anew; all are encrypted with ${secrets.currentKeyId}.\n`,
    );
  } finally {
    await db.destroy();
  }
}
