import { startApi } from '../api/server.js';
import { tracing } from '../observability/tracing.js';
import { openLogger, openTracing, runUntilTermination } from './serving.js';
import { parseApiConfig } from './settings/parse.js';

/** `polony api` */
export async function apiProcess(): Promise<void> {
  const config = parseApiConfig(process.env);
  const log = openLogger(config.logLevel);
  await runUntilTermination(
    log,
    async () => {
      await openTracing('polony-api', config, log);
      return startApi(config, log);
    },
    async (api) => {
      await api.close();
      await tracing()?.stop();
    },
  );
}
