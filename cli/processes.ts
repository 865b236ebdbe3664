import { createKmsDataKeys } from '../aws/kms.js';
import { parseMigrateConfig, parsePromoteConfig, parseWorkerConfig } from './settings/parse.js';
import { errorMessage } from '../domain/errors.js';
import { type Db, listMigrations, migrate, openDatabase } from '../store/database.js';
import { grantRuntimeRole } from '../store/runtimeRole.js';
import { reencrypt } from '../store/reencrypt.js';
import { createSecrets } from '../store/secrets.js';
import { connectTemporal } from '../temporal/connection.js';
import { Deployments } from '../temporal/deployments.js';
import { registerSearchAttributes } from '../temporal/searchAttributes.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';

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
