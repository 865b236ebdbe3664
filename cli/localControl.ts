import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { AcceptShareCommand, ListSharesCommand, OmicsClient, type ShareDetails } from '@aws-sdk/client-omics';
import { InputError } from '../domain/errors.js';
import { controlOmics, type OmicsControl } from '../local/omics/control.js';
import { checkFault, type Fault } from '../local/omics/faults.js';
import type { Pace, Stage } from '../local/omics/run.js';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';
import type { LocalInfo } from '../local/stackFiles.js';
import { CliError, EXIT } from './client/exit.js';
import { cell, column, listTable } from './client/output.js';
import { createSignInUrl, describeStack, requireLocalInfo } from './localInfo.js';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function controlOf({ omicsControlUrl: url, omicsControlSecret: secret }: LocalInfo): OmicsControl {
  if (url === undefined || secret === undefined)
    throw new Error('The local stack that runs is of another version of polony. Stop it, and start it again');
  return { url, secret };
}

/** `polony local info`: prints the addresses and keys of the running stack again, with a new address to sign in. */
export async function info(): Promise<void> {
  const stack = requireLocalInfo();
  say(describeStack(stack, await createSignInUrl(stack)));
}

/** The flags of `polony local fault <operation> <kind>`. */
export interface FaultOptions {
  count?: number;
  probability?: number;
  delay?: number;
  failureReason?: string;
  statusMessage?: string;
}

function describeFault({ operation, kind, count, probability, ...details }: Fault): object {
  const more = Object.entries(details).map(([name, value]) => `${name} ${cell(value)}`);
  return {
    operation,
    kind,
    calls: count ?? 'all',
    probability: probability ?? 1,
    details: more.join(', '),
  };
}

/** `polony local fault <operation> <kind>`: adds a fault. */
export async function addFault(operation: string, kind: string, options: FaultOptions): Promise<void> {
  if (kind === 'pace')
    throw new InputError([
      { field: 'kind', rule: 'ONE_OF', message: 'must not be pace: use polony local pace --next <number>' },
    ]);
  const { delay: delayMs, ...rest } = options;
  const added = { operation, kind, delayMs, ...rest };
  const control = controlOf(requireLocalInfo());
  const problem = checkFault(added);
  if (problem !== undefined) throw new CliError(`The fault was not added: ${problem}`, EXIT.usage);
  await controlOmics(control, 'POST', 'faults', added);
  const calls = kind === 'failRun' ? 'runs' : 'calls';
  const which =
    options.count === undefined ? `all ${calls}, until polony local fault clear` : `${options.count} ${calls}`;
  say(`Added the fault ${kind} of ${operation}. It affects ${which}.`);
}

/** `polony local fault list` */
export async function listFaults(): Promise<void> {
  const faults = await controlOmics<Fault[]>(controlOf(requireLocalInfo()), 'GET', 'faults');
  const columns = ['operation', 'kind', 'calls', 'probability', 'details'].map((each) => column(each));
  say(listTable(faults.map(describeFault), columns, true));
}

/** `polony local fault clear` */
export async function clearFaults(): Promise<void> {
  const removed = await controlOmics<Fault[]>(controlOf(requireLocalInfo()), 'DELETE', 'faults');
  say(
    removed.length === 0
      ? 'There were no faults.'
      : `Removed ${removed.length} fault${removed.length === 1 ? '' : 's'}.`,
  );
}

/** The flags of `polony local pace`, in seconds. */
export interface PaceOptions {
  pending?: number;
  starting?: number;
  running?: number;
  stopping?: number;
  /** For this many runs only. */
  next?: number;
}

/** How long a run stays in a status if no pace says it, in milliseconds. */
const USUAL_MS = 500;

function describePace(pace: Pace | undefined): string {
  const seconds = (stage: Stage): number => (pace?.[stage] ?? USUAL_MS) / 1000;
  return (
    `PENDING ${seconds('PENDING')} s, STARTING ${seconds('STARTING')} s, ` +
    `RUNNING ${seconds('RUNNING')} s, STOPPING ${seconds('STOPPING')} s`
  );
}

/** `polony local pace`: shows or changes how long HealthOmics runs stay in each status. */
export async function changePace({ next, ...seconds }: PaceOptions): Promise<void> {
  const control = controlOf(requireLocalInfo());
  const stages = Object.entries(seconds) as [Lowercase<Stage>, number][];
  const change: Pace = Object.fromEntries(stages.map(([stage, value]) => [stage.toUpperCase(), value * 1000]));
  const { pace } = await controlOmics<{ pace?: Pace }>(control, 'GET', 'settings');
  const changed = { ...pace, ...change };
  if (next !== undefined) {
    if (stages.length === 0)
      throw new InputError([
        {
          field: '--next',
          rule: 'NO_STAGE',
          message: 'needs at least one of --pending, --starting, --running, --stopping',
        },
      ]);
    await controlOmics(control, 'POST', 'faults', { operation: 'StartRun', kind: 'pace', count: next, pace: changed });
    return say(`The next ${next === 1 ? 'run' : `${next} runs`}: ${describePace(changed)}`);
  }
  if (stages.length > 0) await controlOmics(control, 'POST', 'settings', { pace: changed });
  say(describePace(changed));
}

