import { pino, type Logger } from 'pino';
import { startApi } from '../api/server.js';
import { kmsDataKeys } from '../aws/kms.js';
import { parseApiConfig, parseEncryptionKeys, parseWorkerConfig } from '../domain/config.js';
import { InputError } from '../domain/errors.js';
import { type Db, migrate, openDatabase } from '../store/database.js';
import { reencrypt } from '../store/reencrypt.js';
import { secretsOf } from '../store/secrets.js';
import { startWorker } from '../worker/worker.js';

function logger(level: string): Logger {
  // Keys and external ids never reach a log, wherever they stand in what is logged.
  return pino({ level, redact: { paths: ['req.headers["x-api-key"]', 'req.headers.authorization', '*.externalId', '*.external_id'], remove: true } });
}

/** Ends the process when it is told to, and says what it ends with. */
async function untilTold(stop: () => Promise<void>, log: Logger, done?: Promise<void>): Promise<void> {
  const told = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
  const by = await Promise.race([told, done?.then(() => 'worker ended') ?? new Promise<never>(() => undefined)]);
  log.info({ by }, 'stopping');
  // A part that hangs must not keep a deployment waiting.
  setTimeout(() => process.exit(1), 30_000).unref();
  await stop();
}

/** `polony api` */
export async function apiProcess(): Promise<void> {
  const config = parseApiConfig(process.env);
  const log = logger(config.logLevel);
  const api = await startApi(config, log);
  await untilTold(() => api.close(), log);
}

/** `polony worker` */
export async function workerProcess(): Promise<void> {
  const config = parseWorkerConfig(process.env);
  const log = logger(config.logLevel);
  const worker = await startWorker(config, log);
  await untilTold(() => worker.stop(), log, worker.done);
}

/** Opens the database for a command that needs nothing else. */
async function withDatabase(run: (db: Db) => Promise<void>): Promise<void> {
  const url = process.env.DATABASE_URL;
  if (url === undefined || url === '') throw new InputError([{ field: 'DATABASE_URL', rule: 'REQUIRED', message: 'is not set: give the address of PostgreSQL' }]);
  const db = openDatabase(url, 1);
  try {
    await run(db);
  } finally {
    await db.destroy();
  }
}

/** `polony migrate` */
export async function migrateProcess(): Promise<void> {
  await withDatabase(async (db) => {
    const done = await migrate(db);
    process.stdout.write(done.length === 0 ? 'The tables are up to date.\n' : `Carried out: ${done.join(', ')}\n`);
  });
}

/** `polony reencrypt` */
export async function reencryptProcess(): Promise<void> {
  const secrets = secretsOf(parseEncryptionKeys(process.env), kmsDataKeys);
  await withDatabase(async (db) => {
    const count = await reencrypt(db, secrets);
    process.stdout.write(`${count} secret${count === 1 ? '' : 's'} encrypted anew; all are encrypted with ${secrets.currentKeyId}.\n`);
  });
}
