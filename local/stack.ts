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
  /** Whether commits reach the disk. False for tests. */
  durable?: boolean;
  /** Starts no Temporal Web UI. */
  headless?: boolean;
  /** Whether to start the API and the worker. Tests may start their own. */
  processes?: boolean;
  /**
   * Folder of the build that runs the API and the worker. Default: the build or the sources that this file belongs to.
   */
  build?: string;
  /** Added to the environment of the API and the worker. */
  env?: Record<string, string>;
  omics?: Omit<EmulatorOptions, 'secret' | 'stateFile'>;
  onProgress?: (line: string) => void;
  /** Aborts the start: stops the parts that run and throws the reason. Once the stack has started, use its `stop`. */
  signal?: AbortSignal;
}

/** The whole stack, running. */
export interface Stack {
  info: LocalInfo;
  aws: LocalAws;
  temporal: LocalTemporal;
  postgres: LocalPostgres;
  guardian: Guardian;
  /** The environment of the API and the worker. */
  env: Record<string, string>;
  api: GuardedChild | undefined;
  worker: GuardedChild | undefined;
  startWorker: () => Promise<GuardedChild>;
  /** Kills a part as a crash does, then starts it again at the same address with the same data. */
  crash: (part: 'api' | 'worker' | 'temporal' | 'postgres') => Promise<void>;
  /** You may call it several times. */
  stop: () => Promise<void>;
}

/** The arguments for Node.js that run a polony command from the sources or, in a build, from the build. */
function processArguments(command: string, build: string | undefined): string[] {
  if (build !== undefined) return [path.join(build, 'cli/main.js'), command];
  const self = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
  if (existsSync(self)) return ['--import', import.meta.resolve('tsx'), self, command];
  return [fileURLToPath(new URL('../cli/main.js', import.meta.url)), command];
}

/**
 * Starts Temporal, PostgreSQL, the local AWS with HealthOmics, the API and the worker on loopback, with all state in
 * one folder.
 * When this process ends, for whatever reason, the guardian stops them.
 *
 * @throws LockedError when another stack runs on the folder; otherwise the error of the part that did not start.
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const stateDir = path.resolve(options.stateDir ?? stateFolder());
  const progress = options.onProgress ?? ((): void => undefined);
  const unlock = lockStateFolder(stateDir);
  // A stack that ended in a power failure leaves this file behind.
  removeLocalInfo(stateDir);
  const guardian = await createGuardian(stateDir, {
    onUnexpectedExit: (error) => progress(error.message),
    removeAtEnd: [localInfoFile(stateDir)],
  });
  let aws: LocalAws | undefined;
  const stopNow = async (): Promise<void> => {
    // First, so that nobody uses a stack that stops.
    removeLocalInfo(stateDir);
    await guardian.stopAll();
    await aws?.emulator.close();
    await guardian.close();
    unlock();
  };
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= stopNow());
  const aborted = new Promise<never>((_, reject) => {
    const rejectWithReason = (): void => reject(options.signal?.reason as Error);
    if (options.signal?.aborted === true) rejectWithReason();
    options.signal?.addEventListener('abort', rejectWithReason, { once: true });
  });
  aborted.catch(() => undefined);
  const unlessAborted = async <T>(work: Promise<T>): Promise<T> => Promise.race([work, aborted]);
  try {
    const last = readPorts(stateDir);
    const [postgres, local, temporal] = await unlessAborted(
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
    await unlessAborted(migrate(db).finally(() => db.destroy()));

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
      // The local HealthOmics has no quotas until a test sets them.
      POLONY_START_RUNS_PER_SECOND: '1000',
      POLONY_GET_RUNS_PER_SECOND: '1000',
      POLONY_SWEEP_SECONDS: '10',
      // Webhook receivers for a local stack usually run on this machine.
      POLONY_WEBHOOK_ALLOW_PRIVATE: 'true',
      POLONY_LOG_LEVEL: 'info',
      ...options.env,
    };
    const spawn = (name: string, command: string): GuardedChild =>
      guardian.spawn(name, process.execPath, processArguments(command, options.build), {
        env: { ...env, AWS_SESSION_TOKEN: undefined, AWS_PROFILE: undefined },
        // Longer than the limits that the API and the worker have for their own stop.
        graceMs: 30_000,
      });
    const startWorker = async (): Promise<GuardedChild> => {
      const child = spawn('worker', 'worker');
      // logTail has only this worker's output; the file contains the output of earlier workers too.
      await untilReady(child, async () => child.logTail(1 << 20).includes('worker is running'));
      return child;
    };
    const startApi = (preferred = last.api): Promise<GuardedChild> =>
      withFreePort(preferred, async (port) => {
        env.POLONY_PORT = String(port);
        const child = spawn('api', 'api');
        // Another stack may have taken the port. It rejects our key.
        const answers = async (where: string): Promise<boolean> =>
          (await fetch(`http://127.0.0.1:${port}${where}`, { headers: { 'x-api-key': apiKey } })).ok;
        await untilReady(child, async () => (await answers('/readyz')) && (await answers('/v1/runs?pageSize=1')));
        return child;
      });
    let api: GuardedChild | undefined;
    let worker: GuardedChild | undefined;
    if (options.processes !== false) [api, worker] = await unlessAborted(Promise.all([startApi(), startWorker()]));
    // Tests without this API start their own API on this port.
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

/** Reads what the last stack on this folder used, so that addresses and the API key stay the same if possible. */
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
