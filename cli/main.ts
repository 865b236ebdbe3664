#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { InputError, errorMessage } from '../domain/errors.js';
import { VERSION } from '../domain/version.js';
import { defineIam } from './iamCommand.js';
import { addDoctor } from './doctor.js';
import { addLocalCommands } from './localCommands.js';
import { beginStart } from './startMemory.js';

// The AWS SDK warns about Node.js 20, which polony supports. Set this before a command loads the SDK: the commands
// below load it on demand. Child processes inherit the variable.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

// Each command loads only its own code: a worker does not need the embedded stack, and the API does not need a worker.
const program = new Command('polony')
  .description('Orchestrates Element AVITI sequencing data on AWS with HealthOmics and Temporal')
  .version(VERSION)
  .enablePositionalOptions();

program
  .command('api')
  .description('run the API server')
  .action(async () => {
    beginStart();
    await (await import('./apiProcess.js')).apiProcess();
  });
program
  .command('worker')
  .description('run a worker: it executes workflows and activities')
  .action(async () => {
    beginStart();
    await (await import('./workerProcess.js')).workerProcess();
  });
program
  .command('codec')
  .description("run the codec server, through which Temporal's Web UI shows encrypted payloads")
  .action(async () => {
    beginStart();
    await (await import('./codecProcess.js')).codecProcess();
  });
program
  .command('promote')
  .description('make the version of this build the current one of its worker deployment')
  .addOption(
    new Option('--wait <seconds>', 'how long to wait until workers of this version poll')
      .default(120)
      .argParser(parseWaitSeconds),
  )
  .action(async ({ wait }: { wait: number }) => (await import('./processes.js')).promoteProcess(wait));
program
  .command('migrate')
  .description('migrate the database, and register the search attributes in Temporal')
  .action(async () => (await import('./processes.js')).migrateProcess());
program
  .command('reencrypt')
  .description('encrypt all secrets again, with the first key of POLONY_ENCRYPTION_KEYS')
  .action(async () => (await import('./processes.js')).reencryptProcess());
program
  .command('reconcile')
  .description('bring the database, Temporal and AWS together again, after one of them was restored or lost')
  .option('--dry-run', 'change nothing, and print what would be done')
  .option('--json', 'print the report as JSON')
  .action(async (flags: { dryRun?: boolean; json?: boolean }) =>
    (await import('./reconcile.js')).reconcileCommand(flags),
  );
addDoctor(program, VERSION);
addLocalCommands(program);
defineIam(program.command('iam'));

/** Commands whose input is settings, not flags. They exit with 1 for a wrong setting (docs/how-to/deploy.md). */
const PROCESSES = new Set(['api', 'worker', 'codec', 'promote', 'migrate', 'reencrypt', 'reconcile']);

/** The commands above. Every other command is a client of the API. */
const OWN_COMMANDS = new Set(program.commands.map((command) => command.name()));
if (!OWN_COMMANDS.has(process.argv[2] ?? '')) await (await import('./client/index.js')).addClient(program);

/** Exit code for wrong flags, so that scripts can tell them from a command that failed (docs/reference/cli.md). */
const USAGE = 2;
const throwInsteadOfExit = (command: Command): void => {
  command.exitOverride();
  command.commands.forEach(throwInsteadOfExit);
};
throwInsteadOfExit(program);
// The reader of a pipe may close it early, as head does. Like other programs, exit with 128 + SIGPIPE and no message.
const EPIPE = 141;
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? EPIPE : 1));
program.parseAsync().then(
  () => end(process.exitCode ?? 0),
  (error: unknown) => {
    if (error instanceof CommanderError) return end(error.exitCode === 0 ? 0 : USAGE);
    if (error instanceof Error && 'exit' in error && typeof error.exit === 'number') {
      process.stderr.write(`${error.message}\n`);
      return end(error.exit);
    }
    // The bundle of a process has its own copy of the class (bundle.config.ts).
    if (error instanceof InputError || (error instanceof Error && error.name === 'InputError')) {
      for (const { field, message } of (error as InputError).problems) process.stderr.write(`${field} ${message}\n`);
      return end(PROCESSES.has(process.argv[2] ?? '') ? 1 : USAGE);
    }
    process.stderr.write(
      `${process.env.POLONY_LOG_LEVEL === 'debug' && error instanceof Error ? error.stack : errorMessage(error)}\n`,
    );
    end(1);
  },
);

function parseWaitSeconds(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds from 0 to 99999.');
  return Number(text);
}

/** Exits after all output is written: a write to a pipe is asynchronous. */
function end(code: number | string): void {
  process.stdout.write('', () => process.exit(code));
}
