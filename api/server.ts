import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import type { ApiConfig } from '../domain/config.js';
import { openDatabase } from '../store/database.js';
import { connectTemporal, Orchestrator } from '../temporal/client.js';
import { buildApp } from './app.js';

/** An API that listens. */
export interface RunningApi {
  url: string;
  /** Takes no more requests, finishes those under way and closes. */
  close: () => Promise<void>;
}

/** Starts the API. */
export async function startApi(config: ApiConfig, logger: Logger): Promise<RunningApi> {
  const db = openDatabase(config.databaseUrl, config.maxDbConnections);
  const { client, connection } = await connectTemporal(config.temporal);
  const app = await buildApp({ ...config, db, orchestrator: new Orchestrator(client, config.taskQueue), logger });
  await app.listen({ host: config.host, port: config.port });
  const { port } = app.server.address() as AddressInfo;
  const url = config.publicUrl ?? `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`;
  logger.info({ url }, 'API is listening');
  return {
    url,
    close: async () => {
      await app.close();
      await connection.close();
      await db.destroy();
    },
  };
}
