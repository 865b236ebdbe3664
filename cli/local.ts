import { describeRun, type SimulatedOutcome, simulateInstrument } from '../local/instrument.js';
import { startStack } from '../local/stack.js';
import { readLocalInfo, stateFolder } from '../local/stackFiles.js';
import { adminClients } from './customer.js';

/** `npm run local`: the stack, left running until Ctrl-C. */
export async function local(): Promise<void> {
  const stack = await startStack({ onProgress: (line) => void process.stdout.write(`${line}\n`) });
  const { info } = stack;
  process.stdout.write(
    `\nAPI            ${info.apiUrl}   (docs ${info.apiUrl}/docs, any user, the key as password)\nAPI key        ${info.apiKey}\nTemporal UI    ${info.temporalUiUrl}\nTemporal       ${info.temporalAddress}, namespace ${info.namespace}\nPostgreSQL     ${info.databaseUrl}\n\nAWS, as the customer's admin:\n  export AWS_ENDPOINT_URL=${info.awsEndpoint} AWS_REGION=${info.awsRegion} AWS_DISABLE_HOST_PREFIX_INJECTION=true\n  export AWS_ACCESS_KEY_ID=${info.adminAccessKeyId} AWS_SECRET_ACCESS_KEY=${info.adminSecretAccessKey}\n\nAll of it stands in ${stateFolder()}/local.json. Ctrl-C stops the stack; its state stays.\n`,
  );
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  process.stdout.write('\nStopping…\n');
  await stack.stop();
}

const OUTCOMES: readonly string[] = ['completed', 'failed', 'stopped', 'empty', 'newline', 'none'] satisfies SimulatedOutcome[];

/** The flags of `polony instrument`. */
export interface InstrumentOptions {
  bucket: string;
  prefix: string;
  runName: string;
  instrument: string;
  outcome: string;
  bytesPerCycle: number;
  bytesPerSecond?: number;
  stallAt?: number;
}

/** `polony instrument`: uploads a simulated run into the local stack. */
export async function instrument(options: InstrumentOptions): Promise<void> {
  if (!OUTCOMES.includes(options.outcome)) throw new Error(`--outcome must be one of ${OUTCOMES.join(', ')}`);
  const info = readLocalInfo(stateFolder());
  if (info === undefined) throw new Error('No local stack runs here; start one with npm run local, or name its state folder in POLONY_HOME');
  const { s3 } = adminClients(info);
  const run = describeRun({ runName: options.runName, instrumentName: options.instrument, bytesPerCycle: options.bytesPerCycle });
  const simulation = simulateInstrument({ s3, bucket: options.bucket, prefix: options.prefix, run, outcome: options.outcome as SimulatedOutcome, bytesPerSecond: options.bytesPerSecond, stallAt: options.stallAt, onProgress: ({ files, path }) => void process.stdout.write(`${files} ${path}\n`) });
  process.stdin.once('data', () => simulation.resume());
  const sent = await simulation.done;
  process.stdout.write(`${sent.files} files, ${sent.bytes} bytes in s3://${options.bucket}/${simulation.folder}\n`);
}
