import type { Logger } from 'pino';
import { endStart } from './startMemory.js';
import { secretValues } from './settings/secretValues.js';
import { VERSION } from '../domain/version.js';
import { createLogger } from '../observability/log.js';
import { Redactor } from '../observability/redact.js';
import { startTracing } from '../observability/startTracing.js';

/** The logger of a process. It knows the secrets in the settings, so that no line contains them. */
export function openLogger(level: string): Logger {
  return createLogger(level, { secrets: secretValues(process.env) });
}

/**
 * Waits for a signal to end. Call it first: the first process of a container receives only signals that it listens to.
 * @returns the signal.
 */
function waitForTermination(): Promise<NodeJS.Signals> {
  // Keep listening: a second signal while we stop must not interrupt the stop. A shell sends a signal to us that the
  // terminal has already sent to its whole process group.
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, resolve);
  });
}

/** Runs a part until a signal to end, or until the part ends by itself. The signal can arrive while the part starts. */
export async function runUntilTermination<T>(
  log: Logger,
  start: (stopping: AbortSignal) => Promise<T>,
  stop: (part: T) => Promise<void>,
  done: (part: T) => Promise<void> = () => new Promise(() => undefined),
): Promise<void> {
  const termination = waitForTermination();
  const stopping = new AbortController();
  const starting = start(stopping.signal);
  const early = await Promise.race([termination, starting.then(() => undefined)]);
  // A part that hangs must not delay a deployment.
  const exitAfterLimit = (): void => void setTimeout(() => process.exit(1), 30_000).unref();
  if (early !== undefined) {
    log.info({ by: early }, 'stopping before the start is complete');
    exitAfterLimit();
    stopping.abort();
    // A start that fails, for example because its server stops too, leaves nothing to stop.
    await starting.then(stop, () => undefined);
    return;
  }
  const part = await starting;
  endStart();
  const by = await Promise.race([termination, done(part).then(() => 'its own end')]);
  log.info({ by }, 'stopping');
  exitAfterLimit();
  await stop(part);
}

/** Turns tracing on where the settings say so. Otherwise nothing of it is loaded. */
export async function openTracing(service: string, { isTracing }: { isTracing: boolean }, log: Logger): Promise<void> {
  if (!isTracing) return;
  const redactor = new Redactor(secretValues(process.env));
  await startTracing(
    service,
    VERSION,
    (text) => redactor.redactText(text),
    (error) => {
      if (error === undefined) log.info('the collector of traces accepts spans again');
      else log.warn({ error }, 'the collector of traces does not accept spans; they are lost until it does');
    },
  );
}
