import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { AwsSessions } from '../aws/sessions.js';
import { createKmsDataKeys } from '../aws/kms.js';
import type { ApiConfig } from '../domain/settings.js';
import { openDatabase } from '../store/database.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { createSecrets } from '../store/secrets.js';
import { Orchestrator } from '../temporal/client.js';
import { connectTemporal } from '../temporal/connection.js';
import { buildApp } from './app.js';

/** An API that listens. */
export interface RunningApi {
  url: string;
  /** Takes no more requests, finishes those under way, for 10 seconds at most, and closes. May be called several times. */
  close: () => Promise<void>;
}

/** Longest time that requests under way have to finish when the process is told to end; container engines kill after 10 or 30 seconds. */
const CLOSE_MS = 10_000;

/**
 * Starts the API.
 * @throws when Temporal does not answer or the port is taken; nothing is left open then.
 */
export async function startApi(config: ApiConfig, logger: Logger): Promise<RunningApi> {
  const db = openDatabase(config.databaseUrl, config.maxDbConnections);
  const opened: (() => Promise<void>)[] = [() => db.destroy()];
  const release = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  try {
    const { client, connection } = await connectTemporal(config.temporal);
    opened.push(() => connection.close());
    const secrets = createSecrets(config.encryptionKeys, createKmsDataKeys);
    const aws = new AwsSessions({ sessionSeconds: config.sessionSeconds, ...createProviderLoader(db, secrets) });
    opened.push(async () => aws.close());
    const app = await buildApp({
      ...config,
      db,
      aws,
      secrets,
      orchestrator: new Orchestrator(client, config.taskQueue, config.giveUpDays),
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
    const { port } = app.server.address() as AddressInfo;
    // Who listens everywhere is reached here by the loopback address.
    const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host;
    const url = config.publicUrl ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    logger.info({ url }, 'API is listening');

    let closing: Promise<void> | undefined;
    return { url, close: () => (closing ??= release()) };
  } catch (error) {
    await release().catch(() => undefined);
    throw error;
  }
}
