/** @module-tag long */
import { execFile, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Blocked } from '../../domain/executions/execution.js';
import type { VerificationReport } from '../../domain/verification/report.js';
import { markSearchFailed } from '../../store/connections/storageSearch.js';
import { createExecution } from '../../store/executions/create.js';
import { updateExecution } from '../../store/executions/update.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { updateRun } from '../../store/runs/update.js';
import { saveVerification } from '../../store/verification/reports.js';
import { waitFor } from '../support.js';
import { ROOT_KEY as KEY, startTestApi, type TestApi } from '../testApi.js';
import { cliFile } from '../testStack.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const ACCOUNT = '111122223333';
const BLOCKED: Blocked = {
  kind: 'ACCESS_DENIED',
  action: 'omics:StartRun',
  resource: '*',
  message: 'Not allowed.',
  remedy: 'Grant omics:StartRun.',
  statement: { Effect: 'Allow' },
};

let api: TestApi;
let url: string;
let at = 0;
const ids: Record<string, string> = {};

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}
const environment = (): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: api.folder,
  POLONY_API_URL: url,
  POLONY_API_KEY: KEY,
});
/** Runs the command line in its own process. */
function polony(args: string[], { input = '' }: { input?: string } = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [cliFile(), ...args],
      { cwd: root, env: environment() },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin!.end(input);
  });
}
const json = async <T>(...args: string[]): Promise<T> => {
  const { code, stdout, stderr } = await polony([...args, '--json']);
  expect([args.join(' '), code, stderr]).toEqual([args.join(' '), 0, '']);
  return JSON.parse(stdout) as T;
};
const newRun = async (folder: string, runName: string): Promise<string> =>
  (await insertRuns(api.postgres.db, ids.storage!, 'AV1', 'AV1', [{ folder, runName }])).get(folder)!.id;
const newExecution = async (name: string, runId: string): Promise<string> => {
  const { db } = api.postgres;
  const storage = await db
    .selectFrom('storage_connections')
    .selectAll()
    .where('id', '=', ids.storage!)
    .executeTakeFirstOrThrow();
  const { id } = await createExecution(db, {
    name,
    flow: { id: ids.flow!, name: 'b2f', computeConnectionId: ids.compute! },
    run: { id: runId, name: 'R1', storageConnectionId: ids.storage!, uploadState: 'complete' },
    storage,
    trigger: 'api',
    startedBy: 'test',
  });
  return id!;
};

beforeAll(async () => {
  api = await startTestApi();
  url = await api.listen();
  const provider = await json<{ provider: { id: string } }>(
    ...['providers', 'create', '--name', 'lab', '--default-region', 'us-west-2', '--credential-type', 'role'],
    ...['--role-arn', `arn:aws:iam::${ACCOUNT}:role/lab`, '--external-id', 'lab-7f3a-lab-7f3a-lab-7f3a'],
  );
  ids.provider = provider.provider.id;
  const storage = await json<{ storageConnection: { id: string } }>(
    ...['storage', 'create', '--name', 'aviti runs/a', '--provider-id', 'lab', '--region', 'us-west-2'],
    ...['--bucket', 'lab', '--prefix', 'runs', '--use-for-run-upload', '--use-for-data-exploration', 'yes'],
  );
  ids.storage = storage.storageConnection.id;
  const compute = await json<{ computeConnection: { id: string } }>(
    ...['compute', 'create', '--name', 'omics', '--provider-id', 'lab', '--region', 'us-west-2'],
    ...['--execution-role-arn', `arn:aws:iam::${ACCOUNT}:role/omics`],
  );
  ids.compute = compute.computeConnection.id;
  const flow = await json<{ flow: { id: string } }>(
    ...['flows', 'create', '--name', 'b2f', '--compute-connection-id', 'omics', '--shared-workflow-id', '1234567'],
    ...['--workflow-owner-id', '588258415937', '--auto-start-storage', 'aviti runs/a'],
  );
  ids.flow = flow.flow.id;
  ids.run = await newRun('20260115_AV1_R1', 'R1');
});
afterAll(async () => {
  await api?.stop();
});

