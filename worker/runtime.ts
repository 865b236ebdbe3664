import { type LogLevel, Runtime } from '@temporalio/worker';
import type { Level, Logger as PinoLogger } from 'pino';
import type { WorkerConfig } from '../domain/settings.js';

const LEVELS: Record<LogLevel, Level> = {
  TRACE: 'trace',
  DEBUG: 'debug',
  INFO: 'info',
  WARN: 'warn',
  ERROR: 'error',
};

/** Sets up the one runtime of this process: its logs go to the logger, its metrics to the configured address. */
export function installRuntime(config: Pick<WorkerConfig, 'metricsAddress'>, logger: PinoLogger): void {
  Runtime.install({
    // The process stops the worker itself.
    shutdownSignals: [],
    logger: {
      log: (level, message, meta) => logger[LEVELS[level]](meta ?? {}, message),
      trace: (message, meta) => logger.trace(meta ?? {}, message),
      debug: (message, meta) => logger.debug(meta ?? {}, message),
      info: (message, meta) => logger.info(meta ?? {}, message),
      warn: (message, meta) => logger.warn(meta ?? {}, message),
      error: (message, meta) => logger.error(meta ?? {}, message),
    },
    ...(config.metricsAddress !== undefined && {
      telemetryOptions: { metrics: { prometheus: { bindAddress: config.metricsAddress } } },
    }),
  });
}
