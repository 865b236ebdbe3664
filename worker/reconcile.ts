import { reconcile, type ReconcileOptions } from '../activities/reconcile/index.js';
import { createKmsDataKeys } from '../aws/kms.js';
import { AwsSessions } from '../aws/sessions.js';
import type { ReconcileReport } from '../domain/reconcile/report.js';
import type { WorkerConfig } from '../domain/settings.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { describeAddress, isMigrated, openDatabase } from '../store/database.js';
import { createSecrets } from '../store/secrets.js';
import { Orchestrator } from '../temporal/client.js';
import { createPayloadCodec } from '../temporal/codec.js';
import { connectTemporal } from '../temporal/connection.js';

/** The lock needs a connection of its own. */
const MIN_CONNECTIONS = 4;

/**
 * Reconciles the installation that the settings name.
 * @throws Error where the database or Temporal cannot be reached, or the database has not the tables of this build.
 */
export async function reconcileInstallation(config: WorkerConfig, options: ReconcileOptions): Promise<ReconcileReport> {
  const { databaseUrl, maxDbConnections, statementSeconds, temporal } = config;
  const connections = Math.max(MIN_CONNECTIONS, maxDbConnections);
  const db = openDatabase(databaseUrl, connections, statementSeconds, options.dryRun);
  try {
    if (!(await isMigrated(db)))
      throw new Error(
        `The database ${describeAddress(databaseUrl)} lacks tables of this version of polony, as a restored backup of ` +
          'an older version does. Run polony migrate first',
      );
    const codec = createPayloadCodec(config.payloadKeys, createKmsDataKeys);
    const { client, connection } = await connectTemporal(temporal, codec);
    const secrets = createSecrets(config.encryptionKeys, createKmsDataKeys);
    const orchestrator = new Orchestrator(client, config.taskQueue, config.giveUpDays);
    const { loadProvider, onSession } = createProviderLoader(db, secrets, undefined, config.allowsOpenRoles);
    // A dry run does not even record that a provider was used.
    const aws = new AwsSessions({
      sessionSeconds: config.sessionSeconds,
      loadProvider,
      ...(!options.dryRun && { onSession }),
    });
    try {
      return await reconcile({ db, aws, orchestrator, settings: config, secrets }, options);
    } finally {
      aws.close();
      await connection.close();
    }
  } finally {
    await db.destroy();
  }
}
