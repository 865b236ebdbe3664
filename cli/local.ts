import { startStack } from '../local/stack.js';
import { stateFolder } from '../local/stackFiles.js';

/** A second Ctrl-C within this time is the same one: npm passes on what the terminal has sent to everybody already. */
const SAME_SIGNAL_MS = 1000;

/** Aborts when this process is told to end; a second time it ends at once, and the guardian does the rest. */
function untilTold(): AbortSignal {
  const told = new AbortController();
  let at = 0;
  const end = (): void => {
    if (at !== 0 && Date.now() - at > SAME_SIGNAL_MS) process.exit(130);
    at ||= Date.now();
    told.abort(new Error('Stopped before it had started'));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  // npm hands a signal to its shell, which may end without handing it on: then we have another parent all at once.
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event !== undefined) setInterval(() => process.ppid !== parent && end(), 500).unref();
  // Whoever read what we print may have ended before us.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  return told.signal;
}

/** `npm run local`: the stack, left running until Ctrl-C. */
export async function local(): Promise<void> {
  const told = untilTold();
  const stack = await startStack({ onProgress: (line) => void process.stdout.write(`${line}\n`), signal: told });
  const { info } = stack;
  process.stdout.write(
    `\nAPI            ${info.apiUrl}   (docs ${info.apiUrl}/docs, any user, the key as password)\nAPI key        ${info.apiKey}\nTemporal UI    ${info.temporalUiUrl}\nTemporal       ${info.temporalAddress}, namespace ${info.namespace}\nPostgreSQL     ${info.databaseUrl}\n\nAWS, as the customer's admin:\n  export AWS_ENDPOINT_URL=${info.awsEndpoint} AWS_REGION=${info.awsRegion} AWS_DISABLE_HOST_PREFIX_INJECTION=true\n  export AWS_ACCESS_KEY_ID=${info.adminAccessKeyId} AWS_SECRET_ACCESS_KEY=${info.adminSecretAccessKey}\n\nAll of it stands in ${stateFolder()}/local.json. Ctrl-C stops the stack; its state stays.\n`,
  );
  if (!told.aborted)
    await new Promise<void>((resolve) => told.addEventListener('abort', () => resolve(), { once: true }));
  process.stdout.write('\nStopping…\n');
  await stack.stop();
}
