#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { InputError, errorMessage } from '../domain/errors.js';
import type { IamOptions } from './iam.js';
import type { InstrumentOptions } from './instrument.js';

// The AWS SDK warns about Node.js 20, which polony supports. Set this before a command loads the SDK: the commands
// below load it on demand. Child processes inherit the variable.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

// Each command loads only its own code: a worker does not need the embedded stack, and the API does not need a worker.
const program = new Command('polony')
  .description('Orchestrates Element AVITI sequencing data on AWS with HealthOmics and Temporal')
  .version('0.1.0');
const parseAmount = (text: string): number => {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('must be a number, and not negative');
  return value;
};

program
  .command('api')
  .description('run the API server')
  .action(async () => (await import('./processes.js')).apiProcess());
program
  .command('worker')
  .description('run a worker: it executes workflows and activities')
  .action(async () => (await import('./processes.js')).workerProcess());
program
  .command('migrate')
  .description('migrate the database, and register the search attributes in Temporal')
  .action(async () => (await import('./processes.js')).migrateProcess());
program
  .command('reencrypt')
  .description('encrypt all secrets again, with the first key of POLONY_ENCRYPTION_KEYS')
  .action(async () => (await import('./processes.js')).reencryptProcess());
program
  .command('demo')
  .description('run the demo on a local stack: from the upload of a run to its FASTQ files')
  .action(async () => (await import('./demo.js')).demo());
program
  .command('local')
  .description('run a local stack until you press Ctrl-C')
  .action(async () => (await import('./local.js')).local());
program
  .command('instrument')
  .description('simulate an instrument that uploads a run to a bucket of the local stack')
  .requiredOption('--bucket <bucket>', 'bucket of the storage connection')
  .option('--prefix <prefix>', 'prefix of the storage connection', '')
  .option('--run-name <name>', 'name of the run', `SIM-${Date.now().toString(36)}`)
  .option('--instrument <name>', 'name of the instrument', 'AV240001')
  .option('--run-type <type>', 'Sequencing or Cytoprofiling', 'Sequencing')
  .option('--cycles <cycles>', 'cycles of each read', 'R1=12,R2=12,I1=8,I2=8')
  .option('--samples <number>', 'number of samples', parseAmount, 3)
  .option('--outcome <outcome>', 'how the run ends: completed, failed, stopped, empty, newline or none', 'completed')
  .option('--bytes-per-cycle <bytes>', 'size of each BaseCalls file', parseAmount, 2048)
  .option('--bytes-per-second <bytes>', 'upload at most this many bytes per second; no limit by default', parseAmount)
  .option(
    '--stall-at <share>',
    'pause after this share of the large files (0 to 1); press Enter to resume',
    parseAmount,
  )
  .action(async (options: InstrumentOptions) => (await import('./instrument.js')).instrument(options));

/** For an option that you can give several times. */
const collect = (value: string, before: string[] = []): string[] => [...before, value];
program
  .command('iam')
  .description(
    "print the IAM policies that a customer's account needs: for polony's role or user, and for the execution role",
  )
  .requiredOption('--bucket <bucket>', 'you can give several', collect)
  .option('--prefix <prefix>', 'one for all buckets, or one for each bucket in the same order', collect)
  .option('--credential-type <type>', 'role or accessKeys', 'role')
  .option(
    '--capabilities <list>',
    'some of runUpload,dataExploration,bases2fastq,sharing,cliCredentials; all by default',
  )
  .option('--external-id <id>', 'a new random id by default')
  .addOption(
    new Option('--trusted-account-id <account>', 'the AWS account that polony runs in').env(
      'POLONY_TRUSTED_ACCOUNT_ID',
    ),
  )
  .option(
    '--variant <variant>',
    "vendor: the vendor's templates; least: the same actions on as few resources as possible",
    'vendor',
  )
  .option('--execution-role-arn <arn>', 'if you know it')
  .option('--workflow-id <id>', "the share's Resource ID, or the workflow's ARN")
  .option('--workflow-owner-id <account>', 'the account that shares the workflow')
  .option('--region <region>', 'AWS region of the buckets and of HealthOmics')
  .option('--account-id <account>', "the customer's account")
  .option(
    '--format <format>',
    'json, cloudformation, terraform, aws-cli, policy or trust; ' +
      'events-cloudformation or events-terraform for the rules that send upload events to polony',
    'json',
  )
  .action(async (options: IamOptions) => (await import('./iam.js')).iam(options));

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
    if (error instanceof InputError)
      for (const { field, message } of error.problems) process.stderr.write(`${field} ${message}\n`);
    else
      process.stderr.write(
        `${process.env.POLONY_LOG_LEVEL === 'debug' && error instanceof Error ? error.stack : errorMessage(error)}\n`,
      );
    end(1);
  },
);

/** Exits after all output is written: a write to a pipe is asynchronous. */
function end(code: number | string): void {
  process.stdout.write('', () => process.exit(code));
}
