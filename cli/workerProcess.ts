import { tracing } from '../observability/tracing.js';
import { startWorker } from '../worker/worker.js';
import { openLogger, openTracing, runUntilTermination } from './serving.js';
import { parseWorkerConfig } from './settings/parse.js';

/** `polony worker` */
export async function workerProcess(): Promise<void> {
  const config = parseWorkerConfig(process.env);
  const log = openLogger(config.logLevel);
  await runUntilTermination(
    log,
    async (stopping) => {
      await openTracing('polony-worker', config, log);
      return startWorker(config, log, stopping);
    },
    async (worker) => {
      await worker.stop();
      await tracing()?.stop();
    },
    (worker) => worker.done,
  );
}
