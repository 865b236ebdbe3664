import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  EntityAlreadyExistsException,
  IAMClient,
  ListAccessKeysCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import { type GuardedChild, type Guardian, untilReady } from './guardian.js';
import { type EmulatorOptions, OmicsEmulator } from './omics/emulator.js';
import { withFreePort } from './ports.js';
import { ensurePython } from './python.js';
import { PYTHON } from './pythonPackages.js';
import { writeFileAtomically } from './stackFiles.js';

export interface LocalAwsOptions {
  guardian: Guardian;
  stateDir: string;
  region?: string;
  /** Whether objects, IAM and runs stay after a stop. */
  persist?: boolean;
  /** Lets STS make sessions of less than 900 seconds, which AWS does not, for tests of expiring sessions. */
  allowShortSessions?: boolean;
  preferredPort?: number;
  omics?: Omit<EmulatorOptions, 'secret' | 'stateFile'>;
  cacheDir?: string;
  onProgress?: (line: string) => void;
}

/**
 * A local AWS with two accounts: the customer's, where the admin is root, and polony's own, where the user may only
 * assume roles.
 */
export interface LocalAws {
  endpoint: string;
  region: string;
  customerAccountId: string;
  serviceAccountId: string;
  adminAccessKeyId: string;
  adminSecretAccessKey: string;
  serviceAccessKeyId: string;
  serviceSecretAccessKey: string;
  workflow: { id: string; ownerId: string; shareId: string };
  emulator: OmicsEmulator;
  pid: number;
  /** Expires all sessions of roles and users now. */
  expireSessions: () => Promise<void>;
  stop: () => Promise<void>;
}

const CUSTOMER = '111122223333';
/** The account that the vendor's page trusts and that shares the workflow. */
const SERVICE = '588258415937';

/** The keys of a state folder. */
interface StackSecrets {
  /** The secret access key of both accounts' root users. */
  root: string;
  /** ministack and the emulator show it to each other. */
  shared: string;
  /** The access key of polony's user, once it exists. */
  service?: ServiceKey;
}
interface ServiceKey {
  accessKeyId: string;
  secretAccessKey: string;
}

/**
 * Starts ministack and a local HealthOmics on loopback; both enforce IAM. Any AWS client works with the endpoint. For
 * HealthOmics, tell the client not to add `workflows-` to the host: `disableHostPrefix: true` in JavaScript,
 * `Config(inject_host_prefix=False)` in boto3, AWS_DISABLE_HOST_PREFIX_INJECTION=true for the AWS CLI and boto3.
 */
export async function startLocalAws(options: LocalAwsOptions): Promise<LocalAws> {
  const region = options.region ?? 'us-west-2';
  const folder = path.join(options.stateDir, 'aws');
  const secretsFile = path.join(folder, 'secrets.json');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const secrets = readOrCreateSecrets(secretsFile);
  const { pythonBin } = await ensurePython({
    ...PYTHON.ministack,
    cacheDir: options.cacheDir,
    onProgress: options.onProgress,
  });
  const emulator = new OmicsEmulator({
    ...options.omics,
    secret: secrets.shared,
    ...(options.persist === true && { stateFile: path.join(folder, 'omics.json') }),
  });
  await emulator.listen();
  try {
    const ministack = await withFreePort(options.preferredPort, (port) =>
      startMinistack(options.guardian, pythonBin, {
        ...credentialSettings(port, secrets),
        OMICS_UPSTREAM: emulator.url,
        ...(options.allowShortSessions === true && { ALLOW_SHORT_SESSIONS: '1' }),
        ...(options.persist === true && persistenceSettings(folder)),
      }),
    );
    if (secrets.service === undefined || options.persist !== true) {
      secrets.service = await createServiceUser(ministack.endpoint, secrets.root);
      writeSecrets(secretsFile, secrets);
    }
    const workflow = shareBases2Fastq(emulator, region);
    emulator.connect(ministack.endpoint);
    return {
      endpoint: ministack.endpoint,
      region,
      customerAccountId: CUSTOMER,
      serviceAccountId: SERVICE,
      adminAccessKeyId: CUSTOMER,
      adminSecretAccessKey: secrets.root,
      serviceAccessKeyId: secrets.service.accessKeyId,
      serviceSecretAccessKey: secrets.service.secretAccessKey,
      workflow,
      emulator,
      pid: ministack.child.pid,
      expireSessions: () => expireSessions(ministack.endpoint, secrets.shared),
      stop: async () => {
        await ministack.child.stop();
        await emulator.close();
      },
    };
  } catch (error) {
    // Its open port would keep this process alive.
    await emulator.close();
    throw error;
  }
}

function readOrCreateSecrets(file: string): StackSecrets {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as StackSecrets;
  const secrets = { root: randomBytes(20).toString('hex'), shared: randomBytes(20).toString('hex') };
  writeSecrets(file, secrets);
  return secrets;
}