describe('a name', () => {
  it('may stand for an ID in the automatic start of a flow, whose other parts stay', { tags: 'long' }, async () => {
    const autoStart = async (): Promise<unknown> =>
      (await json<{ flow: { autoStart: unknown } }>('flows', 'get', 'b2f')).flow.autoStart;
    const storageConnectionIds = [ids.storage];
    expect(await autoStart()).toMatchObject({ storageConnectionIds });
    await json('flows', 'update', 'b2f', '--auto-start-instruments', 'AV1,AV2');
    expect(await autoStart()).toMatchObject({ storageConnectionIds, instruments: ['AV1', 'AV2'] });
    await json('flows', 'update', 'b2f', '--auto-start-run-names', 'NA*');
    expect(await autoStart()).toEqual({ storageConnectionIds, instruments: ['AV1', 'AV2'], runNames: ['NA*'] });
    await json('flows', 'update', 'b2f', '--auto-start', '{"storageConnectionIds":["aviti runs/a"]}');
    expect(await autoStart()).toMatchObject({ storageConnectionIds });
    await json('flows', 'update', 'b2f', '--no-auto-start');
    expect(await autoStart()).toMatchObject({ storageConnectionIds: [] });
    const more = ['flows', 'update', 'b2f', '--auto-start-storage'];
    expect((await polony([...more, 'nowhere'])).code).toBe(3);
    expect((await polony([...more, 'aviti runs/a', '--no-auto-start'])).code).toBe(2);
    expect((await polony(['flows', 'update', 'b2f', '--auto-start-instruments', 'AV1'])).code).toBe(2);
  });

  it('may stand for an ID in a scope, and a scope that matches nothing is rejected', { tags: 'long' }, async () => {
    const scopes = async (name: string, ...wanted: string[]): Promise<string[]> =>
      (
        await json<{ apiKey: { scopes: string[] } }>(
          'keys',
          'create',
          '--name',
          name,
          ...wanted.flatMap((each) => ['--scopes', each]),
        )
      ).apiKey.scopes;
    expect(
      await scopes(
        'narrow',
        'runs:read:R1',
        'storage:upload:aviti runs/a/AV1/',
        'storage:read:aviti runs/a',
        'flows:*:b2f',
      ),
    ).toEqual([
      `runs:read:${ids.run}`,
      `storage:upload:${ids.storage}/AV1/`,
      `storage:read:${ids.storage}`,
      `flows:*:${ids.flow}`,
    ]);
    expect(await scopes('by id', `storage:upload:${ids.storage}/AV1/`, 'instruments:read:AV9')).toEqual([
      `storage:upload:${ids.storage}/AV1/`,
      'instruments:read:AV9',
    ]);
    for (const scope of [
      'runs:read:R2',
      'storage:upload:aviti/AV1/',
      'runs:read:01920000-0000-7000-8000-000000000000',
      'runs:look',
    ]) {
      const { code, stderr } = await polony(['keys', 'create', '--name', 'none', '--scopes', scope]);
      expect([scope, code, stderr]).toEqual([scope, 2, expect.stringMatching(/nothing|action/)]);
    }
  });

  it('may stand for an ID in filters of the audit log, and for webhooks', { tags: 'long' }, async () => {
    const entries = await json<{ caller: { id: string }; resourceId: string }[]>(
      ...['audit', 'list', '--resource-id', 'b2f', '--max-items', '3'],
    );
    expect(new Set(entries.map(({ resourceId }) => resourceId))).toEqual(new Set([ids.flow]));
    expect(await json('audit', 'list', '--caller-id', 'nobody')).toEqual([]);
    const exported = await polony(['audit', 'export', '--resource-id', 'b2f']);
    const rows = exported.stdout.trimEnd().split('\r\n');
    expect([exported.code, exported.stderr, rows[0]]).toEqual([
      0,
      '',
      expect.stringMatching(/^time,timeEnded,action,/),
    ]);
    expect(rows.slice(1).every((row) => row.includes(`,flows,${ids.flow},`))).toBe(true);
    expect(rows.length).toBeGreaterThan(1);
    expect((await polony(['audit', 'export', '--since', 'yesterday'])).code).toBe(2);
    const { webhook } = await json<{ webhook: { id: string } }>('webhooks', 'create', '--url', 'https://8.8.8.8/hook');
    expect(await json('webhooks', 'get', 'https://8.8.8.8/hook')).toMatchObject({ webhook: { id: webhook.id } });
  });
});

