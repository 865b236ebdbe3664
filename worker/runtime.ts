import { createServer } from 'node:net';
import { type LogLevel, type LogMetadata, Runtime } from '@temporalio/worker';
import type { Level, Logger as PinoLogger } from 'pino';

const LEVELS: Record<LogLevel, Level> = {
  TRACE: 'trace',
  DEBUG: 'debug',
  INFO: 'info',
  WARN: 'warn',
  ERROR: 'error',
};

/** How often another port is tried for the metrics of Temporal's SDK. */
const PORT_TRIES = 5;

/**
 * Sets up the one runtime of this process: its logs go to the logger.
 * @param withMetrics whether Temporal's SDK measures
 * @returns the port on the loopback address where the SDK serves its metrics, which it cannot give us otherwise;
 * undefined without metrics.
 */
export async function installRuntime(logger: PinoLogger, withMetrics: boolean): Promise<number | undefined> {
  for (let attempt = 1; ; attempt++) {
    const port = withMetrics ? await findFreePort() : undefined;
    try {
      Runtime.install({
        // The process stops the worker itself.
        shutdownSignals: [],
        logger: forwardLogs(logger),
        ...(port !== undefined && {
          telemetryOptions: { metrics: { prometheus: { bindAddress: `127.0.0.1:${port}` } } },
        }),
      });
      return port;
    } catch (error) {
      // Another process may have taken the port meanwhile.
      if (port === undefined || attempt === PORT_TRIES) throw error;
    }
  }
}

function forwardLogs(logger: PinoLogger): NonNullable<Parameters<typeof Runtime.install>[0]['logger']> {
  const log = (level: Level, message: string, meta: LogMetadata | undefined): void =>
    logger[level](nameRun(meta), message);
  return {
    log: (level, message, meta) => log(LEVELS[level], message, meta),
    trace: (message, meta) => log('trace', message, meta),
    debug: (message, meta) => log('debug', message, meta),
    info: (message, meta) => log('info', message, meta),
    warn: (message, meta) => log('warn', message, meta),
    error: (message, meta) => log('error', message, meta),
  };
}

/**
 * Where the SDK itself logs, Temporal's run is still called `runId`, which is the name of an instrument's run here. The
 * token of a task is of no use in a log.
 */
function nameRun({ taskToken: _, ...meta }: LogMetadata = {}): LogMetadata {
  if (meta.runId === undefined || meta.workflowRunId !== undefined) return meta;
  const { runId, ...others } = meta;
  return { ...others, workflowRunId: runId as unknown };
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
