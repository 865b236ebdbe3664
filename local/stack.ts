import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrate, openDatabase } from '../store/database.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';
import { type LocalAws, startLocalAws } from './aws.js';
import { createGuardian, type GuardedChild, type Guardian, untilReady } from './guardian.js';
import type { EmulatorOptions } from './omics/emulator.js';
import { freePort, withFreePort } from './ports.js';
import { type LocalPostgres, startPostgres } from './postgres.js';
import {
  type LocalInfo,
  localInfoFile,
  lockStateFolder,
  removeLocalInfo,
  stateFolder,
  writeFileAtomically,
  writeLocalInfo,
} from './stackFiles.js';
import { type LocalTemporal, startTemporal } from './temporal.js';

export interface StackOptions {
  /** `POLONY_HOME`, else `.polony/`. */
  stateDir?: string;
  /** Whether commits reach the disk; off for tests. */
  durable?: boolean;
  /** No Temporal Web UI. */
  headless?: boolean;
  /** Whether API and worker are started; tests may start their own. */
  processes?: boolean;
  /** Folder of a build whose API and worker are started. Default: the one that this file is in, else the source. */
  build?: string;
  /** Laid over the environment of API and worker. */
  env?: Record<string, string>;
  omics?: Omit<EmulatorOptions, 'secret' | 'stateFile'>;
  onProgress?: (line: string) => void;
  /** Gives up while it starts: what runs already is stopped and the reason thrown. A stack that has started is ended with its `stop`. */
  signal?: AbortSignal;
}

/** The whole stack, running. */
export interface Stack {
  info: LocalInfo;
  aws: LocalAws;
  temporal: LocalTemporal;
  postgres: LocalPostgres;
  guardian: Guardian;
  /** The environment that API and worker run in. */
  env: Record<string, string>;
  api: GuardedChild | undefined;
  worker: GuardedChild | undefined;
  startWorker: () => Promise<GuardedChild>;
  /** Kills a part as a crash does, and starts it again at the same address, on the same state. */
  crash: (part: 'api' | 'worker' | 'temporal' | 'postgres') => Promise<void>;
  /** May be called several times. */
  stop: () => Promise<void>;
}

/** The command of a process of polony: the build where there is one, else the source. */
function processArguments(command: string, build: string | undefined): string[] {
  if (build !== undefined) return [path.join(build, 'cli/main.js'), command];
  const self = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
  if (existsSync(self)) return ['--import', import.meta.resolve('tsx'), self, command];
  return [fileURLToPath(new URL('../cli/main.js', import.meta.url)), command];
}

