import { startStack } from '../local/stack.js';
import { createSignInUrl, describeStack } from './localInfo.js';

/** A second SIGINT within this time is the same Ctrl-C: the terminal signals every process, and npm does so again. */
const SAME_SIGNAL_MS = 1000;

/** Aborts at the first signal to end. A later signal exits at once, and the guardian stops the stack. */
export function abortOnTermination(): AbortSignal {
  const termination = new AbortController();
  let firstSignalAt = 0;
  const end = (): void => {
    if (firstSignalAt !== 0 && Date.now() - firstSignalAt > SAME_SIGNAL_MS) process.exit(130);
    firstSignalAt ||= Date.now();
    termination.abort(new Error('You stopped the local stack before it had started'));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  // npm sends a signal to its shell, which may end without sending it to us. Our parent process changes then.
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event !== undefined) setInterval(() => process.ppid !== parent && end(), 500).unref();
  // The reader of our output may have ended already.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  return termination.signal;
}

/** `polony local`: runs the local stack until Ctrl-C. */
export async function local(): Promise<void> {
  const termination = abortOnTermination();
  const stack = await startStack({
    console: true,
    onProgress: (line) => void process.stdout.write(`${line}\n`),
    signal: termination,
  });
  const signInUrl = await createSignInUrl(stack.info);
  process.stdout.write(`\n${describeStack(stack.info, signInUrl)} Press Ctrl-C to stop the stack. Its data stays.\n`);
  if (!termination.aborted)
    await new Promise<void>((resolve) => termination.addEventListener('abort', () => resolve(), { once: true }));
  process.stdout.write('\nStopping…\n');
  await stack.stop();
}
