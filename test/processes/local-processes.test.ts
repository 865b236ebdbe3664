import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import {
  ChildFailedError,
  createGuardian,
  type Guardian,
  isSameProcess,
  processStart,
  untilReady,
} from '../../local/guardian.js';
import { freePort, freePorts } from '../../local/ports.js';
import { startPostgres } from '../../local/postgres.js';
import { ensurePython, findInstalledPython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import {
  type LocalInfo,
  LockedError,
  lockStateFolder,
  readLocalInfo,
  tryLock,
  writeLocalInfo,
} from '../../local/stackFiles.js';
import { findTemporalCommand, startTemporal } from '../../local/temporal.js';
import type { SearchAttributeType } from '../../temporal/searchAttributes.js';
import { waitFor } from '../support.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'polony-processes-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
async function guardianFor(folder: string, onUnexpectedExit?: (error: ChildFailedError) => void): Promise<Guardian> {
  const guardian = await createGuardian(folder, { onUnexpectedExit });
  cleanups.push(() => guardian.close());
  return guardian;
}
const isGone = (pid: number): boolean => processStart(pid) === null;

/** Starts a parent in a process of its own, which prints one line of JSON when its children run. */
async function startParent(source: string): Promise<{ parent: ChildProcess; answer: Record<string, number> }> {
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanups.push(() => void parent.kill('SIGKILL'));
  for await (const line of createInterface({ input: parent.stdout }))
    return { parent, answer: JSON.parse(line) as Record<string, number> };
  throw new Error('The parent ended without printing its line');
}
const parentSource = (folder: string): string => `
  import { createGuardian } from './local/guardian.ts';
  const guardian = await createGuardian(${JSON.stringify(folder)});
  const stay = "setInterval(() => {}, 1000); console.log('up')";
  const onTerm = (code) => ['-e', \`process.on('SIGTERM', () => { \${code} }); \${stay}\`];
  const tidyArgs = onTerm("console.log('tidied'); process.exit(0);");
  const tidy = guardian.spawn('tidy', process.execPath, tidyArgs);
  const deaf = guardian.spawn('deaf', process.execPath, onTerm(''), { graceMs: 400 });
  const shell = guardian.spawn('shell', '/bin/sh', ['-c', 'sleep 600 & echo up; wait']);
  while (![tidy, deaf, shell].every((child) => child.logTail().includes('up')))
    await new Promise((resolve) => setTimeout(resolve, 20));
  console.log(JSON.stringify({ guardian: guardian.pid, tidy: tidy.pid, deaf: deaf.pid, shell: shell.pid }));
`;
/** Lists the processes whose environment contains this guardian's marker, grandchildren included. */
function descendants(folder: string): number[] {
  const ids = readdirSync(path.join(folder, 'guardian')).map((name) => name.replace(/\.json.*$/, ''));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
        return ids.some((id) => environment.includes(`POLONY_GUARD=${id}:`)) && !isGone(pid);
      } catch {
        return false;
      }
    });
}

