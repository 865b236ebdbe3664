import { createInterface } from 'node:readline/promises';
import { Argument, type Command } from 'commander';
import { type PolonyClient, polonyClient } from '../../client/index.js';
import { CliError, EXIT } from './exit.js';
import { addConnectionFlags, parseWholeNumber } from './flags.js';
import { cell, column, jsonText, listTable, print, thingTable } from './output.js';
import { type ConnectionOptions, configFile, connectionOf, readConfig, warnIfPlain, writeConfig } from './profiles.js';
import { resolveId } from './names.js';
import { expectData, request } from './requests.js';

interface CredentialsQuery {
  prefix?: string;
  expirationSeconds?: number;
}

/** The operation that issues credentials for a resource. */
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
  // The terminal does not show the key.
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

interface LoginFlags {
  apiUrl?: string;
  apiKey?: string;
  local?: boolean;
  profile: string;
}

/** The address and the key that a login saves. @throws CliError for contradicting flags */
async function loginTo({
  apiUrl,
  apiKey,
  local,
}: Omit<LoginFlags, 'profile'>): Promise<{ apiUrl: string; apiKey: string; keyFrom?: string }> {
  if (local === true) {
    if (apiUrl !== undefined || apiKey !== undefined)
      throw new CliError('Give either --local, or --api-url and --api-key', EXIT.usage);
    return (await import('../localInfo.js')).requireLocalInfo();
  }
  if (apiUrl === undefined)
    throw new CliError('Give --api-url, or --local for the local stack of this folder', EXIT.usage);
  // Before the user types a key.
  warnIfPlain(apiUrl);
  const ofEnvironment = process.env.POLONY_API_KEY || undefined;
  const given = apiKey ?? ofEnvironment ?? (await askForKey());
  if (given.trim() === '')
    throw new CliError(
      'The API key is empty. Type it when polony login asks, write it to its standard input, or set POLONY_API_KEY',
      EXIT.usage,
    );
  const keyFrom = apiKey === undefined && ofEnvironment !== undefined ? 'POLONY_API_KEY' : undefined;
  return { apiUrl, apiKey: given, keyFrom };
}

async function login({ profile, ...flags }: LoginFlags): Promise<void> {
  // A damaged file is reported before the user types a key.
  readConfig();
  const { apiUrl, apiKey, keyFrom } = await loginTo(flags);
  const { url } = connectionOf({ apiUrl, apiKey }, {});
  const api = { url, apiKey };
  await request({ ...api, keyFrom }, 'GET', '/v1/auth');
  const config = readConfig();
  writeConfig({ current: profile, profiles: { ...config.profiles, [profile]: api } });
  process.stdout.write(`Logged in to ${url} as profile ${profile}, saved in ${configFile()}.\n`);
}

const noSuchProfile = (name: string): CliError =>
  new CliError(`There is no profile ${cell(name)}; polony profile list shows the profiles`, EXIT.notFound);

function logout({ profile }: { profile?: string }): void {
  const config = readConfig();
  const name = profile ?? config.current ?? 'default';
  if (!Object.hasOwn(config.profiles, name)) throw noSuchProfile(name);
  const { [name]: _removed, ...profiles } = config.profiles;
  const current = config.current === name ? undefined : config.current;
  writeConfig({ ...(current !== undefined && { current }), profiles });
  process.stdout.write(`Removed profile ${name}. The key still works until you revoke it.\n`);
}

async function whoami(flags: ConnectionOptions & { json?: boolean }): Promise<void> {
  const api = connectionOf(flags);
  const { tenantId, scopes } = await expectData(api, polonyClient(api).GET('/v1/auth'));
  const { session } = await expectData(api, polonyClient(api).GET('/v1/session'));
  const { kind, id, name, timeExpires } = (session as typeof session | undefined) ?? {};
  const answer = { tenantId, kind, id, name, timeExpires, scopes };
  print(flags.json === true, answer, () => thingTable({ api: api.url, ...answer }));
}

async function showInstallation(flags: ConnectionOptions & { json?: boolean }): Promise<void> {
  const api = connectionOf(flags);
  const answer = await expectData(api, polonyClient(api).GET('/v1/installation'));
  print(flags.json === true, answer, () => thingTable(answer.installation));
}

