import { createInterface } from 'node:readline/promises';
import { Argument, type Command } from 'commander';
import { type PolonyClient, polonyClient } from '../../client/index.js';
import { asked, connected, idOf, request, whole } from './commands.js';
import { CliError, EXIT } from './exit.js';
import { cell, listTable, print, thingTable, column } from './output.js';
import { type ConnectionOptions, configFile, connectionOf, readConfig, writeConfig } from './profiles.js';

interface CredentialsQuery {
  prefix?: string;
  expirationSeconds?: number;
}

/** The operation that answers a resource's credentials. */
const CREDENTIALS = {
  storage: (client: PolonyClient, id: string, query: CredentialsQuery) =>
    client.GET('/v1/storage-connections/{storage_connection_id}/credentials', {
      params: { path: { storage_connection_id: id }, query },
    }),
  run: (client: PolonyClient, id: string, query: CredentialsQuery) =>
    client.GET('/v1/runs/{run_id}/credentials', { params: { path: { run_id: id }, query } }),
  execution: (client: PolonyClient, id: string, query: CredentialsQuery) =>
    client.GET('/v1/executions/{execution_id}/credentials', { params: { path: { execution_id: id }, query } }),
} as const;
const GROUPS = { storage: 'storage', run: 'runs', execution: 'executions' } as const;

async function askForKey(): Promise<string> {
  if (!process.stdin.isTTY) {
    let text = '';
    for await (const chunk of process.stdin) text += String(chunk);
    return text.trim();
  }
  // What is typed does not show.
  const { Writable } = await import('node:stream');
  process.stderr.write('API key: ');
  const lines = createInterface({
    input: process.stdin,
    output: new Writable({ write: (_chunk, _encoding, done) => done() }),
    terminal: true,
  });
  try {
    return (await lines.question('')).trim();
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}

/** login, logout, whoami, profiles, and credentials for the AWS CLI. */
export function addSessionCommands(program: Command): void {
  program
    .command('login')
    .description(
      'keep the address of an API and a key for it, under the name of a profile; the key is asked for, or read from standard input',
    )
    .requiredOption('--api-url <url>', 'such as https://polony.example.org')
    .option('--api-key <key>', 'better not given here: other users of this machine see flags')
    .option('--profile <name>', 'name of the profile', 'default')
    .action(async ({ apiUrl, apiKey, profile }: { apiUrl: string; apiKey?: string; profile: string }) => {
      readConfig();
      const api = connectionOf({ apiUrl, apiKey: apiKey ?? process.env.POLONY_API_KEY ?? (await askForKey()) }, {});
      await request(api, 'GET', '/v1/auth');
      const config = readConfig();
      writeConfig({ current: profile, profiles: { ...config.profiles, [profile]: api } });
      process.stdout.write(`Logged in to ${api.url} as profile ${profile}, kept in ${configFile()}.\n`);
    });
  program
    .command('logout')
    .description('forget a profile')
    .option('--profile <name>', 'name of the profile; the current one where it is left out')
    .action(({ profile }: { profile?: string }) => {
      const config = readConfig();
      const name = profile ?? config.current ?? 'default';
      if (!Object.hasOwn(config.profiles, name)) throw new CliError(`There is no profile ${cell(name)}`, EXIT.notFound);
      const { [name]: _forgotten, ...profiles } = config.profiles;
      writeConfig({
        ...(config.current !== undefined && config.current !== name && { current: config.current }),
        profiles,
      });
      process.stdout.write(`Profile ${name} is forgotten; the key itself works until it is revoked.\n`);
    });
  connected(program.command('whoami').description('which API this is and what the key may do')).action(
    async (flags: ConnectionOptions & { json?: boolean }) => {
      const api = connectionOf(flags);
      const answer = (await request(api, 'GET', '/v1/auth')) as object;
      print(flags.json === true, answer, () => thingTable({ api: api.url, ...answer }));
    },
  );

  const profile = program.command('profile').description('profiles of polony login');
  profile
    .command('list')
    .description('list profiles')
    .option('--json', 'for programs')
    .action(({ json }: { json?: boolean }) => {
      const { current = 'default', profiles } = readConfig();
      const rows = Object.entries(profiles).map(([name, { url }]) => ({ name, url, current: name === current }));
      print(json === true, rows, () => listTable(rows, [column('name'), column('url'), column('current')], true));
    });
  profile
    .command('use')
    .description('choose the profile that commands use')
    .argument('<name>')
    .action((name: string) => {
      const config = readConfig();
      if (!Object.hasOwn(config.profiles, name)) throw new CliError(`There is no profile ${cell(name)}`, EXIT.notFound);
      writeConfig({ ...config, current: name });
    });

  connected(
    program
      .command('credentials')
      .description(
        'short-lived AWS credentials to read a storage connection, a run or an execution, as credential_process wants them (AWS CLI, boto3, rclone)',
      )
      .addArgument(new Argument('<kind>').choices(Object.keys(CREDENTIALS)))
      .argument('<id-or-name>')
      .option('--prefix <prefix>', 'only below this, relative to the resource')
      .option('--seconds <number>', 'how long they last; 3,600 where it is left out', whole),
  )
    .addHelpText(
      'after',
      '\nIn ~/.aws/config:\n\n  [profile lab-runs]\n  region = us-west-2\n  credential_process = polony credentials storage runs --profile lab\n\nWith --json the answer of the API is printed, with bucket and prefix.',
    )
    .action(
      async (
        kind: keyof typeof CREDENTIALS,
        given: string,
        flags: ConnectionOptions & { prefix?: string; seconds?: number; json?: boolean },
      ) => {
        const api = connectionOf(flags);
        const id = await idOf(api, GROUPS[kind], given);
        const answer = await asked(
          api,
          CREDENTIALS[kind](polonyClient(api), id, { prefix: flags.prefix, expirationSeconds: flags.seconds }),
        );
        const { accessKeyId, secretAccessKey, sessionToken, expiration } = answer.s3;
        // The form that `credential_process` is specified to print (AWS SDKs and Tools Reference Guide).
        process.stdout.write(
          `${JSON.stringify(flags.json === true ? answer : { Version: 1, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, SessionToken: sessionToken, Expiration: expiration }, undefined, 2)}\n`,
        );
      },
    );
}
