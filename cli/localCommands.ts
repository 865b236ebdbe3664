import { type Command, InvalidArgumentError } from 'commander';
import type { InstrumentOptions } from './instrument.js';
import type { ExecuteOptions, FaultOptions, PaceOptions } from './localControl.js';

/** Parses a number that is not negative. @throws InvalidArgumentError */
function parseAmount(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('must be a number, and not negative');
  return value;
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('must be a whole number from 1');
  return Number(text);
}

function parseShare(text: string): number {
  const value = parseAmount(text);
  if (value > 1) throw new InvalidArgumentError('must be a number from 0 to 1');
  return value;
}

const FAULTS_HELP = `
Operations: StartRun, GetRun, CancelRun, ListRuns, GetWorkflow, ListShares, AcceptShare, or '*' for all of them.
Kinds:
  throttle, internal, denied, conflict, quota, timeout   the call fails with this error of AWS
  slow                                                   the answer comes late (--delay)
  dropAnswer                                             the call has its effect, but the answer is lost
Operation run, kind failRun: the next run fails in place of doing its work (--failure-reason, --status-message).

Examples:
  polony local fault StartRun throttle --count 3
  polony local fault GetRun denied
  polony local fault run failRun --count 1 --failure-reason SERVICE_ERROR
  polony local fault clear`;

const loadControl = () => import('./localControl.js');

function addFaultCommands(local: Command): void {
  const fault = local
    .command('fault')
    .description('make calls of the local HealthOmics, or its runs, fail; without arguments, list the faults')
    .argument('[operation]', 'StartRun, GetRun, …, run, or * for all operations')
    .argument('[kind]', 'what happens; see below')
    .option('--count <number>', 'affect only so many calls or runs; default: all, until you clear it', parseCount)
    .option('--probability <share>', 'share of the calls that it affects, from 0 to 1; default: 1', parseShare)
    .option('--delay <milliseconds>', 'for slow: how late the answer comes; default: 1000', parseAmount)
    .option('--failure-reason <reason>', 'for failRun: the failure reason; default: WORKFLOW_RUN_FAILED')
    .option('--status-message <text>', 'for failRun: the message of the run; default: a text that names the fault')
    .addHelpText('after', FAULTS_HELP)
    .action(async (operation: string | undefined, kind: string | undefined, options: FaultOptions) => {
      const control = await loadControl();
      if (operation === undefined) return control.listFaults();
      if (kind === undefined) return fault.error(`error: say what happens to ${operation}: polony local fault --help`);
      return control.addFault(operation, kind, options);
    });
  fault
    .command('list')
    .description('list the faults that are active')
    .action(async () => (await loadControl()).listFaults());
  fault
    .command('clear')
    .description('remove all faults')
    .action(async () => (await loadControl()).clearFaults());
}

function addPaceCommands(local: Command): void {
  const pace = local
    .command('pace')
    .description('change how long HealthOmics runs stay in each status; without flags, show it')
    .option('--pending <seconds>', 'at least so long in PENDING; default: as before', parseAmount)
    .option('--starting <seconds>', 'at least so long in STARTING; default: as before', parseAmount)
    .option('--running <seconds>', 'at least so long in RUNNING; default: as before', parseAmount)
    .option('--stopping <seconds>', 'at least so long in STOPPING; default: as before', parseAmount)
    .option('--next <number>', 'only for so many runs that start next; default: for all from now on', parseCount)
    .action(async (options: PaceOptions) => (await loadControl()).changePace(options));
  pace
    .command('reset')
    .description('back to half a second for each status')
    .action(async () => (await loadControl()).resetPace());
}

/** Adds the commands of the local stack: `demo`, `local` and `instrument`. */
export function addLocalCommands(program: Command): void {
  program
    .command('demo')
    .description('run the demo on a local stack: from the upload of a run to its FASTQ files')
    .option('--keep', 'keep the stack running after that, and print an address to sign in at, until you press Ctrl-C')
    .action(async (options: { keep?: boolean }) => (await import('./demo.js')).demo(options));
  const local = program
    .command('local')
    .description(
      'run a local stack until you press Ctrl-C; its commands control the stack that runs in this folder (POLONY_HOME)',
    )
    .enablePositionalOptions()
    .action(async () => {
      const [unknown] = local.args;
      if (unknown !== undefined) local.error(`error: unknown command '${unknown}'; see polony local --help`);
      await (await import('./local.js')).local();
    });
  local
    .command('info')
    .description('print the addresses, accounts and keys of the running stack')
    .action(async () => (await loadControl()).info());
  local
    .command('accept-share')
    .description("accept the workflow share of Bases2Fastq in the customer's account")
    .action(async () => (await loadControl()).acceptShare());
  local
    .command('exec')
    .description(
      "run a command as the admin of the customer's account: with the environment for AWS clients, and an AWS CLI",
    )
    .option('--worker', 'run it with the settings and the AWS identity of the worker in place of those of the admin')
    .argument('<command>', 'such as aws, or sh')
    .argument('[arguments...]', 'its arguments and flags')
    .passThroughOptions()
    .addHelpText('after', '\nExamples:\n  polony local exec aws s3 ls\n  polony local exec --worker polony doctor')
    .action(async (command: string, args: string[], options: ExecuteOptions) =>
      (await loadControl()).execute(command, args, options),
    );
  addFaultCommands(local);
  addPaceCommands(local);
  // For its own error. Commands inherit this when they are added, so it comes after them.
  local.allowExcessArguments();
  addInstrument(program);
}

function addInstrument(program: Command): void {
  program
    .command('instrument')
    .description('simulate an instrument that uploads a run to a bucket of the local stack')
    .requiredOption('--bucket <bucket>', 'bucket of the storage connection (required)')
    .option('--prefix <prefix>', 'prefix of the storage connection; default: none')
    .option('--run-name <name>', 'name of the run; default: a new one')
    .option('--instrument <name>', 'name of the instrument', 'AV240001')
    .option('--run-type <type>', 'Sequencing or Cytoprofiling', 'Sequencing')
    .option('--cycles <cycles>', 'cycles of each read', 'R1=12,R2=12,I1=8,I2=8')
    .option('--samples <number>', 'number of samples', parseAmount, 3)
    .option('--outcome <outcome>', 'how the run ends: completed, failed, stopped, empty, newline or none', 'completed')
    .option('--bytes-per-cycle <bytes>', 'size of each BaseCalls file', parseAmount, 2048)
    .option('--bytes-per-second <bytes>', 'upload at most this many bytes per second; default: no limit', parseAmount)
    .option(
      '--stall-at <share>',
      'pause after this share of the large files (0 to 1), until you press Enter; default: no pause',
      parseShare,
    )
    .action(async (options: InstrumentOptions) => (await import('./instrument.js')).instrument(options));
}
