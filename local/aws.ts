import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, PutUserPolicyCommand } from '@aws-sdk/client-iam';
import { type Guardian, untilReady } from './guardian.js';
import { type EmulatorOptions, OmicsEmulator } from './omics/emulator.js';
import { withFreePort } from './ports.js';
import { ensurePython } from './python.js';
import { PYTHON } from './pythonPackages.js';

export interface LocalAwsOptions {
  guardian: Guardian;
  stateDir: string;
  region?: string;
  /** Whether objects, IAM and runs stay after a stop. */
  persist?: boolean;
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

interface Secrets {
  root: string;
  shared: string;
  service?: { accessKeyId: string; secretAccessKey: string };
}

/**
 * Starts ministack and a local HealthOmics on loopback; both enforce IAM. Any AWS client works with the endpoint. For
 * HealthOmics, tell the client not to add `workflows-` to the host: `disableHostPrefix: true` in JavaScript,
 * `Config(inject_host_prefix=False)` in boto3, AWS_DISABLE_HOST_PREFIX_INJECTION=true for the AWS CLI and boto3.
 */
export async function startLocalAws(options: LocalAwsOptions): Promise<LocalAws> {
  const region = options.region ?? 'us-west-2';
  const folder = path.join(options.stateDir, 'aws');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const secretsFile = path.join(folder, 'secrets.json');
  const secrets: Secrets = existsSync(secretsFile)
    ? (JSON.parse(readFileSync(secretsFile, 'utf8')) as Secrets)
    : { root: randomBytes(20).toString('hex'), shared: randomBytes(20).toString('hex') };
  const saveSecrets = (): void => writeFileSync(secretsFile, JSON.stringify(secrets), { mode: 0o600 });
  saveSecrets();
  const python = await ensurePython({
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
    return await withFreePort(options.preferredPort, (port) =>
      startMinistack(port, options, region, folder, secrets, saveSecrets, emulator, python.pythonBin),
    );
  } catch (error) {
    // Its open port would keep this process alive.
    await emulator.close();
    throw error;
  }
}

async function startMinistack(
  port: number,
  options: LocalAwsOptions,
  region: string,
  folder: string,
  secrets: Secrets,
  saveSecrets: () => void,
  emulator: OmicsEmulator,
  pythonBin: string,
): Promise<LocalAws> {
  const endpoint = `http://127.0.0.1:${port}`;
  const script = [
    new URL('./ministack/polony_omics.py', import.meta.url),
    new URL('../../local/ministack/polony_omics.py', import.meta.url),
  ]
    .map((url) => fileURLToPath(url))
    .find((file) => existsSync(file));
  if (script === undefined)
    throw new Error('local/ministack/polony_omics.py is missing. Run the local stack from a checkout of polony');
  const child = options.guardian.spawn('ministack', pythonBin, ['-B', script], {
    env: {
      AUTH: 'true',
      BIND_HOST: '127.0.0.1',
      GATEWAY_PORT: String(port),
      IOT_MTLS_ENABLED: '0',
      SFTP_ENABLED: '0',
      AWS_ACCESS_KEY_ID: CUSTOMER,
      AWS_SECRET_ACCESS_KEY: secrets.root,
      AWS_SESSION_TOKEN: undefined,
      OMICS_UPSTREAM: emulator.url,
      OMICS_SHARED_SECRET: secrets.shared,
      ...(options.persist === true && {
        PERSIST_STATE: '1',
        STATE_DIR: path.join(folder, 'state'),
        S3_PERSIST: '1',
        S3_DATA_DIR: path.join(folder, 's3'),
      }),
    },
  });
  await untilReady(child, async () => {
    const response = await fetch(`${endpoint}/_polony/ready`, { headers: { 'x-polony-secret': secrets.shared } });
    return response.ok && ((await response.json()) as { upstream: string }).upstream === emulator.url;
  });
  if (secrets.service === undefined || options.persist !== true) {
    const iam = new IAMClient({
      region: 'us-east-1',
      endpoint,
      credentials: { accessKeyId: SERVICE, secretAccessKey: secrets.root },
    });
    await iam.send(new CreateUserCommand({ UserName: 'polony' }));
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
    secrets.service = { accessKeyId: key!.AccessKeyId!, secretAccessKey: key!.SecretAccessKey! };
    saveSecrets();
  }
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
  emulator.connect(endpoint);
  return {
    endpoint,
    region,
    customerAccountId: CUSTOMER,
    serviceAccountId: SERVICE,
    adminAccessKeyId: CUSTOMER,
    adminSecretAccessKey: secrets.root,
    serviceAccessKeyId: secrets.service.accessKeyId,
    serviceSecretAccessKey: secrets.service.secretAccessKey,
    workflow: { id, ownerId: SERVICE, shareId },
    emulator,
    pid: child.pid,
    expireSessions: async () => {
      const response = await fetch(`${endpoint}/_polony/expire-sessions`, {
        method: 'POST',
        headers: { 'x-polony-secret': secrets.shared },
      });
      if (response.ok) return;
      throw new Error(`The local AWS did not expire the sessions: ${response.status} ${await response.text()}`);
    },
    stop: async () => {
      await child.stop();
      await emulator.close();
    },
  };
}
