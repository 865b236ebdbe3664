import { type Command, Option } from 'commander';
import type { IamFlags } from './iam.js';

/** For an option that you can give several times. */
const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** Defines `polony iam` on a command: its flags, and what it does. */
export function defineIam(command: Command): Command {
  return command
    .description(
      "print the IAM policies that a customer's account needs: for polony's role or user, and for the execution role",
    )
    .requiredOption('--bucket <bucket>', 'bucket of the storage connection; you can give several (required)', collect)
    .option(
      '--prefix <prefix>',
      'one for all buckets, or one for each bucket in the same order; default: the whole bucket',
      collect,
    )
    .option('--credential-type <type>', 'how polony enters the account: role or accessKeys', 'role')
    .option(
      '--capabilities <list>',
      'some of runUpload,dataExploration,bases2fastq,sharing,cliCredentials; default: all',
    )
    .option('--external-id <id>', 'external ID of the role; default: a new random one')
    .option(
      '--trusted-account-id <account>',
      'the AWS account that polony runs in; default: what the API says, else POLONY_TRUSTED_ACCOUNT_ID',
    )
    .option(
      '--variant <variant>',
      "vendor: the vendor's templates; least: the same actions on as few resources as possible",
      'vendor',
    )
    .option('--execution-role-arn <arn>', 'execution role of HealthOmics, if you know it; default: any role')
    .option('--workflow-id <id>', "the share's Resource ID, or the workflow's ARN; default: any workflow")
    .option('--workflow-owner-id <account>', 'the account that shares the workflow; default: any account')
    .option('--region <region>', 'AWS region of the buckets and of HealthOmics; default: any region')
    .option('--account-id <account>', "the customer's account; default: the account of --execution-role-arn, else any")
    .option(
      '--url <url>',
      'https address of POST /v1/events, for the events formats; default: what the API says, else a parameter',
    )
    .option(
      '--format <format>',
      'json, cloudformation, terraform, aws-cli, policy or trust; ' +
        'events-cloudformation or events-terraform for the rules that send upload events to polony',
      'json',
    )
    .option('--api-url <url>', 'address of the API that knows the trusted account (environment: POLONY_API_URL)')
    .option('--api-key <key>', 'API key with the scope iam:read (environment: POLONY_API_KEY)')
    .option('--profile <name>', 'profile that polony login has saved')
    .addOption(new Option('--json', 'the same as --format json').hideHelp())
    .action(async (flags: IamFlags) => (await import('./iam.js')).iam(flags));
}
