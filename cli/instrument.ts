import { InputError } from '../domain/errors.js';
import { type Cycles, READ_NAMES } from '../domain/runs/runParameters.js';
import {
  describeRun,
  type SimulatedOutcome,
  type SimulatedRun,
  simulatedSamples,
  simulateInstrument,
} from '../local/instrument.js';
import { adminClients } from './customer.js';
import { requireLocalInfo } from './localInfo.js';

const OUTCOMES: readonly string[] = [
  'completed',
  'failed',
  'stopped',
  'empty',
  'newline',
  'none',
] satisfies SimulatedOutcome[];
const TYPES: readonly string[] = ['Sequencing', 'Cytoprofiling'] satisfies SimulatedRun['runType'][];

/** The flags of `polony instrument`. */
export interface InstrumentOptions {
  bucket: string;
  prefix?: string;
  /** Default: a new one. */
  runName?: string;
  instrument: string;
  runType: string;
  cycles: string;
  samples: number;
  outcome: string;
  bytesPerCycle: number;
  bytesPerSecond?: number;
  stallAt?: number;
}

const inputError = (field: string, message: string): InputError => new InputError([{ field, rule: 'FORMAT', message }]);

/** Parses `R1=151,R2=151,I1=8,I2=8`. @throws InputError */
function parseCycles(text: string): Cycles {
  const pairs = text.split(',').map((pair) => /^(I1|I2|R1|R2)=(\d{1,4})$/.exec(pair.trim()));
  if (pairs.includes(null))
    throw inputError(
      '--cycles',
      `must be pairs such as R1=151,R2=151,I1=8,I2=8; the reads are ${READ_NAMES.join(', ')}`,
    );
  return Object.fromEntries(pairs.map((pair) => [pair![1], Number(pair![2])])) as Cycles;
}

/** `polony instrument`: uploads a simulated run to the local stack. Enter resumes an upload that pauses. */
export async function instrument(options: InstrumentOptions): Promise<void> {
  if (!OUTCOMES.includes(options.outcome)) throw inputError('--outcome', `must be one of ${OUTCOMES.join(', ')}`);
  if (!TYPES.includes(options.runType)) throw inputError('--run-type', `must be one of ${TYPES.join(', ')}`);
  if (options.runName !== undefined && !/^[A-Za-z0-9_.-]{1,100}$/.test(options.runName))
    throw inputError('--run-name', 'must be 1 to 100 letters, digits, points, hyphens and underscores');
  const cycles = parseCycles(options.cycles);
  const { s3 } = adminClients(requireLocalInfo());
  const { bucket, prefix = '', runName = `SIM-${Date.now().toString(36)}` } = options;
  const run = describeRun({
    runName,
    instrumentName: options.instrument,
    runType: options.runType as SimulatedRun['runType'],
    cycles,
    samples: simulatedSamples(options.samples, cycles),
    bytesPerCycle: options.bytesPerCycle,
  });
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort(new Error('You interrupted the upload; the run folder is not complete')));
  const simulation = simulateInstrument({
    s3,
    bucket,
    prefix,
    run,
    outcome: options.outcome as SimulatedOutcome,
    bytesPerSecond: options.bytesPerSecond,
    stallAt: options.stallAt,
    signal: stop.signal,
    onProgress: ({ files, path }) => void process.stdout.write(`${files} ${path}\n`),
  });
  if (options.stallAt !== undefined) process.stdin.once('data', () => simulation.resume());
  const sent = await simulation.done;
  process.stdout.write(`${sent.files} files, ${sent.bytes} bytes in s3://${bucket}/${simulation.folder}\n`);
}
