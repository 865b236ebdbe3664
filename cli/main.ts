#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { InputError, errorMessage } from '../domain/errors.js';
import type { IamOptions } from './iam.js';
import type { InstrumentOptions } from './instrument.js';

// Each command loads what it needs only: a worker has no use for the embedded stack, nor the API for a worker.
const program = new Command('polony').description('Orchestrates Element AVITI sequencing data on AWS').version('0.1.0');
const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('must be a number');
  return value;
};

program
  .command('api')
  .description('serve the API')
  .action(async () => (await import('./processes.js')).apiProcess());
program
  .command('worker')
  .description('carry out workflows and activities')
  .action(async () => (await import('./processes.js')).workerProcess());
program
  .command('migrate')
  .description('bring the database up to date, and register the search attributes in Temporal')
  .action(async () => (await import('./processes.js')).migrateProcess());
program
  .command('reencrypt')
  .description('encrypt all secrets anew with the first key of POLONY_ENCRYPTION_KEYS')
  .action(async () => (await import('./processes.js')).reencryptProcess());
program
  .command('demo')
  .description('the whole main job on the embedded stack')
  .action(async () => (await import('./demo.js')).demo());
program
  .command('local')
  .description('the embedded stack, left running')
  .action(async () => (await import('./local.js')).local());
program
  .command('instrument')
  .description('simulate an instrument that uploads a run to the bucket of the local stack')
  .requiredOption('--bucket <bucket>')
  .option('--prefix <prefix>', 'of the storage connection', '')
  .option('--run-name <name>', 'name of the run', `SIM-${Date.now().toString(36)}`)
  .option('--instrument <name>', 'name of the instrument', 'AV240001')
  .option('--run-type <type>', 'Sequencing or Cytoprofiling', 'Sequencing')
  .option('--cycles <cycles>', 'of each read', 'R1=12,R2=12,I1=8,I2=8')
  .option('--samples <number>', 'how many samples', number, 3)
  .option('--outcome <outcome>', 'completed, failed, stopped, empty, newline or none', 'completed')
  .option('--bytes-per-cycle <bytes>', 'size of each BaseCalls file', number, 2048)
  .option('--bytes-per-second <bytes>', 'pace of the upload', number)
  .option('--stall-at <share>', 'stop after this share of the cycles; Enter goes on', number)
  .action(async (options: InstrumentOptions) => (await import('./instrument.js')).instrument(options));

const several = (value: string, before: string[] = []): string[] => [...before, value];
program
  .command('iam')
  .description(
    "the IAM documents of a customer's account: what its role or user, and HealthOmics' execution role, are to be granted",
  )
  .requiredOption('--bucket <bucket>', 'may be given several times', several)
  .option('--prefix <prefix>', 'one for all buckets, or one for each in their order', several)
  .option('--credential-type <type>', 'role or accessKeys', 'role')
  .option(
    '--capabilities <list>',
    'of runUpload,dataExploration,bases2fastq,sharing,cliCredentials; all where left out',
  )
  .option('--external-id <id>', 'a new random one where left out')
  .addOption(
    new Option('--trusted-account-id <account>', 'the AWS account that polony runs in').env(
      'POLONY_TRUSTED_ACCOUNT_ID',
    ),
  )
  .option(
    '--variant <variant>',
    "vendor: the vendor's templates; least: the same actions on as little as possible",
    'vendor',
  )
  .option('--execution-role-arn <arn>', 'where it is known')
  .option('--workflow-id <id>', "the share's Resource ID, or the workflow's ARN")
  .option('--workflow-owner-id <account>', 'the account that shares the workflow')
  .option('--region <region>')
  .option('--account-id <account>', "the customer's account")
  .option(
    '--format <format>',
    'json, cloudformation, terraform, aws-cli, policy or trust; events-cloudformation or events-terraform for what tells polony of uploads',
    'json',
  )
  .action(async (options: IamOptions) => (await import('./iam.js')).iam(options));

/** Processes and the local stack; what is none of these is a client of the API. */
const OWN = new Set(program.commands.map((command) => command.name()));
if (!OWN.has(process.argv[2] ?? '')) await (await import('./client/index.js')).addClient(program);

/** So that scripts can tell wrong flags from what went wrong (docs/cli.md). */
const USAGE = 2;
const strict = (command: Command): void => {
  command.exitOverride();
  command.commands.forEach(strict);
};
strict(program);
// Whoever read what is printed may have had enough: quietly, but not as if all had been done (128 + SIGPIPE, as of other programs).
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

/** Ends once what was printed has gone out: a pipe takes its time. */
function end(code: number | string): void {
  process.stdout.write('', () => process.exit(code));
}