function writeSecrets(file: string, secrets: StackSecrets): void {
  writeFileAtomically(file, JSON.stringify(secrets));
}

/** ministack's settings, as environment variables; local/ministack/polony_omics.py lists them. */
interface MinistackSettings {
  GATEWAY_PORT: string;
  OMICS_UPSTREAM: string;
  OMICS_SHARED_SECRET: string;
  [name: string]: string | undefined;
}

function credentialSettings(port: number, secrets: StackSecrets) {
  return {
    AUTH: 'true',
    BIND_HOST: '127.0.0.1',
    GATEWAY_PORT: String(port),
    IOT_MTLS_ENABLED: '0',
    SFTP_ENABLED: '0',
    AWS_ACCESS_KEY_ID: CUSTOMER,
    AWS_SECRET_ACCESS_KEY: secrets.root,
    AWS_SESSION_TOKEN: undefined,
    OMICS_SHARED_SECRET: secrets.shared,
  };
}

function persistenceSettings(folder: string) {
  return {
    PERSIST_STATE: '1',
    STATE_DIR: path.join(folder, 'state'),
    S3_PERSIST: '1',
    S3_DATA_DIR: path.join(folder, 's3'),
  };
}

/** @throws ChildFailedError when ministack ends before it answers. */
async function startMinistack(
  guardian: Guardian,
  pythonBin: string,
  settings: MinistackSettings,
): Promise<{ child: GuardedChild; endpoint: string }> {
  const endpoint = `http://127.0.0.1:${settings.GATEWAY_PORT}`;
  const child = guardian.spawn('ministack', pythonBin, ['-B', MINISTACK_SCRIPT], { env: settings });
  await untilReady(child, async () => {
    const response = await fetch(`${endpoint}/_polony/ready`, {
      headers: { 'x-polony-secret': settings.OMICS_SHARED_SECRET },
    });
    // Another stack may have taken the port. Its ministack names another emulator.
    return response.ok && ((await response.json()) as { upstream: string }).upstream === settings.OMICS_UPSTREAM;
  });
  return { child, endpoint };
}

/** The script is beside this file, also in a build. */
const MINISTACK_SCRIPT = fileURLToPath(new URL('./ministack/polony_omics.py', import.meta.url));

/** Creates the user in polony's account, who may only assume roles. @returns an access key of the user. */
async function createServiceUser(endpoint: string, rootSecret: string): Promise<ServiceKey> {
  const iam = new IAMClient({
    region: 'us-east-1',
    endpoint,
    credentials: { accessKeyId: SERVICE, secretAccessKey: rootSecret },
  });
  try {
    await iam.send(new CreateUserCommand({ UserName: 'polony' }));
  } catch (error) {
    if (!(error instanceof EntityAlreadyExistsException)) throw error;
    // An earlier start ended before it had stored the key of the user, which nobody can read any more.
    const { AccessKeyMetadata: keys = [] } = await iam.send(new ListAccessKeysCommand({ UserName: 'polony' }));
    for (const { AccessKeyId } of keys) await iam.send(new DeleteAccessKeyCommand({ UserName: 'polony', AccessKeyId }));
  }
  await iam.send(
    new PutUserPolicyCommand({
      UserName: 'polony',
      PolicyName: 'assume-customer-roles',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
      }),
    }),
  );
  const key = (await iam.send(new CreateAccessKeyCommand({ UserName: 'polony' }))).AccessKey;
  iam.destroy();
  return { accessKeyId: key!.AccessKeyId!, secretAccessKey: key!.SecretAccessKey! };
}

/** Shares the vendor's workflow with the customer's account, as the vendor does. */
function shareBases2Fastq(emulator: OmicsEmulator, region: string): LocalAws['workflow'] {
  const id = '4567890';
  const shareId = emulator.shareWorkflow(
    {
      id,
      ownerId: SERVICE,
      region,
      name: 'bases2fastq',
      status: 'ACTIVE',
      parameterTemplate: {
        run_dir: { description: 'S3 URI of the run folder' },
        run_manifest: {
          description: 'S3 URI of a run manifest to use instead of the one in the run folder',
          optional: true,
        },
        no_projects: { description: 'Apply --no-projects', optional: true },
        settings: { description: 'Settings that override those of the run manifest', optional: true },
        num_unassigned: { description: 'How many unassigned sequences to report', optional: true },
      },
    },
    CUSTOMER,
  );
  return { id, ownerId: SERVICE, shareId };
}

async function expireSessions(endpoint: string, sharedSecret: string): Promise<void> {
  const response = await fetch(`${endpoint}/_polony/expire-sessions`, {
    method: 'POST',
    headers: { 'x-polony-secret': sharedSecret },
  });
  if (response.ok) return;
  throw new Error(`The local AWS did not expire the sessions: ${response.status} ${await response.text()}`);
}
