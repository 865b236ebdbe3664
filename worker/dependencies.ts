import type { NativeConnection } from '@temporalio/worker';
import type { Logger } from 'pino';
import type { Dependencies } from '../activities/index.js';
import { RunWatching } from '../activities/executions/runWatching.js';
import { DeliveryDispatcher } from '../activities/webhooks/dispatch.js';
import { createKmsDataKeys } from '../aws/kms.js';
import { AwsSessions } from '../aws/sessions.js';
import type { WorkerConfig } from '../domain/settings.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { SEARCHES_CHANNEL } from '../store/connections/storageSearch.js';
import { closeDatabase, openDatabase } from '../store/database.js';
import { listenForWakes } from '../store/events.js';
import { createSecrets } from '../store/secrets.js';
import { WATCHES_CHANNEL } from '../store/executions/watches.js';
import { WEBHOOKS_CHANNEL } from '../store/webhooks/claims.js';
import { Orchestrator } from '../temporal/client.js';
import { createPayloadCodec, type PayloadEncryption } from '../temporal/codec.js';
import { type ConnectedClient, openTemporal } from '../temporal/connection.js';
import { LeasedWork } from './leasedWork.js';

/** What the activities of a worker use, and how to close it. */
export interface OpenDependencies {
  dependencies: Dependencies;
  orchestrator: Orchestrator;
  /** Watches HealthOmics runs, once it is started. */
  watching: RunWatching;
  /** The client of Temporal. It connects with its first call. */
  temporal: ConnectedClient;
  /** Encrypts payloads; absent where nothing is encrypted. */
  codec: PayloadEncryption | undefined;
  /** What one worker does for all. It is not started yet. */
  leasedWork: LeasedWork;
  /** @param connection of the workers, which is closed too; absent where there is none yet. */
  close: (connection?: NativeConnection) => Promise<void>;
}

/**
 * For leases, so that a renewal need not wait for other queries. A renewal that gets no answer fails in time for the next
 * one: a lease lasts 30 seconds, and is renewed every 10.
 */
const LEASES = { connections: 2, statementSeconds: 5, patience: { connectMs: 3000, silenceMs: 2000 } };

/** Opens the store and the clients of Temporal and AWS, and starts to listen for events in the store. */
export async function openDependencies(config: WorkerConfig, logger: Logger): Promise<OpenDependencies> {
  const db = openDatabase(config.databaseUrl, config.maxDbConnections, config.statementSeconds);
  const leaseSeconds = Math.min(config.statementSeconds || LEASES.statementSeconds, LEASES.statementSeconds);
  const leaseDb = openDatabase(config.databaseUrl, LEASES.connections, leaseSeconds, false, LEASES.patience);
  const codec = createPayloadCodec(config.payloadKeys, createKmsDataKeys);
  const temporal = openTemporal(config.temporal, codec);
  const orchestrator = new Orchestrator(temporal.client, config.taskQueue, config.giveUpDays);
  const secrets = createSecrets(config.encryptionKeys, createKmsDataKeys);
  const aws = new AwsSessions({
    sessionSeconds: config.sessionSeconds,
    ...createProviderLoader(
      db,
      secrets,
      (resource) => orchestrator.verification.verify(resource),
      config.allowsOpenRoles,
    ),
  });
  const watching = new RunWatching({
    db,
    leaseDb,
    aws,
    orchestrator,
    secrets,
    settings: config,
    getRunsPerSecond: config.getRunsPerSecond,
    warn: (fields, message) => logger.warn(fields, message),
  });
  const dispatcher = new DeliveryDispatcher(db, orchestrator.webhooks, (message) =>
    logger.warn({ error: message }, 'webhook deliveries could not be started; the next sweep starts them'),
  );
  const webhooks = {
    secrets,
    networks: config.webhookNetworks,
    retrySeconds: config.webhookRetrySeconds,
    apiUrl: config.publicUrl,
  };
  const dependencies = { db, aws, orchestrator, settings: config, watching, secrets, webhooks };
  const leasedWork = new LeasedWork({ ...dependencies, leaseDb }, orchestrator, config, logger);
  const stopListening = listenForWakes(config.databaseUrl, (id) => watching.wake(id), {
    [WEBHOOKS_CHANNEL]: () => dispatcher.wake(),
    [WATCHES_CHANNEL]: (announcement) => watching.handleAnnouncement(announcement),
    [SEARCHES_CHANNEL]: () => leasedWork.refreshSearches(),
  });
  return {
    dependencies,
    orchestrator,
    watching,
    temporal,
    codec,
    leasedWork,
    close: async (connection) => {
      await watching.close();
      await leasedWork.stop();
      await stopListening();
      await dispatcher.close();
      aws.close();
      // Workers that were made and never ran hold it for ever. This error must not hide the one that ended the start.
      await connection?.close().catch(() => undefined);
      await temporal.connection.close();
      await Promise.all([closeDatabase(db), closeDatabase(leaseDb)]);
    },
  };
}