/** `polony local pace reset` */
export async function resetPace(): Promise<void> {
  await controlOmics(controlOf(requireLocalInfo()), 'POST', 'settings', { pace: null });
  say(describePace(undefined));
}

/** `polony local accept-share`: accepts the workflow share in the customer's account, as its admin. */
export async function acceptShare(): Promise<void> {
  const { awsRegion: region, awsEndpoint: endpoint, ...stack } = requireLocalInfo();
  const credentials = { accessKeyId: stack.adminAccessKeyId, secretAccessKey: stack.adminSecretAccessKey };
  const omics = new OmicsClient({ region, endpoint, credentials, disableHostPrefix: true });
  try {
    const { shares = [] } = await omics.send(new ListSharesCommand({ resourceOwner: 'OTHER' }));
    if (shares.length === 0) throw new Error(`No workflow is shared with the account ${credentials.accessKeyId}`);
    for (const share of shares) await acceptIfPending(omics, share);
  } finally {
    omics.destroy();
  }
}

async function acceptIfPending(omics: OmicsClient, { shareId, status, resourceId, ownerId, shareName }: ShareDetails) {
  const isPending = status === 'PENDING';
  if (isPending) await omics.send(new AcceptShareCommand({ shareId }));
  say(
    `${isPending ? 'Accepted' : 'Already accepted:'} the share ${shareName} of workflow ${resourceId} ` +
      `of account ${ownerId}.\nA flow needs --shared-workflow-id ${resourceId} --workflow-owner-id ${ownerId}`,
  );
}

/** The environment in which AWS clients are the admin of the customer's account of the local stack. */
function awsEnvironment({
  awsEndpoint,
  awsRegion,
  adminAccessKeyId,
  adminSecretAccessKey,
}: LocalInfo): NodeJS.ProcessEnv {
  // A user's own settings, such as a session token or an endpoint of one service, must not lead to the real AWS.
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_'));
  return {
    ...Object.fromEntries(own),
    AWS_ENDPOINT_URL: awsEndpoint,
    AWS_REGION: awsRegion,
    AWS_DEFAULT_REGION: awsRegion,
    AWS_ACCESS_KEY_ID: adminAccessKeyId,
    AWS_SECRET_ACCESS_KEY: adminSecretAccessKey,
    AWS_DISABLE_HOST_PREFIX_INJECTION: 'true',
    AWS_DEFAULT_OUTPUT: 'json',
    AWS_PAGER: '',
  };
}

/** Settings of polony and its clients. Those of the user are for another installation. */
const SETTING = /^((AWS|POLONY|TEMPORAL|DATABASE|OTEL)_|PG)/;
/** Where polony keeps its files, which is the same for all installations. */
const FOLDERS = new Set(['POLONY_HOME', 'POLONY_CACHE']);

/** The environment of the worker of a local stack, in place of what the user has set for another installation. */
export function workerEnvironment({ processEnv }: LocalInfo, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (processEnv === undefined)
    throw new Error('The local stack that runs is of another version of polony. Stop it, and start it again');
  const own = Object.entries(env).filter(([name]) => FOLDERS.has(name) || !SETTING.test(name));
  return { ...Object.fromEntries(own), ...processEnv };
}

/** The flags of `polony local exec`. */
export interface ExecuteOptions {
  worker?: boolean;
}

/** The PATH on which commands find the AWS CLI. Installs the AWS CLI in polony's cache if there is none. */
async function pathWithAwsCli(current: string): Promise<string> {
  if (spawnSync('aws', ['--version'], { stdio: 'ignore' }).status === 0) return current;
  const onProgress = (line: string): void => void process.stderr.write(`${line}\n`);
  const { binDir } = await ensurePython({ ...PYTHON.awsClients, onProgress });
  return [binDir, current].join(path.delimiter);
}

/**
 * `polony local exec <command>`: runs a command with the environment for AWS clients of the running stack, or with that
 * of its worker. Exits with the exit code of the command.
 */
export async function execute(command: string, args: string[], { worker }: ExecuteOptions = {}): Promise<void> {
  const stack = requireLocalInfo();
  const env =
    worker === true
      ? workerEnvironment(stack, process.env)
      : { ...awsEnvironment(stack), PATH: await pathWithAwsCli(process.env.PATH ?? '') };
  const child = spawn(command, args, { stdio: 'inherit', env });
  // The terminal sends Ctrl-C to the command too, which decides what to do.
  process.on('SIGINT', () => undefined);
  process.once('SIGTERM', () => child.kill('SIGTERM'));
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Error(`There is no command ${command}`) : error),
    );
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