describe('a command', () => {
  it('names the flags that it lacks, before it sends anything', async () => {
    const { code, stderr } = await polony(['storage', 'create', '--name', 'x', '--region', 'us-west-2']);
    expect([code, stderr]).toEqual([
      2,
      'The command needs --provider-id, --bucket, --use-for-run-upload, --use-for-data-exploration. ' +
        '--help explains the flags\n',
    ]);
    expect((await polony(['executions', 'start', '--flow-id', 'b2f'])).stderr).toMatch(
      /needs --run-id or --run-folder-uri/,
    );
    expect((await polony(['storage', 'preview', 'no-such-name'])).stderr).toBe(
      'The command needs --path. --help explains the flags\n',
    );
  });

  it('takes a manifest from a file', { tags: 'long' }, async () => {
    const runId = await newRun('20260116_AV1_M1', 'M1');
    await updateRun(api.postgres.db, runId, { uploadState: 'complete', outcome: 'completed' });
    const file = path.join(api.folder, 'RunManifest.csv');
    const content = '[SAMPLES]\nSampleName,Index1,Index2\nS1,ACGTACGT,TGCATGCA\n';
    writeFileSync(file, content);
    const start = ['executions', 'start', '--flow-id', 'b2f', '--run-id', 'M1', '--manifest-file'];
    const started = await json<{ execution: { id: string } }>(...start, file);
    const { manifest_text: sent } = await api.postgres.db
      .selectFrom('executions')
      .select('manifest_text')
      .where('id', '=', started.execution.id)
      .executeTakeFirstOrThrow();
    expect(sent).toBe(content);
    expect((await polony([...start, '-', '--json'], { input: content })).code).toBe(0);
    expect((await polony([...start, path.join(api.folder, 'none.csv')])).code).toBe(2);
    expect((await polony([...start, file, '--manifest', '{}'])).code).toBe(2);
    writeFileSync(file, Buffer.from([0xff, 0xfe, 0x41, 0x00]));
    expect((await polony([...start, file])).stderr).toMatch(/not UTF-8/);
  });

  it('replaces a key by a new one, and names active keys only', { tags: 'long' }, async () => {
    const { apiKey, key } = await json<{ apiKey: { id: string }; key: string }>(
      ...['keys', 'create', '--name', 'lims', '--scopes', 'runs:read'],
    );
    const rotated = await json<{ apiKey: { id: string; name: string }; key: string; replaced: { id: string } }>(
      ...['keys', 'rotate', 'lims', '--grace-hours', '0'],
    );
    expect([rotated.apiKey.name, rotated.replaced.id, rotated.key === key]).toEqual(['lims', apiKey.id, false]);
    expect(await json('keys', 'get', 'lims')).toMatchObject({ apiKey: { id: rotated.apiKey.id } });
  });

  it('says what happens to the old key, and prints the new one before the old one ends', { tags: 'long' }, async () => {
    const create = async (...more: string[]): Promise<{ apiKey: { id: string }; key: string }> =>
      json('keys', 'create', '--name', `own-${++at}`, '--scopes', 'keys:*', '--scopes', 'runs:read', ...more);
    const newKeyIn = (text: string): string => /^key +(polony_\S+)$/m.exec(text)![1]!;
    const works = async (key: string): Promise<boolean> =>
      (await polony(['runs', 'list', '--api-key', key])).code === 0;

    const { apiKey, key } = await create();
    const other = await polony(['keys', 'rotate', apiKey.id]);
    expect([other.code, other.stderr]).toEqual([0, '']);
    expect(other.stdout).toMatch(
      new RegExp(
        `The old key is now named "own-\\d+ \\(replaced, .*" \\(${apiKey.id}\\) and works until 20\\d\\d-.*Z\\.`,
      ),
    );
    expect(other.stdout).toContain(`polony keys revoke ${apiKey.id}`);
    expect(other.stdout).not.toMatch(/Warning|Log in/);
    expect([await works(key), await works(newKeyIn(other.stdout))]).toEqual([true, true]);

    // A key that replaces itself.
    const own = await create('--expires-in-days', '2');
    const rotated = await polony(['keys', 'rotate', own.apiKey.id, '--expires-in-days', '30', '--api-key', own.key]);
    expect([rotated.code, rotated.stderr]).toEqual([0, '']);
    expect(rotated.stdout).toMatch(/^Warning: The new key expires at 20.* not after 30 days.* gains no time\./m);
    expect(rotated.stdout).toMatch(/works until 20[\s\S]*This command used the old key\. Log in with the new one/);
    expect([await works(own.key), await works(newKeyIn(rotated.stdout))]).toEqual([true, true]);
    // One that ends at once.
    const second = newKeyIn(rotated.stdout);
    const id = /^apiKey\.id +(\S+)$/m.exec(rotated.stdout)![1]!;
    const ended = await polony(['keys', 'rotate', id, '--grace-hours', '0', '--api-key', second]);
    expect([ended.code, ended.stderr]).toEqual([0, '']);
    expect(ended.stdout).toMatch(
      /polony ends it now\.[\s\S]*Log in with the new one[\s\S]*The old key no longer works\.\n$/,
    );
    expect([await works(second), await works(newKeyIn(ended.stdout))]).toEqual([false, true]);
  });

  it('shows the new key also if the old one cannot be ended', { tags: 'long' }, async () => {
    const { apiKey, key } = await json<{ apiKey: { id: string }; key: string }>(
      ...['keys', 'create', '--name', `own-${++at}`, '--scopes', 'keys:*'],
    );
    // The connection breaks when the command ends the old key.
    const proxy = createServer((incoming, outgoing) => {
      if (incoming.url!.endsWith('/revoke')) return void incoming.socket.destroy();
      const { method, headers } = incoming;
      const forwarded = httpRequest(new URL(incoming.url!, url), { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(outgoing);
      });
      incoming.pipe(forwarded);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const throughProxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const rotate = ['keys', 'rotate', apiKey.id, '--grace-hours', '0', '--json'];
    const { code, stdout, stderr } = await polony([...rotate, '--api-url', throughProxy, '--api-key', key]);
    expect(code).toBe(7);
    expect(stderr).toMatch(/cannot be reached.* the old key still works until 20.*polony keys revoke/);
    const { key: newKey } = JSON.parse(stdout) as { key: string };
    for (const each of [key, newKey]) expect((await polony(['keys', 'list', '--api-key', each])).code).toBe(0);
    proxy.close();
  });
});

describe('what blocks', () => {
  it('is shown in lists, with the time, and alone', { tags: 'long' }, async () => {
    const { db } = api.postgres;
    const id = await newExecution('waits', ids.run!);
    await newExecution('works', ids.run!);
    await updateExecution(db, id, { blocked: BLOCKED });
    const lines = (await polony(['executions', 'list'])).stdout.split('\n');
    expect(lines[0]).toMatch(/ BLOCKED$/);
    const of = (name: string): string => lines.find((line) => line.includes(` ${name} `))!;
    expect(of('waits')).toMatch(/ 20\d\d-\d\d-\d\dT[\d:.]+Z omics:StartRun$/);
    expect(of('works')).not.toContain('omics:StartRun');
    const only = (await polony(['executions', 'list', '--blocked'])).stdout;
    expect(only).toMatch(/Not allowed\. +Grant omics:StartRun\./);
    expect(only).not.toContain('works');
    expect(await json('executions', 'list', '--blocked')).toMatchObject([{ execution: { id }, blocked: BLOCKED }]);
    const runId = await newRun('20260117_AV1_B1', 'B1');
    await updateRun(db, runId, { blocked: { ...BLOCKED, action: 's3:ListBucket' } });
    expect((await polony(['runs', 'list'])).stdout).toMatch(/B1 .*Z s3:ListBucket/);
    expect(await json('runs', 'list', '--blocked')).toMatchObject([{ run: { id: runId } }]);
    expect(await json('runs', 'list', '--blocked', '--filter', 'name:"R1"')).toEqual([]);
  });

  it('is on the screen of polony status, with failures and what is in progress', { tags: 'long' }, async () => {
    const { db } = api.postgres;
    const failed = await newExecution('failed overnight', ids.run!);
    await updateExecution(db, failed, {
      status: 'FAILED',
      statusDescription: 'Out of memory',
      timeCompleted: new Date(),
    });
    const stalled = await newRun('20260118_AV1_S1', 'S1');
    const timeGrown = '2026-01-18T03:04:05.000Z';
    await updateRun(db, stalled, {
      progress: { objects: 23, bytes: 46, cycles: 23, expectedCycles: 40, timeGrown, stalled: true },
    });
    await markSearchFailed(db, ids.storage!, 'Allow s3:ListBucket');
    const { code, stdout, stderr } = await polony(['status']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/Uploads that have stalled\n.*LAST DATA.*\n +S1 +AV1 +2026-01-18T03:04:05.000Z/);
    expect(stdout).toMatch(/FAILED +storage aviti runs\/a: Allow s3:ListBucket \(polony storage verification '/);
    expect(stdout).toMatch(/^API +http:\/\/127\.0\.0\.1:\d+, ready \(database ok, Temporal ok\)$/m);
    expect(stdout).toMatch(/^Executions in progress +\d+ INITIALIZED/m);
    expect(stdout).toMatch(/Needs attention:[\s\S]*Blocked executions[\s\S]*waits[\s\S]*Grant omics:StartRun/);
    expect(stdout).toMatch(/Failed in the last 24 hours[\s\S]*failed overnight +Out of memory/);
    expect(await json('status')).toMatchObject({ ready: { ok: true } });
    const key = (await json<{ key: string }>('keys', 'create', '--name', 'viewer', '--scopes', 'runs:read')).key;
    const narrow = await polony(['status', '--api-key', key]);
    expect([narrow.code, narrow.stdout]).toEqual([0, expect.stringMatching(/Flows +not shown: .*flows:read/)]);
    const wrong = await polony(['status', '--api-key', 'wrong-key']);
    expect([wrong.code, wrong.stdout]).toEqual([4, '']);
    expect((await polony(['status', '--api-url', 'http://127.0.0.1:1'])).code).toBe(7);
  });
});

describe('a run', () => {
  it('is followed to its end, even if it appears later', async () => {
    const child = spawn(process.execPath, [cliFile(), 'runs', 'get', 'LATE', '--watch'], {
      cwd: root,
      env: environment(),
    });
    let [shown, said] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const exit = new Promise((resolve) => child.on('exit', resolve));
    await waitFor('the command to wait', () => said.includes('Waiting for it'));
    const id = await newRun('20260118_AV1_LATE', 'LATE');
    await waitFor('the first line', () => shown.split('\n').length > 1);
    await updateRun(api.postgres.db, id, { description: 'Half of it is here' });
    await waitFor('the change', () => shown.includes('Half of it is here'));
    await updateRun(api.postgres.db, id, { uploadState: 'refused', description: 'No run', outcome: 'failed' });
    expect(await exit).toBe(5);
    expect(shown).toContain('No run');
  });
});

describe('a verification', () => {
  it('is a table with what is denied first, and what to do', async () => {
    const permission = {
      requirement: 'required',
      purpose: 'x',
      unlocks: 'x',
      capabilities: ['runUpload'],
      resource: 'arn:aws:s3:::lab',
      detail: 'x',
      error: null,
      remedy: null,
      statement: null,
    };
    const report = {
      status: 'FAILED',
      description: '1 permission is missing',
      permissions: [
        { ...permission, action: 's3:GetObject', result: 'granted' },
        {
          ...permission,
          action: 's3:ListBucket',
          result: 'denied',
          error: { code: 'AccessDenied', message: 'no' },
          remedy: 'Add the statement to the role',
          statement: { Effect: 'Allow', Action: 's3:ListBucket' },
        },
      ],
      capabilities: [{ capability: 'runUpload', state: 'notReady', missing: ['s3:ListBucket'], unknown: [] }],
      findings: [{ severity: 'warning', code: 'X', message: 'odd', remedy: 'mend it' }],
      identity: null,
      sessionSeconds: 3600,
    } as unknown as VerificationReport;
    const save = (saved: VerificationReport): Promise<unknown> =>
      saveVerification(api.postgres.db, {
        kind: 'storageConnection',
        id: ids.storage!,
        report: saved,
        started: new Date(),
        provider: { id: ids.provider!, accountId: ACCOUNT, sessionSeconds: 3600 },
      });
    await save(report);
    const { stdout } = await polony(['storage', 'verification', 'aviti runs/a']);
    expect(stdout).toMatch(/^FAILED at 20.*: 1 permission is missing\n/);
    expect(stdout).toMatch(
      /RESULT +ACTION +NEED +RESOURCE +ERROR\ndenied +s3:ListBucket .*AccessDenied\ngranted +s3:Get/,
    );
    expect(stdout).toMatch(/runUpload +notReady +s3:ListBucket/);
    expect(stdout).toMatch(/warning +X +odd +mend it/);
    expect(stdout).toContain('"Action": "s3:ListBucket"');
    const waiting = polony(['storage', 'verify', 'aviti runs/a', '--watch']);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const again = setInterval(() => void save({ ...report, status: 'CONNECTED', description: 'All is well' }), 500);
    const { code, stdout: table } = await waiting;
    clearInterval(again);
    expect([code, table.split(' ')[0], table.includes('All is well')]).toEqual([0, 'CONNECTED', true]);
  });
});