describe('the guardian', () => {
  it.skipIf(process.platform !== 'linux')(
    'stops every child when the parent is killed, also grandchildren and those that ignore SIGTERM',
    async () => {
      const folder = temporaryFolder();
      const { parent, answer } = await startParent(parentSource(folder));
      const family = descendants(folder);
      expect(family).toHaveLength(4); // three children and the shell's sleep
      parent.kill('SIGKILL');
      await waitFor('the children to end', () => [...family, answer.guardian!].every(isGone));
      expect(readFileSync(path.join(folder, 'logs', 'tidy.log'), 'utf8')).toContain('tidied');
      expect(readdirSync(path.join(folder, 'guardian'))).toEqual([]);
    },
  );

  it.skipIf(process.platform !== 'linux')(
    'stops what an earlier run left behind because parent and watcher were both killed',
    async () => {
      const folder = temporaryFolder();
      const { parent, answer } = await startParent(parentSource(folder));
      const family = descendants(folder);
      process.kill(answer.guardian!, 'SIGSTOP'); // so that it can neither act nor be replaced before the kill
      parent.kill('SIGKILL');
      process.kill(answer.guardian!, 'SIGKILL');
      await waitFor('both processes to end', () => isGone(answer.guardian!) && isGone(parent.pid!));
      expect(family.some((pid) => !isGone(pid))).toBe(true);
      await guardianFor(folder);
      expect(family.every(isGone)).toBe(true);
    },
  );

  it('starts a new watcher when its watcher is killed', async () => {
    const guardian = await guardianFor(temporaryFolder());
    const child = guardian.spawn('child', process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    const first = guardian.pid;
    process.kill(first, 'SIGKILL');
    await waitFor('a new watcher to start', () => guardian.pid !== first && !isGone(guardian.pid));
    expect(child.isRunning()).toBe(true);
    await guardian.close();
    expect([child.pid, guardian.pid].every(isGone)).toBe(true);
  });

  it('reports an unexpected exit with the end of its log, and does not report an expected one', async () => {
    const reported: ChildFailedError[] = [];
    const guardian = await guardianFor(temporaryFolder(), (error) => reported.push(error));
    const bad = guardian.spawn('bad', process.execPath, ['-e', "console.error('no such thing'); process.exit(3)"]);
    expect(await bad.exited).toMatchObject({ code: 3, expected: false });
    expect(reported[0]!.message).toMatch(/bad ended with code 3[^]*no such thing/);
    await expect(untilReady(bad, async () => false)).rejects.toThrow(/no such thing/);
    const good = guardian.spawn('good', process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    expect(await good.stop()).toMatchObject({ signal: 'SIGTERM', expected: true });
    expect(reported).toHaveLength(1);
    expect(() => guardian.spawn('missing', path.join(temporaryFolder(), 'nothing'), [])).toThrow(ChildFailedError);
  });

  it('does not confuse two processes that had the same number', () => {
    expect(isSameProcess(process.pid, processStart(process.pid))).toBe(true);
    expect(isSameProcess(process.pid, '1')).toBe(false);
    expect(isSameProcess(process.pid, processStart(process.pid), 'another boot')).toBe(false);
  });
});

describe('local servers', () => {
  it('run twice side by side, and keep their data across a stop or a crash', async () => {
    const folders = [temporaryFolder(), temporaryFolder()];
    const attributes: Record<string, SearchAttributeType> = { PolonyTestName: 'Keyword', PolonyTestCount: 'Int' };
    const begin = async (folder: string) => {
      const guardian = await guardianFor(folder);
      const [temporal, postgres] = await Promise.all([
        startTemporal({ guardian, stateDir: folder, searchAttributes: attributes, namespace: 'lab' }),
        // Durable, as for a user: committed data must survive a kill.
        startPostgres({ guardian, stateDir: folder, durable: true }),
      ]);
      return { guardian, temporal, postgres };
    };
    const query = async (url: string, text: string): Promise<unknown[]> => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      try {
        return (await client.query<Record<string, unknown>>(text)).rows;
      } finally {
        await client.end();
      }
    };
    const withClient = async <T>(address: string, use: (client: Client) => Promise<T>): Promise<T> => {
      const connection = await Connection.connect({ address });
      try {
        return await use(new Client({ connection, namespace: 'lab' }));
      } finally {
        await connection.close();
      }
    };

    const copies = await Promise.all(folders.map(begin));
    expect(
      new Set(
        copies.flatMap(({ temporal, postgres }) => [temporal.address, temporal.uiUrl, new URL(postgres.url).port]),
      ).size,
    ).toBe(6);
    for (const { temporal } of copies) {
      expect((await fetch(temporal.uiUrl)).status).toBe(200);
      expect(temporal.version).toMatch(/^\d+\.\d+/);
    }
    await Promise.all(
      copies.map(async ({ temporal, postgres }, index) => {
        await withClient(temporal.address, (client) =>
          client.workflow.start('nobody', {
            taskQueue: 'none',
            workflowId: `kept-${index}`,
            searchAttributes: { PolonyTestName: [`copy-${index}`] },
          }),
        );
        await query(postgres.url, `create table kept (copy int); insert into kept values (${index})`);
      }),
    );
    // The first copy stops gracefully. The servers of the second are killed, as in a crash.
    const crashed = copies[1]!;
    for (const pid of [crashed.temporal.pid!, crashed.postgres.pid]) process.kill(pid, 'SIGKILL');
    await waitFor('the killed servers to end', () => isGone(crashed.temporal.pid!) && isGone(crashed.postgres.pid));
    await Promise.all(copies.map(({ guardian }) => guardian.close()));
    const again = await Promise.all(folders.map(begin));
    for (const [index, { temporal, postgres }] of again.entries()) {
      expect(await query(postgres.url, 'select copy from kept')).toEqual([{ copy: index }]);
      const name = await withClient(
        temporal.address,
        async (client) => (await client.workflow.getHandle(`kept-${index}`).describe()).searchAttributes.PolonyTestName,
      );
      expect(name).toEqual([`copy-${index}`]);
      const other = await postgres.createDatabase('other');
      expect(await query(other, 'select current_database() as name')).toEqual([{ name: 'other' }]);
    }
  });

  it('get different ports, and the preferred port while it is free', async () => {
    const ports = await freePorts(20);
    expect(new Set(ports).size).toBe(20);
    const free = await freePort();
    expect(await freePort(free)).toBe(free);
  });

  it('get the search attributes that a newer version of polony needs, with the state of an older one', async () => {
    const folder = temporaryFolder();
    const guardian = await guardianFor(folder);
    const options = { guardian, stateDir: folder, headless: true };
    const older: Record<string, SearchAttributeType> = { PolonyTestOld: 'Keyword' };
    const first = await startTemporal({ ...options, searchAttributes: older });
    await first.stop();
    const newer = await startTemporal({ ...options, searchAttributes: { ...older, PolonyTestNew: 'Datetime' } });
    const connection = await Connection.connect({ address: newer.address });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
    await connection.close();
    expect(Object.keys(customAttributes ?? {})).toEqual(expect.arrayContaining(['PolonyTestOld', 'PolonyTestNew']));
  });

  it('start again at another port if the Temporal of another stack takes the port and answers there', async () => {
    const folder = temporaryFolder();
    const guardian = await guardianFor(folder);
    const options = { guardian, stateDir: folder, headless: true };
    const real = await findTemporalCommand(options);
    const commands = path.join(folder, 'bin');
    mkdirSync(commands);
    // At the first start, another stack's server is faster. Ours ends later, with a reason and then many lines of stack.
    const script = `#!/bin/sh
      if [ "$3" != --help ] && mkdir '${folder}/started' 2>/dev/null; then
        env -u POLONY_GUARD '${real}' "$@" --db-filename '${folder}/other.db' >'${folder}/other.log' 2>&1 &
        echo $! >'${folder}/other.pid'
        until grep -q Server: '${folder}/other.log'; do sleep 0.1; done
        sleep 2
        echo 'listen tcp 127.0.0.1: bind: address already in use'
        seq 1000 | sed 's/^/goroutine /'
        exit 1
      fi
      exec '${real}' "$@"
    `;
    writeFileSync(path.join(commands, 'temporal'), script, { mode: 0o755 });
    cleanups.push(() => void process.kill(Number(readFileSync(`${folder}/other.pid`, 'utf8'))));
    const own = await startTemporal({ ...options, env: { ...process.env, PATH: `${commands}:${process.env.PATH}` } });
    const other = /Server: +\S+:(\d+)/.exec(readFileSync(`${folder}/other.log`, 'utf8'))![1];
    expect(own.address).not.toBe(`127.0.0.1:${other}`);
    expect(own.pid !== undefined && isGone(own.pid)).toBe(false);
  });

  it('include no Temporal if TEMPORAL_ADDRESS names one, which only gets the missing search attributes', async () => {
    const folder = temporaryFolder();
    const guardian = await guardianFor(folder);
    const own = await startTemporal({ guardian, stateDir: folder, headless: true });
    const env = { TEMPORAL_ADDRESS: own.address, TEMPORAL_NAMESPACE: 'default' };
    const options = {
      guardian,
      stateDir: temporaryFolder(),
      env,
      searchAttributes: { PolonyTestLate: 'Keyword' as SearchAttributeType },
    };
    // Two starts at once: the second one finds that the attribute exists.
    const [external] = await Promise.all([startTemporal(options), startTemporal(options)]);
    expect(external).toMatchObject({ address: own.address, source: 'external', pid: undefined });
    await external.stop();
    expect(processStart(own.pid!)).not.toBeNull();
    await expect(startTemporal({ ...options, searchAttributes: { PolonyTestLate: 'Int' } })).rejects.toThrow(
      /of other types/,
    );
    await expect(startTemporal({ ...options, env: { ...env, TEMPORAL_NAMESPACE: 'absent' } })).rejects.toThrow(
      /no namespace absent/,
    );
  });

  it('name the variable to unset if no Temporal answers at TEMPORAL_ADDRESS', { tags: 'long' }, async () => {
    const folder = temporaryFolder();
    const guardian = await guardianFor(folder);
    const env = { TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}` };
    await expect(startTemporal({ guardian, stateDir: folder, env })).rejects.toThrow(/unset TEMPORAL_ADDRESS/);
  });
});

describe('PostgreSQL', () => {
  it('starts below a folder that only its owner may enter, and does not change the mode of that folder', async () => {
    const outer = temporaryFolder();
    const stateDir = path.join(outer, 'state');
    const guardian = await guardianFor(stateDir);
    await startPostgres({ guardian, stateDir, durable: false });
    expect(statSync(outer).mode & 0o777).toBe(0o700);
  });

  it('starts after a crash even if the number in its lock file now belongs to another process', async () => {
    const stateDir = temporaryFolder();
    const first = await guardianFor(stateDir);
    await startPostgres({ guardian: first, stateDir, durable: false });
    await first.close();
    const data = path.join(stateDir, 'postgres');
    const { uid, gid } = statSync(data);
    const other = spawn('sleep', ['600'], { ...(process.getuid?.() === 0 && { uid, gid }) });
    cleanups.push(() => void other.kill());
    writeFileSync(path.join(data, 'postmaster.pid'), `${other.pid}\n${data}\n1700000000\n5432\n\n127.0.0.1\n`);
    await startPostgres({ guardian: await guardianFor(stateDir), stateDir, durable: false });
    expect(isGone(other.pid!)).toBe(false);
  });

  it('creates databases with any name', async () => {
    const stateDir = temporaryFolder();
    const postgres = await startPostgres({ guardian: await guardianFor(stateDir), stateDir, durable: false });
    const client = new pg.Client({ connectionString: await postgres.createDatabase('Test-1 "x"') });
    await client.connect();
    expect((await client.query<{ name: string }>('select current_database() as name')).rows).toEqual([
      { name: 'Test-1 "x"' },
    ]);
    await client.end();
  });
});

describe('the state folder', () => {
  it('belongs to one process, which the error names, and is free when that process is dead', async () => {
    const folder = temporaryFolder();
    const { answer, parent } = await startParent(`
      import { lockStateFolder } from './local/stackFiles.ts';
      lockStateFolder(${JSON.stringify(folder)});
      console.log(JSON.stringify({ pid: process.pid }));
      setInterval(() => {}, 1000);
    `);
    expect(() => lockStateFolder(folder)).toThrow(LockedError);
    expect(() => lockStateFolder(folder)).toThrow(new RegExp(`process ${answer.pid}\\b`));
    parent.kill('SIGKILL');
    await waitFor('the holder to end', () => isGone(answer.pid!));
    lockStateFolder(folder)();
  });

  it('gets exactly one new owner if its owner is dead and several processes want it', async () => {
    const lockFile = path.join(temporaryFolder(), 'contested.lock');
    writeFileSync(lockFile, JSON.stringify({ pid: process.pid, start: '1', boot: null, token: 'old' }));
    const contenders = await Promise.all(
      Array.from({ length: 4 }, () =>
        startParent(`
          import { tryLock } from './local/stackFiles.ts';
          const result = tryLock(${JSON.stringify(lockFile)});
          console.log(JSON.stringify({ won: 'release' in result ? 1 : 0 }));
          setInterval(() => {}, 1000);
        `),
      ),
    );
    expect(contenders.reduce((sum, { answer }) => sum + answer.won!, 0)).toBe(1);
    expect('holder' in tryLock(lockFile)).toBe(true);
  });

  it('contains a local.json that only its owner may read', () => {
    const folder = path.join(temporaryFolder(), 'state');
    expect(readLocalInfo(folder)).toBeUndefined();
    const info: LocalInfo = {
      apiUrl: 'a',
      apiKey: 'b',
      openapiUrl: 'c',
      temporalAddress: 'd',
      temporalUiUrl: 'e',
      namespace: 'f',
      awsEndpoint: 'g',
      awsRegion: 'h',
      adminAccessKeyId: 'i',
      adminSecretAccessKey: 'j',
      databaseUrl: 'k',
      pids: { api: 1 },
    };
    writeLocalInfo(folder, info);
    expect(readLocalInfo(folder)).toEqual(info);
    expect(statSync(path.join(folder, 'local.json')).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['local.json']);
  });
});

describe('Python', () => {
  // Every new environment already has pip, so this test installs nothing. It tests the order of the steps.
  const packages = ['pip>=20'];

  it('is installed once if two callers need it, and again if an installation was interrupted', async () => {
    const cacheDir = temporaryFolder();
    const lines: string[] = [];
    const ask = (): ReturnType<typeof ensurePython> =>
      ensurePython({ cacheDir, packages, onProgress: (line) => lines.push(line) });
    expect(await findInstalledPython({ cacheDir, packages })).toBeUndefined();
    const [one, two] = await Promise.all([ask(), ask()]);
    expect(one).toEqual(two);
    expect(lines.filter((line) => line.startsWith('Installing'))).toHaveLength(1);
    expect(lines.some((line) => line.startsWith('Waiting for process'))).toBe(true);
    expect(await ask()).toEqual(one);
    // An interrupted installation has no marker.
    const folder = path.join(cacheDir, 'python');
    rmSync(
      path.join(
        folder,
        readdirSync(folder).find((name) => name.endsWith('.json'))!,
      ),
    );
    expect(await findInstalledPython({ cacheDir, packages })).toBeUndefined();
    expect((await ask()).pythonBin).not.toBe(one.pythonBin);
    expect(readdirSync(folder)).toHaveLength(2);
  });

  it.each(['ministack', 'awsClients', 'awsCrt', 'schemathesis'] as const)(
    'installs for %s the pinned packages and no others',
    async (name) => {
      const environment = PYTHON[name];
      const { pythonBin } = await ensurePython(environment);
      const { stdout } = await promisify(execFile)(pythonBin, [
        '-m',
        'pip',
        'list',
        '--format=json',
        '--disable-pip-version-check',
      ]);
      const plain = (pin: string): string => pin.toLowerCase().replaceAll('_', '-');
      const pins = [...environment.packages, ...environment.constraints].map(plain);
      const there = (JSON.parse(stdout) as { name: string; version: string }[])
        .filter(({ name }) => name !== 'pip' && name !== 'setuptools')
        .map(({ name, version }) => plain(`${name}==${version}`));
      expect(there).toEqual(expect.arrayContaining(environment.packages.map(plain)));
      expect(there.filter((each) => !pins.includes(each))).toEqual([]);
    },
  );

  it('says what to do if no suitable Python is installed', async () => {
    const before = process.env.POLONY_PYTHON;
    process.env.POLONY_PYTHON = path.join(temporaryFolder(), 'python');
    cleanups.push(() => {
      if (before === undefined) delete process.env.POLONY_PYTHON;
      else process.env.POLONY_PYTHON = before;
    });
    await expect(ensurePython({ cacheDir: temporaryFolder(), packages })).rejects.toThrow(
      /Python 3\.10 or later.*POLONY_PYTHON/,
    );
    process.env.POLONY_PYTHON = temporaryFolder(); // exists, but is not executable
    await expect(ensurePython({ cacheDir: temporaryFolder(), packages })).rejects.toThrow(/ failed: /);
  });
});
