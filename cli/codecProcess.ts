import { startCodecServer } from '../api/codec/server.js';
import { openLogger, runUntilTermination } from './serving.js';
import { parseCodecConfig } from './settings/parse.js';

/** `polony codec` */
export async function codecProcess(): Promise<void> {
  const config = parseCodecConfig(process.env);
  const log = openLogger(config.logLevel);
  await runUntilTermination(
    log,
    () => startCodecServer(config, log),
    (server) => server.close(),
  );
}
