import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { AwsSessions } from '../aws/sessions.js';
import { createKmsDataKeys } from '../aws/kms.js';
import type { ApiConfig } from '../domain/settings.js';
import { openDatabase } from '../store/database.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { warnOfRights } from '../store/runtimeRole.js';
import { createSecrets } from '../store/secrets.js';
import { Orchestrator } from '../temporal/client.js';
import { connectTemporal } from '../temporal/connection.js';
import { buildApp } from './app.js';

/** An API server that is listening. */
export interface RunningApi {
  url: string;
  /** Accepts no more requests, waits up to 10 seconds for running ones, and closes. Can be called several times. */
  close: () => Promise<void>;
}

/** How long running requests may take after a shutdown began, in ms. Container engines kill after 10 or 30 seconds. */
const CLOSE_MS = 10_000;

/**
 * Starts the API.
 * @throws Error when Temporal does not answer or the port is in use. Everything that was opened is closed again.
 */
export async function startApi(config: ApiConfig, logger: Logger): Promise<RunningApi> {
  const db = openDatabase(config.databaseUrl, config.maxDbConnections, config.statementSeconds);
  const opened: (() => Promise<void>)[] = [() => db.destroy()];
  const release = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  try {
    const { client, connection } = await connectTemporal(config.temporal);
    opened.push(() => connection.close());
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
    const app = await buildApp({
      ...config,
      db,
      aws,
      secrets,
      orchestrator,
      logger,
    });
    opened.push(async () => {
      const timer = setTimeout(() => app.server.closeAllConnections(), CLOSE_MS);
      try {
        await app.close();
      } finally {
        clearTimeout(timer);
      }
    });
    await app.listen({ host: config.host, port: config.port });
    const url = config.publicUrl ?? listeningUrl(app.server.address() as AddressInfo, config.host);
    logger.info({ url }, 'API is listening');
    // The database may be away: that is no reason to end.
    void warnOfRights(db, logger);

    let closing: Promise<void> | undefined;
    return { url, close: () => (closing ??= release()) };
  } catch (error) {
    await release().catch(() => undefined);
    throw error;
  }
}

function listeningUrl({ port }: AddressInfo, listenHost: string): string {
  // A server that listens on all addresses is reachable here on the loopback address.
  const host = listenHost === '0.0.0.0' || listenHost === '::' ? '127.0.0.1' : listenHost;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
