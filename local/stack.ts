import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { migrate, openDatabase } from '../store/database.js';
import { grantRuntimeRole } from '../store/runtimeRole.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';
import { type LocalAws, startLocalAws } from './aws.js';
import { buildConsole } from './console.js';
import { createGuardian, type GuardedChild, type Guardian } from './guardian.js';
import type { EmulatorOptions } from './omics/emulator.js';
import { PolonyProcesses, processEnvironment, type Servers } from './polonyProcesses.js';
import { freePort } from './ports.js';
import { type LocalPostgres, startPostgres } from './postgres.js';
import {
  type LastStack,
  type LocalInfo,
  localInfoFile,
  lockStateFolder,
  readLastStack,
  removeLocalInfo,
  stateFolder,
  type StackPorts,
  writeLastStack,
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
  /** Whether the API serves the console. Running from the sources, this builds it if it has changed. */
  console?: boolean;
  /** Whether to start the API and the worker. Tests may start their own. */
  processes?: boolean;
  /**
   * Folder of the build that runs the API and the worker. Default: the build or the sources that this file belongs to.
   */
  build?: string;
  /** Added to the environment of the API and the worker. */
  env?: Record<string, string>;
  omics?: Omit<EmulatorOptions, 'secret' | 'stateFile'>;
  /** Lets STS make sessions of less than 900 seconds, for tests of expiring sessions. */
  allowShortSessions?: boolean;
  onProgress?: (line: string) => void;
  /** Aborts the start: stops the parts that run and throws the reason. Once the stack has started, use its `stop`. */
  signal?: AbortSignal;
}

/** A part of the stack that can crash. */
type Part = 'api' | 'worker' | 'temporal' | 'postgres';

/** The whole stack, running. */
export interface Stack extends Servers {
  info: LocalInfo;
  guardian: Guardian;
  /** The environment of the API and the worker. */
  env: Record<string, string>;
  api: GuardedChild | undefined;
  worker: GuardedChild | undefined;
  startWorker: () => Promise<GuardedChild>;
  /** Kills a part as a crash does, then starts it again at the same address with the same data. */
  crash: (part: Part) => Promise<void>;
  /** You may call it several times. */
  stop: () => Promise<void>;
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
  const unlock = lockStateFolder(stateDir);
  // A stack that ended in a power failure leaves this file behind.
  removeLocalInfo(stateDir);
  const guardian = await createGuardian(stateDir, {
    onUnexpectedExit: (error) => options.onProgress?.(error.message),
    removeAtEnd: [localInfoFile(stateDir)],
  });
  const starter = new ServerStarter(guardian, stateDir, options);
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= stopStack(stateDir, guardian, starter).then(unlock));
  const unlessAborted = raceWithAbort(options.signal);
  try {
    const last = readLastStack(stateDir);
    const [servers, consoleSettings] = await unlessAborted(
      Promise.all([starter.startAll(last), consoleEnvironment(options)]),
    );
    const keys = {
      apiKey: last.apiKey ?? `polony_${randomBytes(24).toString('hex')}`,
      encryptionKey: last.encryptionKey ?? randomBytes(32).toString('base64'),
    };
    const env = {
      ...processEnvironment(servers, keys),
      ...consoleSettings,
      ...options.env,
    };
    const processes = new PolonyProcesses(guardian, env, options.build);
    const [api, worker] =
      options.processes === false
        ? []
        : await unlessAborted(Promise.all([processes.startApi(last.api), processes.startWorker()]));
    // Tests without this API start their own API on this port.
    if (api === undefined) env.POLONY_PORT = String(await freePort(last.api));

    const parts = { ...servers, guardian, env, api, worker };
    const info = describeStack(parts, keys.apiKey);
    writeLocalInfo(stateDir, info);
    writeLastStack(stateDir, { ...keys, ...portsOf(info) });
    const stack: Stack = {
      ...parts,
      info,
      startWorker: () => processes.startWorker(),
      crash: (part) => crashPart(part, stack, starter, processes),
      stop,
    };
    return stack;
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
}

async function consoleEnvironment({ console, onProgress }: StackOptions): Promise<Record<string, string>> {
  if (console !== true) return { POLONY_CONSOLE: 'false' };
  const folder = process.env.POLONY_CONSOLE_FOLDER || (await buildConsole(onProgress));
  return folder === undefined ? {} : { POLONY_CONSOLE_FOLDER: folder };
}

/** Starts the servers of a stack. */
class ServerStarter {
  /** The local AWS that it started. The guardian does not stop the emulator, which runs in this process. */
  aws: LocalAws | undefined;

  constructor(
    private readonly guardian: Guardian,
    private readonly stateDir: string,
    private readonly options: StackOptions,
  ) {}

  /** Starts all servers, at the ports that the last stack used if they are free, and migrates the database. */
  async startAll(last: LastStack): Promise<Servers> {
    const [postgres, aws, temporal] = await Promise.all([
      this.#startMigrated(last),
      this.#startAws(last),
      this.startTemporal(last),
    ]);
    return { postgres, aws, temporal };
  }

