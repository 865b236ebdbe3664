import type { Logger } from 'pino';
import { createKmsDataKeys } from '../../aws/kms.js';
import type { CodecConfig } from '../../domain/settings.js';
import { closeDatabase, openDatabase } from '../../store/database.js';
import { createPayloadCodec, PayloadEncryption } from '../../temporal/codec.js';
import { closeServer, listeningUrl } from '../listening.js';
import type { RunningApi } from '../server.js';
import { buildCodecApp } from './app.js';

/** Starts the codec server. @throws Error when the port is in use. */
export async function startCodecServer(config: CodecConfig, logger: Logger): Promise<RunningApi> {
  const db = openDatabase(config.databaseUrl, config.maxDbConnections, config.statementSeconds);
  const codec = createPayloadCodec(config.payloadKeys, createKmsDataKeys) ?? new PayloadEncryption([], undefined);
  try {
    const app = await buildCodecApp({ ...config, db, codec, logger });
    await app.listen({ host: config.host, port: config.port });
    const url = listeningUrl(app, config.host);
    logger.info({ url, origins: config.origins }, 'codec server is listening');
    let closing: Promise<void> | undefined;
    return { url, close: () => (closing ??= closeServer(app).finally(() => closeDatabase(db))) };
  } catch (error) {
    await closeDatabase(db);
    throw error;
  }
}
