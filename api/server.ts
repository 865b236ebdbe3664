import type { Logger } from 'pino';
import { AwsSessions } from '../aws/sessions.js';
import { createKmsDataKeys } from '../aws/kms.js';
import type { ApiConfig } from '../domain/settings.js';
import { VERSION } from '../domain/version.js';
import { startMetricsServer } from '../observability/metricsServer.js';
import { closeDatabase, openDatabase } from '../store/database.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { readMetrics } from '../store/metrics.js';
import { warnOfRights } from '../store/runtimeRole.js';
import { createSecrets } from '../store/secrets.js';
import { Orchestrator } from '../temporal/client.js';
import { createPayloadCodec } from '../temporal/codec.js';
import { openTemporal, waitForTemporal } from '../temporal/connection.js';
import { toReadings } from '../temporal/taskQueues.js';
import { buildApp } from './app.js';
import { findConsole } from './console/files.js';
import { closeServer, listeningUrl } from './listening.js';

/** An API server that is listening. */
export interface RunningApi {
  url: string;
  /** Accepts no more requests, waits up to 10 seconds for running ones, and closes. Can be called several times. */
  close: () => Promise<void>;
}

/** The folder of the console to serve; undefined where there is none. */
function locateConsole(
  { servesConsole, consoleFolder }: Pick<ApiConfig, 'servesConsole' | 'consoleFolder'>,
  logger: Logger,
): string | undefined {
  if (!servesConsole) return undefined;
  const folder = findConsole(consoleFolder);
  if (folder === undefined)
    logger.warn('the API serves no console, because nobody built it. Run npm run build, or set POLONY_CONSOLE=false');
  return folder;
}

/**
 * Starts the API. It serves what needs no Temporal until Temporal answers.
 * @throws Error when the port is in use. Everything that was opened is closed again.
 */
export async function startApi(config: ApiConfig, logger: Logger): Promise<RunningApi> {
  const db = openDatabase(config.databaseUrl, config.maxDbConnections, config.statementSeconds);
  const opened: (() => Promise<void>)[] = [() => closeDatabase(db)];
  const release = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  try {
    const temporal = openTemporal(config.temporal, createPayloadCodec(config.payloadKeys, createKmsDataKeys));
    const { client } = temporal;
    opened.push(() => temporal.connection.close());
    const secrets = createSecrets(config.encryptionKeys, createKmsDataKeys);
    const orchestrator = new Orchestrator(client, config.taskQueue, config.giveUpDays);
    const aws = new AwsSessions({
      sessionSeconds: config.sessionSeconds,
      ...createProviderLoader(
        db,
        secrets,
        (resource) => orchestrator.verification.verify(resource),
        config.allowsOpenRoles,
      ),
    });
    opened.push(async () => aws.close());
    if (config.metricsAddress !== undefined) {
      const metrics = await startMetricsServer(config.metricsAddress, {
        process: 'api',
        version: VERSION,
        read: {
          database: () => readMetrics(db),
          temporal: async () => toReadings(await orchestrator.describeTaskQueues()),
        },
      });
      opened.push(() => metrics.close());
      logger.info({ url: metrics.url }, 'metrics are served');
    }
    const app = await buildApp({
      ...config,
      consoleFolder: locateConsole(config, logger),
      db,
      aws,
      secrets,
      orchestrator,
      logger,
    });
    opened.push(() => closeServer(app));
    await app.listen({ host: config.host, port: config.port });
    const url = config.publicUrl ?? listeningUrl(app, config.host);
    logger.info({ url }, 'API is listening');
    // The database may be away: that is no reason to end.
    void warnOfRights(db, logger);
    const stopping = new AbortController();
    opened.push(async () => stopping.abort());
    waitForTemporal(config.temporal, temporal, logger, stopping.signal).then(
      () =>
        logger.info({ temporal: config.temporal.address, namespace: config.temporal.namespace }, 'Temporal answers'),
      () => undefined,
    );

    let closing: Promise<void> | undefined;
    return { url, close: () => (closing ??= release()) };
  } catch (error) {
    await release().catch(() => undefined);
    throw error;
  }
}