  async #startMigrated(last: LastStack): Promise<LocalPostgres> {
    const postgres = await this.startPostgres(last);
    await migrateDatabase(postgres);
    return postgres;
  }

  startPostgres(last: LastStack): Promise<LocalPostgres> {
    const { guardian, stateDir } = this;
    return startPostgres({ guardian, stateDir, durable: this.options.durable, preferredPort: last.postgres });
  }

  async #startAws(last: LastStack): Promise<LocalAws> {
    this.aws = await startLocalAws({
      guardian: this.guardian,
      stateDir: this.stateDir,
      persist: true,
      preferredPort: last.aws,
      omics: this.options.omics,
      allowShortSessions: this.options.allowShortSessions,
      onProgress: this.options.onProgress,
    });
    return this.aws;
  }

  startTemporal(last: LastStack): Promise<LocalTemporal> {
    return startTemporal({
      guardian: this.guardian,
      stateDir: this.stateDir,
      searchAttributes: SEARCH_ATTRIBUTES,
      headless: this.options.headless,
      preferredPort: last.temporal,
      preferredUiPort: last.temporalUi,
      onProgress: this.options.onProgress,
    });
  }
}

async function stopStack(stateDir: string, guardian: Guardian, starter: ServerStarter): Promise<void> {
  // First, so that nobody uses a stack that stops.
  removeLocalInfo(stateDir);
  await guardian.stopAll();
  await starter.aws?.emulator.close();
  await guardian.close();
}

/** @returns a function that waits for a piece of work, and throws the reason of the signal as soon as it is aborted. */
function raceWithAbort(signal: AbortSignal | undefined): <T>(work: Promise<T>) => Promise<T> {
  const aborted = new Promise<never>((_, reject) => {
    const rejectWithReason = (): void => reject(signal?.reason as Error);
    if (signal?.aborted === true) rejectWithReason();
    signal?.addEventListener('abort', rejectWithReason, { once: true });
  });
  // Nobody may be waiting when the signal is aborted.
  aborted.catch(() => undefined);
  return (work) => Promise.race([work, aborted]);
}

/** As `polony migrate` does it. */
async function migrateDatabase({ url, runtimeRole }: LocalPostgres): Promise<void> {
  const db = openDatabase(url, 1);
  try {
    await migrate(db);
    await grantRuntimeRole(db, runtimeRole);
  } finally {
    await db.destroy();
  }
}

type Parts = Servers & Pick<Stack, 'guardian' | 'env' | 'api' | 'worker'>;

function describeStack(parts: Parts, apiKey: string): LocalInfo {
  const { aws, temporal } = parts;
  const apiUrl = apiUrlOf(parts.env);
  return {
    apiUrl,
    apiKey,
    openapiUrl: `${apiUrl}/openapi.json`,
    temporalAddress: temporal.address,
    temporalUiUrl: temporal.uiUrl,
    namespace: temporal.namespace,
    awsEndpoint: aws.endpoint,
    awsRegion: aws.region,
    adminAccessKeyId: aws.adminAccessKeyId,
    adminSecretAccessKey: aws.adminSecretAccessKey,
    databaseUrl: parts.postgres.url,
    omicsControlUrl: aws.emulator.control.url,
    omicsControlSecret: aws.emulator.control.secret,
    trustedAccountId: aws.serviceAccountId,
    processEnv: parts.env,
    pids: processIdsOf(parts),
  };
}

function processIdsOf({ guardian, postgres, aws, temporal, api, worker }: Parts): Record<string, number> {
  return {
    polony: process.pid,
    guardian: guardian.pid,
    postgres: postgres.pid,
    ministack: aws.pid,
    ...(temporal.pid !== undefined && { temporal: temporal.pid }),
    ...(api !== undefined && { api: api.pid }),
    ...(worker !== undefined && { worker: worker.pid }),
  };
}

function portsOf(info: LocalInfo): StackPorts {
  const portOf = (url: string): number => Number(new URL(url).port);
  return {
    api: portOf(info.apiUrl),
    aws: portOf(info.awsEndpoint),
    postgres: portOf(info.databaseUrl),
    temporal: portOf(`http://${info.temporalAddress}`),
    temporalUi: info.temporalUiUrl === '' ? undefined : portOf(info.temporalUiUrl),
  };
}

function apiUrlOf(env: Record<string, string>): string {
  return `http://127.0.0.1:${env.POLONY_PORT}`;
}

/** Kills a part and starts it again. @throws Error when it comes back at another address. */
async function crashPart(part: Part, stack: Stack, starter: ServerStarter, processes: PolonyProcesses): Promise<void> {
  const before = addressOf(part, stack);
  const ports = portsOf(stack.info);
  if (part === 'postgres') {
    await stack.postgres.kill();
    stack.postgres = await starter.startPostgres(ports);
  } else if (part === 'temporal') {
    await stack.temporal.kill();
    stack.temporal = await starter.startTemporal(ports);
  } else {
    const child = stack[part];
    child?.kill();
    await child?.exited;
    stack[part] = part === 'worker' ? await processes.startWorker() : await processes.startApi(ports.api);
  }
  const after = addressOf(part, stack);
  if (after !== before) throw new Error(`${part} came back at ${after} instead of ${before}`);
}

/** Where clients reach a part. Nobody calls the worker. */
function addressOf(part: Part, stack: Stack): string | undefined {
  switch (part) {
    case 'postgres':
      return stack.postgres.url;
    case 'temporal':
      return stack.temporal.address;
    case 'api':
      return apiUrlOf(stack.env);
    case 'worker':
      return undefined;
  }
}