/**
 * Starts Temporal, PostgreSQL, the local AWS with HealthOmics, the API and the worker on loopback, with all state in one folder.
 * When this process ends in whatever way, the guardian ends them.
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const stateDir = path.resolve(options.stateDir ?? stateFolder());
  const progress = options.onProgress ?? ((): void => undefined);
  const unlock = lockStateFolder(stateDir);
  // Of a stack that ended with its machine.
  removeLocalInfo(stateDir);
  const guardian = await createGuardian(stateDir, {
    onUnexpectedExit: (error) => progress(error.message),
    removeAtEnd: [localInfoFile(stateDir)],
  });
  let aws: LocalAws | undefined;
  const stopNow = async (): Promise<void> => {
    // First of all: who looks now must not take it for a stack to work with.
    removeLocalInfo(stateDir);
    await guardian.stopAll();
    await aws?.emulator.close();
    await guardian.close();
    unlock();
  };
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= stopNow());
  const givenUp = new Promise<never>((_, reject) => {
    const giveUp = (): void => reject(options.signal?.reason as Error);
    if (options.signal?.aborted === true) giveUp();
    options.signal?.addEventListener('abort', giveUp, { once: true });
  });
  givenUp.catch(() => undefined);
  const unlessGivenUp = async <T>(work: Promise<T>): Promise<T> => Promise.race([work, givenUp]);
  try {
    const last = readPorts(stateDir);
    const [postgres, local, temporal] = await unlessGivenUp(
      Promise.all([
        startPostgres({ guardian, stateDir, durable: options.durable, preferredPort: last.postgres }),
        startLocalAws({
          guardian,
          stateDir,
          persist: true,
          preferredPort: last.aws,
          omics: options.omics,
          onProgress: progress,
        }).then((started) => (aws = started)),
        startTemporal({
          guardian,
          stateDir,
          searchAttributes: SEARCH_ATTRIBUTES,
          headless: options.headless,
          preferredPort: last.temporal,
          preferredUiPort: last.temporalUi,
          onProgress: progress,
        }),
      ]),
    );
    const db = openDatabase(postgres.url, 1);
    await unlessGivenUp(migrate(db).finally(() => db.destroy()));

    const apiKey = last.apiKey ?? `polony_${randomBytes(24).toString('hex')}`;
    const encryptionKey = last.encryptionKey ?? randomBytes(32).toString('base64');
    const env: Record<string, string> = {
      DATABASE_URL: postgres.url,
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      AWS_ENDPOINT_URL: local.endpoint,
      AWS_REGION: local.region,
      AWS_ACCESS_KEY_ID: local.serviceAccessKeyId,
      AWS_SECRET_ACCESS_KEY: local.serviceSecretAccessKey,
      POLONY_API_KEY: apiKey,
      POLONY_ENCRYPTION_KEYS: `local=${encryptionKey}`,
      POLONY_TRUSTED_ACCOUNT_ID: local.serviceAccountId,
      POLONY_DISCOVER_SECONDS: '2',
      POLONY_UPLOAD_POLL_SECONDS: '1',
      POLONY_RUN_POLL_SECONDS: '1',
      POLONY_RETRY_RUN_SECONDS: '1',
      // The local HealthOmics has no quotas unless a test sets them.
      POLONY_START_RUNS_PER_SECOND: '1000',
      POLONY_GET_RUNS_PER_SECOND: '1000',
      POLONY_SWEEP_SECONDS: '10',
      // Receivers that are tried here are mostly on this machine.
      POLONY_WEBHOOK_ALLOW_PRIVATE: 'true',
      POLONY_LOG_LEVEL: 'info',
      ...options.env,
    };
    const spawn = (name: string, command: string): GuardedChild =>
      guardian.spawn(
        name,
        process.execPath,
        ['--disable-warning=NodeVersionSupportWarning', ...processArguments(command, options.build)],
        {
          env: { ...env, AWS_SESSION_TOKEN: undefined, AWS_PROFILE: undefined },
          // Each has a limit of its own for what is under way, which comes first.
          graceMs: 30_000,
        },
      );
    const startWorker = async (): Promise<GuardedChild> => {
      const child = spawn('worker', 'worker');
      // Only what this worker has written: the log holds those before it too.
      await untilReady(child, async () => child.logTail(1 << 20).includes('worker is running'), { timeoutMs: 90_000 });
      return child;
    };
    const startApi = (preferred = last.api): Promise<GuardedChild> =>
      withFreePort(preferred, async (port) => {
        env.POLONY_PORT = String(port);
        const child = spawn('api', 'api');
        // The key tells ours from another stack's that took the port in this moment.
        const answers = async (where: string): Promise<boolean> =>
          (await fetch(`http://127.0.0.1:${port}${where}`, { headers: { 'x-api-key': apiKey } })).ok;
        await untilReady(child, async () => (await answers('/readyz')) && (await answers('/v1/runs?pageSize=1')), {
          timeoutMs: 60_000,
        });
        return child;
      });
    let api: GuardedChild | undefined;
    let worker: GuardedChild | undefined;
    if (options.processes !== false) [api, worker] = await unlessGivenUp(Promise.all([startApi(), startWorker()]));
    // Tests that start no API of ours start their own there.
    else env.POLONY_PORT = String(await freePort(last.api));
    const apiPort = Number(env.POLONY_PORT);
    const apiUrl = `http://127.0.0.1:${apiPort}`;
    const pids: Record<string, number> = {
      polony: process.pid,
      guardian: guardian.pid,
      postgres: postgres.pid,
      ministack: local.pid,
    };
    if (temporal.pid !== undefined) pids.temporal = temporal.pid;
    if (api !== undefined) pids.api = api.pid;
    if (worker !== undefined) pids.worker = worker.pid;
    const info: LocalInfo = {
      apiUrl,
      apiKey,
      openapiUrl: `${apiUrl}/openapi.json`,
      temporalAddress: temporal.address,
      temporalUiUrl: temporal.uiUrl,
      namespace: temporal.namespace,
      awsEndpoint: local.endpoint,
      awsRegion: local.region,
      adminAccessKeyId: local.adminAccessKeyId,
      adminSecretAccessKey: local.adminSecretAccessKey,
      databaseUrl: postgres.url,
      omicsControlUrl: `${local.emulator.url}/_control`,
      pids,
    };
    writeLocalInfo(stateDir, info);
    writeFileAtomically(
      path.join(stateDir, 'ports.json'),
      JSON.stringify({
        apiKey,
        encryptionKey,
        api: apiPort,
        aws: portOf(local.endpoint),
        postgres: portOf(postgres.url),
        temporal: portOf(`http://${temporal.address}`),
        temporalUi: temporal.uiUrl === '' ? undefined : portOf(temporal.uiUrl),
      }),
    );
    const stack: Stack = { info, aws: local, temporal, postgres, guardian, env, api, worker, startWorker, crash, stop };
    async function crash(part: 'api' | 'worker' | 'temporal' | 'postgres'): Promise<void> {
      const sameAddress = (address: string, before: string): void => {
        if (address !== before) throw new Error(`${part} came back at ${address} instead of ${before}`);
      };
      if (part === 'worker' || part === 'api') {
        const child = stack[part];
        child?.kill();
        await child?.exited;
        stack[part] = part === 'worker' ? await startWorker() : await startApi(apiPort);
        if (part === 'api') sameAddress(`http://127.0.0.1:${env.POLONY_PORT}`, apiUrl);
      } else if (part === 'temporal') {
        await stack.temporal.kill();
        stack.temporal = await startTemporal({
          guardian,
          stateDir,
          searchAttributes: SEARCH_ATTRIBUTES,
          headless: options.headless,
          preferredPort: portOf(`http://${temporal.address}`),
          preferredUiPort: temporal.uiUrl === '' ? undefined : portOf(temporal.uiUrl),
        });
        sameAddress(stack.temporal.address, temporal.address);
      } else {
        await stack.postgres.kill();
        stack.postgres = await startPostgres({
          guardian,
          stateDir,
          durable: options.durable,
          preferredPort: portOf(postgres.url),
        });
        sameAddress(stack.postgres.url, postgres.url);
      }
    }
    return stack;
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** What the last stack on this folder used, so that addresses and the API key stay the same where they can. */
function readPorts(stateDir: string): {
  apiKey?: string;
  encryptionKey?: string;
  api?: number;
  aws?: number;
  postgres?: number;
  temporal?: number;
  temporalUi?: number;
} {
  const file = path.join(stateDir, 'ports.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ReturnType<typeof readPorts>) : {};
}