async function createSignInLink(flags: ConnectionOptions & { json?: boolean }): Promise<void> {
  const api = connectionOf(flags);
  const { signInLink } = await expectData(api, polonyClient(api).POST('/v1/session/sign-in-links'));
  const url = `${api.url.replace(/\/+$/, '')}${signInLink.path}`;
  print(flags.json === true, { url, timeExpires: signInLink.timeExpires }, () => `${url}\n`);
}

function listProfiles({ json }: { json?: boolean }): void {
  const { current = 'default', profiles } = readConfig();
  const rows = Object.entries(profiles).map(([name, { url }]) => ({ name, url, current: name === current }));
  print(json === true, rows, () => listTable(rows, [column('name'), column('url'), column('current')], true));
}

function useProfile(name: string): void {
  const config = readConfig();
  if (!Object.hasOwn(config.profiles, name)) throw noSuchProfile(name);
  writeConfig({ ...config, current: name });
}

type CredentialsFlags = ConnectionOptions & { prefix?: string; seconds?: number; json?: boolean };

async function printCredentials(
  kind: keyof typeof CREDENTIALS,
  idOrName: string,
  flags: CredentialsFlags,
): Promise<void> {
  const api = connectionOf(flags);
  const id = await resolveId(api, GROUPS[kind], idOrName);
  const query = { prefix: flags.prefix, expirationSeconds: flags.seconds };
  const answer = await expectData(api, CREDENTIALS[kind](polonyClient(api), id, query));
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = answer.s3;
  // The format of `credential_process` (AWS SDKs and Tools Reference Guide, "Process credential provider").
  const credentials = {
    Version: 1,
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    SessionToken: sessionToken,
    Expiration: expiration,
  };
  process.stdout.write(`${jsonText(flags.json === true ? answer : credentials, 2)}\n`);
}

const CREDENTIALS_HELP = `
In ~/.aws/config:

  [profile lab-runs]
  region = us-west-2
  credential_process = polony credentials storage runs --profile lab

With --json, the command prints the answer of the API, with bucket and prefix.`;

/** Adds login, logout, whoami, installation, sign-in-link, profile and credentials. */
export function addSessionCommands(program: Command): void {
  program
    .command('login')
    .description('save the address of an API and a key as a profile; asks for the key or reads it from standard input')
    .option('--api-url <url>', 'address of the API, such as https://polony.example.org (required, or --local)')
    .option('--local', 'log in to the local stack that runs in this folder (POLONY_HOME), with its key')
    .option('--api-key <key>', 'API key; better typed when asked, because other users of this machine can see flags')
    .option('--profile <name>', 'name of the profile', 'default')
    .action(login);
  program
    .command('logout')
    .description('remove a profile')
    .option('--profile <name>', 'name of the profile; default: the current one')
    .action(logout);
  addConnectionFlags(program.command('whoami').description('show which API you use and what the key may do')).action(
    whoami,
  );
  addConnectionFlags(
    program.command('installation').description('show the version, the AWS account and Temporal of the installation'),
  ).action(showInstallation);
  addConnectionFlags(
    program
      .command('sign-in-link')
      .description('print an address that signs a browser in as you; it works once, within 15 minutes'),
  ).action(createSignInLink);
  const profile = program.command('profile').description('profiles that polony login has saved');
  profile
    .command('list')
    .description('list profiles')
    .option('--json', 'print JSON, for programs')
    .action(listProfiles);
  profile
    .command('use')
    .description('choose the profile that commands use')
    .argument('<name>', 'name of the profile')
    .action(useProfile);
  addConnectionFlags(
    program
      .command('credentials')
      .description(
        'print short-lived AWS credentials that read a storage connection, a run or an execution, ' +
          'in the format of credential_process (AWS CLI, boto3, rclone)',
      )
      .addArgument(new Argument('<kind>', 'what to read').choices(Object.keys(CREDENTIALS)))
      .argument('<id-or-name>', 'its ID or name')
      .option('--prefix <prefix>', 'only below this prefix, relative to the resource')
      .option('--seconds <number>', 'lifetime in seconds; default: 3600', parseWholeNumber),
  )
    .addHelpText('after', CREDENTIALS_HELP)
    .action(printCredentials);
}
