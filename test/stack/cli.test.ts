import { execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type StorageClass,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AwsSessions } from '../../aws/sessions.js';
import { download } from '../../cli/client/files/download.js';
import { COMMANDS, NO_COMMANDS, operations } from '../../cli/client/operations.js';
import type { LocalAws } from '../../local/aws.js';
import { freePort } from '../../local/ports.js';
import { updateExecution } from '../../store/executions/update.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { updateRun } from '../../store/runs/update.js';
import { createExecution } from '../../store/executions/create.js';
import type { TestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';
import { ROOT_KEY as KEY, startTestApi, type TestApi } from '../testApi.js';
import { cliFile } from '../testStack.js';

const REGION = 'us-west-2';
const RUN = '20260115_AV1_R1';
const root = fileURLToPath(new URL('../../', import.meta.url));

let api: TestApi;
let folder: string;
let aws: LocalAws;
let postgres: TestPostgres;
let access: AwsSessions;
let admin: S3Client;
let url: string;
const ids: Record<string, string> = {};
let config: string;
let at = 0;

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}
/** Runs the command line in its own process. */
function polony(
  args: string[],
  { env = {}, input, signed = true }: { env?: Record<string, string>; input?: string; signed?: boolean } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [cliFile(), ...args],
      {
        cwd: root,
        env: {
          PATH: process.env.PATH,
          HOME: folder,
          POLONY_CONFIG: config,
          ...(signed && { POLONY_API_URL: url, POLONY_API_KEY: KEY }),
          ...env,
        },
        maxBuffer: 50_000_000,
      },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin!.end(input ?? '');
  });
}
const json = async <T>(args: string[]): Promise<T> => {
  const { code, stdout, stderr } = await polony([...args, '--json']);
  expect([args.join(' '), code, stderr]).toEqual([args.join(' '), 0, '']);
  return JSON.parse(stdout) as T;
};
const put = (Key: string, Body: string | Buffer, more: { StorageClass?: StorageClass } = {}): Promise<unknown> =>
  admin.send(new PutObjectCommand({ Bucket: 'lab', Key, Body, ...more }));
const big = Buffer.alloc(3_000_000, 'polony ');

beforeAll(async () => {
  api = await startTestApi();
  ({ folder, access, aws, postgres } = api);
  url = await api.listen();
  process.env.XDG_CACHE_HOME = path.join(folder, 'cache');
  const common = {
    region: REGION,
    endpoint: aws.endpoint,
    credentials: { accessKeyId: aws.adminAccessKeyId, secretAccessKey: aws.adminSecretAccessKey },
  };
  admin = new S3Client({ ...common, forcePathStyle: true });
  const iam = new IAMClient(common);
  await admin.send(
    new CreateBucketCommand({ Bucket: 'lab', CreateBucketConfiguration: { LocationConstraint: REGION } }),
  );
  await iam.send(
    new CreateRoleCommand({
      RoleName: 'lab',
      MaxSessionDuration: 43_200,
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${aws.serviceAccountId}:root` },
            Action: 'sts:AssumeRole',
            Condition: { StringEquals: { 'sts:ExternalId': 'lab-7f3a' } },
          },
        ],
      }),
    }),
  );
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: 'lab',
      PolicyName: 'all',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }],
      }),
    }),
  );
  iam.destroy();
  const { db } = postgres;
  config = path.join(folder, 'config.json');
  ids.provider = (
    await json<{ provider: { id: string } }>([
      'providers',
      'create',
      '--name',
      'lab',
      '--default-region',
      REGION,
      '--credential-type',
      'role',
      '--role-arn',
      `arn:aws:iam::${aws.adminAccessKeyId}:role/lab`,
      '--external-id',
      'lab-7f3a',
    ])
  ).provider.id;
  ids.storage = (
    await json<{ storageConnection: { id: string } }>([
      'storage',
      'create',
      '--name',
      'aviti runs',
      '--provider-id',
      'lab',
      '--region',
      REGION,
      '--bucket',
      'lab',
      '--prefix',
      'runs',
      '--use-for-run-upload',
      '--use-for-data-exploration',
      'true',
    ])
  ).storageConnection.id;
  ids.compute = (
    await json<{ computeConnection: { id: string } }>([
      'compute',
      'create',
      '--data',
      JSON.stringify({
        name: 'omics',
        providerId: ids.provider,
        executionRoleArn: `arn:aws:iam::${aws.adminAccessKeyId}:role/omics`,
        region: REGION,
      }),
    ])
  ).computeConnection.id;
  ids.flow = (
    await json<{ flow: { id: string } }>([
      'flows',
      'create',
      '--name',
      'b2f',
      '--compute-connection-id',
      'omics',
      '--shared-workflow-id',
      '1234567',
      '--workflow-owner-id',
      '588258415937',
    ])
  ).flow.id;
  ids.run = (await insertRuns(db, ids.storage, 'AV1', 'AV1', [{ folder: RUN, runName: 'R1' }])).get(RUN)!.id;
  for (let cycle = 1; cycle <= 120; cycle++)
    await put(`runs/AV1/${RUN}/BaseCalls/R1_C${String(cycle).padStart(3, '0')}.zip`, `cycle ${cycle}`);
  await put(`runs/AV1/${RUN}/big.bin`, big);
});
beforeEach(() => {
  config = path.join(folder, `config-${++at}.json`);
});
afterAll(async () => {
  admin?.destroy();
  await api?.stop();
});

describe('the command line', () => {
  it('has a command for every operation that people use', () => {
    const all = [...operations().keys()];
    expect(all.filter((id) => COMMANDS[id] === undefined && !NO_COMMANDS.includes(id))).toEqual([]);
    const commands = all.flatMap((id) =>
      COMMANDS[id] === undefined ? [] : [`${COMMANDS[id].group} ${COMMANDS[id].verb}`],
    );
    expect(new Set(commands).size).toBe(commands.length);
  });
  it('shows tables to people and the same data as JSON, and accepts ids and names', { tags: 'long' }, async () => {
    const table = await polony(['storage', 'list']);
    expect(table.stdout.split('\n')[0]).toMatch(/^ID +NAME +STATUS +URI$/);
    expect(table.stdout).toMatch(/aviti runs +UNSPECIFIED +s3:\/\/lab\/runs/);
    expect(table.stdout).not.toMatch(/\u001b/);
    expect((await polony(['storage', 'list', '--no-headers'])).stdout.split('\n')).toHaveLength(2);
    expect(await json(['storage', 'list'])).toMatchObject([{ id: ids.storage, name: 'aviti runs' }]);
    expect(await json(['storage', 'get', 'aviti runs'])).toMatchObject({
      storageConnection: { id: ids.storage },
      details: { bucket: 'lab' },
    });
    expect((await polony(['storage', 'get', ids.storage!])).stdout).toMatch(/details\.useForRunUpload +true/);
    expect(
      (await json<{ path: string }[]>(['runs', 'files', 'R1', '--max-items', '7'])).map(({ path: each }) => each),
    ).toHaveLength(7);
    expect(await json<unknown[]>(['runs', 'files', 'R1', '--page-size', '50'])).toHaveLength(121);
    expect(await json<unknown[]>(['runs', 'list', '--filter', 'name:"nothing"'])).toEqual([]);
    expect((await polony(['runs', 'list', '--filter', 'name:"nothing"'])).stdout).toBe('None.\n');
    expect(
      (
        await json<{ storageConnection: { name: string } }>([
          'storage',
          'update',
          'aviti runs',
          '--allow-policy-probe',
          'false',
        ])
      ).storageConnection.name,
    ).toBe('aviti runs');
  });
  it('exits with a documented code for each kind of result', { tags: 'long' }, async () => {
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    const codes = async (args: string[], options?: Parameters<typeof polony>[1]): Promise<number> =>
      (await polony(args, options)).code;
    expect(await codes(['runs', 'list'])).toBe(0);
    expect(await codes(['--help'])).toBe(0);
    for (const args of [
      ['nothing'],
      ['runs'],
      ['runs', 'get'],
      ['runs', 'list', '--nothing'],
      ['runs', 'list', '--filter', 'nothing:x'],
      ['providers', 'create', '--name', 'x', '--default-region', 'x'],
      ['flows', 'create', '--parameters', 'no json'],
      ['credentials', 'bucket', 'x'],
      ['runs', 'list', '--max-items', 'many'],
    ])
      expect([args, await codes(args)]).toEqual([args, 2]);
    expect(await codes(['runs', 'list'], { signed: false })).toBe(2);
    expect([
      await codes(['runs', 'get', 'nothing']),
      await codes(['runs', 'get', '01920000-0000-7000-8000-000000000000']),
    ]).toEqual([3, 3]);
    expect(await codes(['runs', 'list'], { env: { POLONY_API_KEY: 'x'.repeat(30) } })).toBe(4);
    expect(await codes(['runs', 'list'], { env: { POLONY_API_URL: nowhere } })).toBe(7);
    expect(await codes(['providers', 'delete', 'lab'])).toBe(8);
    const away = await polony(['runs', 'list'], { env: { POLONY_API_URL: nowhere } });
    expect([away.stdout, away.stderr]).toEqual([
      '',
      `${nowhere} cannot be reached (ECONNREFUSED); check the address and that the API runs\n`,
    ]);
    expect((await polony(['runs', 'get', 'nothing'])).stderr).toBe(
      'There is no run named nothing. See polony runs list\n',
    );
  });
  it(
    'shows the installation and the caller, and prints an address that signs a browser in once',
    { tags: 'long' },
    async () => {
      const { installation } = (await (
        await fetch(`${url}/v1/installation`, { headers: { 'x-api-key': KEY } })
      ).json()) as { installation: { version: string } };
      expect(await json(['installation'])).toEqual({ installation });
      expect((await polony(['installation'])).stdout).toContain(installation.version);
      const caller = await json<{ kind: string; scopes: string[] }>(['whoami']);
      expect(caller).toMatchObject({ kind: 'root', scopes: expect.arrayContaining(['runs:*', 'keys:*']) as string[] });
      const link = await polony(['sign-in-link']);
      expect([link.code, link.stderr, link.stdout.startsWith(`${url}/`)]).toEqual([0, '', true]);
      // The token is behind the #, which browsers do not send to servers.
      const signInToken = new URL(link.stdout.trim()).hash.slice(1).replace(/^[a-z]+=/i, '');
      const signIn = async (): Promise<number> =>
        (
          await fetch(`${url}/v1/session`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ signInToken }),
          })
        ).status;
      expect([await signIn(), await signIn()]).toEqual([201, 401]);
      expect((await json<{ url: string; timeExpires: string }>(['sign-in-link'])).url).toMatch(/^http.*#/);
    },
  );
  it('stores profiles readable by their owner only, and never shows keys', { tags: 'long' }, async () => {
    const login = await polony(['login', '--api-url', `${url}/`, '--profile', 'lab'], {
      signed: false,
      input: `${KEY}\n`,
    });
    expect([login.code, login.stderr]).toEqual([0, '']);
    expect(statSync(config).mode & 0o777).toBe(0o600);
    expect((await polony(['whoami'], { signed: false })).stdout).toContain(url);
    expect(
      (await polony(['login', '--api-url', url, '--profile', 'wrong'], { signed: false, input: 'x'.repeat(30) })).code,
    ).toBe(4);
    const list = await polony(['profile', 'list'], { signed: false });
    expect(list.stdout).toMatch(/lab +http:\/\/127\.0\.0\.1:\d+ +true/);
    expect(list.stdout + login.stdout).not.toContain(KEY);
    expect((await polony(['profile', 'use', 'none'], { signed: false })).code).toBe(3);
    expect((await polony(['runs', 'list', '--profile', 'none'])).code).toBe(2);
    await polony(['logout'], { signed: false });
    expect((await polony(['runs', 'list'], { signed: false })).code).toBe(2);
    writeFileSync(config, 'damaged');
    expect((await polony(['runs', 'list'], { signed: false })).code).toBe(2);
  });
  it('follows an execution to its end and exits with a code for the result', async () => {
    const storage = await postgres.db
      .selectFrom('storage_connections')
      .selectAll()
      .where('id', '=', ids.storage!)
      .executeTakeFirstOrThrow();
    const start = async (name: string): Promise<string> =>
      (
        await createExecution(postgres.db, {
          name,
          flow: { id: ids.flow!, name: 'b2f', computeConnectionId: ids.compute! },
          run: { id: ids.run!, name: 'R1', storageConnectionId: ids.storage!, uploadState: 'complete' },
          storage,
          trigger: 'api',
          startedBy: 'test',
        })
      ).id!;
    for (const [status, code] of [
      ['COMPLETED', 0],
      ['FAILED', 5],
      ['CANCELED', 6],
    ] as const) {
      const id = await start(`watched-${status}`);
      const child = spawn(process.execPath, [cliFile(), 'executions', 'get', id, '--watch'], {
        cwd: root,
        env: { PATH: process.env.PATH, HOME: folder, POLONY_API_URL: url, POLONY_API_KEY: KEY },
      });
      let shown = '';
      child.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString()));
      await waitFor('the command to print the first status', () => shown.includes('INITIALIZED'));
      await updateExecution(postgres.db, id, { status: 'RUNNING' });
      await waitFor('the command to print the new status', () => shown.includes('RUNNING'));
      await updateExecution(postgres.db, id, { status });
      expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(code);
      expect(shown.trim().split('\n').at(-1)).toContain(status);
    }
  });
  it('completes commands and flags in three shells', { tags: 'long' }, async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, stdout } = await polony(['complete', shell]);
      expect([shell, code, stdout.includes('polony')]).toEqual([shell, 0, true]);
    }
    expect((await polony(['complete', '--', 'exec'])).stdout).toContain('executions');
    expect((await polony(['complete', '--', 'runs', ''])).stdout).toMatch(/files[\s\S]*list|list[\s\S]*files/);
    expect((await polony(['complete', '--', 'runs', 'list', '--fil'])).stdout).toContain('--filter');
  });
  it('stops quietly when the reader of its output stops', async () => {
    const child = spawn('/bin/sh', ['-c', `"${process.execPath}" ${cliFile()} runs files R1 --json | head -c 10`], {
      cwd: root,
      env: { PATH: process.env.PATH, HOME: folder, POLONY_API_URL: url, POLONY_API_KEY: KEY },
    });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await new Promise((resolve) => child.on('exit', resolve));
    expect(errors).toBe('');
  });
  it('prints credentials in the format of credential_process', { tags: 'long' }, async () => {
    const { stdout } = await polony(['credentials', 'run', 'R1', '--seconds', '900']);
    expect(JSON.parse(stdout)).toEqual({
      Version: 1,
      AccessKeyId: expect.stringMatching(/^ASIA/) as string,
      SecretAccessKey: expect.any(String) as string,
      SessionToken: expect.any(String) as string,
      Expiration: expect.stringMatching(/^20.*Z$/) as string,
    });
    expect(await json(['credentials', 'storage', 'aviti runs', '--prefix', 'AV1'])).toMatchObject({
      s3: { bucket: 'lab', prefix: 'runs/AV1/' },
    });
    expect((await polony(['credentials', 'run', 'R1', '--seconds', '5'])).code).toBe(2);
  });
});

/** A proxy in front of S3 that cuts, rejects or falsifies the requests that the test chooses. */
async function throughProxy(
  meddle: (request: {
    url: string;
    range?: string;
    count: number;
  }) => 'pass' | 'cut' | 'expire' | 'falsify' | 'busy' | 'hold',
  work: (seen: { url: string; range?: string }[]) => Promise<void>,
): Promise<void> {
  const seen: { url: string; range?: string }[] = [];
  const proxy: Server = createServer((incoming, outgoing) => {
    const entry = {
      url: incoming.url!,
      ...(incoming.headers.range !== undefined && { range: incoming.headers.range }),
    };
    seen.push(entry);
    const what = meddle({
      ...entry,
      count: seen.filter((each) => each.url.split('?')[0] === entry.url.split('?')[0]).length,
    });
    if (what === 'expire')
      return void outgoing
        .writeHead(403, { 'content-type': 'application/xml' })
        .end('<Error><Code>ExpiredToken</Code></Error>');
    if (what === 'hold') return;
    if (what === 'busy') return void outgoing.writeHead(503).end('<Error><Code>SlowDown</Code></Error>');
    const target = new URL(incoming.url!, aws.endpoint);
    // The signature covers the address of the proxy, so S3 must see that address.
    const forwarded = httpRequest(
      {
        host: target.hostname,
        port: target.port,
        path: incoming.url,
        method: incoming.method,
        headers: incoming.headers,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response
          .on('data', (chunk: Buffer) => chunks.push(chunk))
          .on('end', () => {
            let body = Buffer.concat(chunks);
            if (what === 'falsify' && body.length > 10)
              body = Buffer.concat([body.subarray(0, -1), Buffer.from([body.at(-1)! ^ 1])]);
            outgoing.writeHead(response.statusCode!, response.headers);
            if (what !== 'cut') return void outgoing.end(body);
            outgoing.write(body.subarray(0, 1_000_000), () => setTimeout(() => outgoing.destroy(), 50));
          });
      },
    );
    incoming.pipe(forwarded);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const before = process.env.AWS_ENDPOINT_URL;
  process.env.AWS_ENDPOINT_URL_S3 = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  access.close();
  try {
    await work(seen);
  } finally {
    delete process.env.AWS_ENDPOINT_URL_S3;
    process.env.AWS_ENDPOINT_URL = before;
    access.close();
    proxy.closeAllConnections();
    proxy.close();
  }
}

describe('polony download', () => {
  const to = (): string => path.join(folder, `to-${++at}`);
  it('downloads a run, and skips unchanged files the second time', { tags: 'long' }, async () => {
    const folderOf = to();
    const first = await polony(['download', 'run', 'R1', '--to', folderOf, '--json']);
    expect([first.code, first.stderr]).toEqual([0, '']);
    expect(JSON.parse(first.stdout)).toEqual({
      files: 121,
      bytes: expect.any(Number) as number,
      skipped: 0,
      failed: [],
    });
    expect(readFileSync(path.join(folderOf, 'BaseCalls/R1_C007.zip'), 'utf8')).toBe('cycle 7');
    expect(readFileSync(path.join(folderOf, 'big.bin')).equals(big)).toBe(true);
    expect(readdirSync(folderOf).sort()).toEqual(['BaseCalls', 'big.bin']);
    writeFileSync(path.join(folderOf, 'BaseCalls/R1_C009.zip'), 'changed by somebody');
    expect(JSON.parse((await polony(['download', 'run', 'R1', '--to', folderOf, '--json'])).stdout)).toMatchObject({
      files: 1,
      skipped: 120,
    });
    expect(readFileSync(path.join(folderOf, 'BaseCalls/R1_C009.zip'), 'utf8')).toBe('cycle 9');
    expect((await polony(['download', 'run', 'R1', 'BaseCalls/R1_C00', '--to', to()])).stdout).toMatch(/^9 files/m);
    const nothing = await polony(['download', 'run', 'R1', 'BaseCals/', '--to', to()]);
    expect([nothing.code, nothing.stderr]).toEqual([3, 'No file of this run begins with BaseCals/\n']);
  });
  it('never writes outside its folder, and reports the files that it cannot write', { tags: 'long' }, async () => {
    for (const key of [
      '../escaped.txt',
      'x/../../escaped.txt',
      './dot.txt',
      'a//b.txt',
      'plain.txt',
      'linked/inside.txt',
      'both',
      'both/below.txt',
    ])
      await put(`runs/odd/${key}`, `odd ${key}`);
    await put('runs/odd/archived.bin', 'x', { StorageClass: 'DEEP_ARCHIVE' });
    const folderOf = to();
    mkdirSync(folderOf, { recursive: true });
    const outside = to();
    mkdirSync(outside);
    symlinkSync(outside, path.join(folderOf, 'linked'));
    const { code, stdout } = await polony(['download', 'storage', 'aviti runs', 'odd', '--to', folderOf, '--json']);
    const report = JSON.parse(stdout) as { files: number; failed: { path: string; reason: string }[] };
    expect(code).toBe(1);
    expect(report.failed.map(({ path: each }) => each).sort()).toEqual(
      expect.arrayContaining([
        'odd/../escaped.txt',
        'odd/./dot.txt',
        'odd/a//b.txt',
        'odd/archived.bin',
        'odd/x/../../escaped.txt',
      ]),
    );
    expect(report.failed.find(({ path: each }) => each === 'odd/archived.bin')!.reason).toBe(
      'it is archived (DEEP_ARCHIVE); restore it first',
    );
    expect([
      readdirSync(outside),
      existsSync(path.join(folder, 'escaped.txt')),
      existsSync(path.join(folderOf, 'escaped.txt')),
    ]).toEqual([[], false, false]);
    expect(readFileSync(path.join(folderOf, 'odd/plain.txt'), 'utf8')).toBe('odd plain.txt');
    // A link in place of a folder cannot redirect a write either.
    rmSync(path.join(folderOf, 'odd'), { recursive: true });
    symlinkSync(outside, path.join(folderOf, 'odd'));
    // A prefix of a storage connection is a folder.
    expect((await polony(['download', 'storage', 'aviti runs', 'odd/plain', '--to', folderOf])).code).toBe(3);
    expect((await polony(['download', 'storage', 'aviti runs', 'odd', '--to', folderOf])).code).toBe(1);
    expect(readdirSync(outside)).toEqual([]);
  });

  const bring = (folderOf: string, prefix = 'big.bin') =>
    download({ url, apiKey: KEY }, { kind: 'run', id: ids.run!, prefix }, { to: folderOf, concurrency: 4 });
  it('resumes after a broken connection, with new URLs for expired ones', async () => {
    await throughProxy(
      ({ url: asked, count }) =>
        !asked.includes('/big.bin')
          ? 'pass'
          : count === 1
            ? 'cut'
            : count === 2
              ? 'expire'
              : count === 3
                ? 'busy'
                : 'pass',
      async (seen) => {
        const folderOf = to();
        expect(await bring(folderOf)).toEqual({ files: 1, bytes: big.length, skipped: 0, failed: [] });
        expect(readFileSync(path.join(folderOf, 'big.bin')).equals(big)).toBe(true);
        const gets = seen.filter((each) => each.url.includes('/big.bin?'));
        expect(gets).toHaveLength(4);
        expect(gets.at(-1)!.range).toMatch(/^bytes=[1-9]\d*-$/);
        expect(readdirSync(folderOf)).toEqual(['big.bin']);
      },
    );
  });
  it('rejects content that differs from the object in S3', async () => {
    await throughProxy(
      ({ url: asked }) => (asked.includes('/big.bin?') ? 'falsify' : 'pass'),
      async () => {
        const folderOf = to();
        const { files, failed } = await bring(folderOf);
        expect([files, failed.map(({ reason }) => reason)]).toEqual([
          0,
          [expect.stringMatching(/differs from that of the object$/)],
        ]);
        expect(readdirSync(folderOf)).toEqual([]);
      },
    );
  });
  it('resumes after a kill', { tags: 'long' }, async () => {
    const folderOf = to();
    await throughProxy(
      ({ url: asked, count }) => (asked.includes('/big.bin') && count === 1 ? 'cut' : 'pass'),
      async (seen) => {
        const child = spawn(process.execPath, [cliFile(), 'download', 'run', 'R1', 'big.bin', '--to', folderOf], {
          cwd: root,
          env: { PATH: process.env.PATH, HOME: folder, POLONY_API_URL: url, POLONY_API_KEY: KEY },
        });
        await waitFor(
          'a part to arrive',
          () =>
            existsSync(folderOf) &&
            readdirSync(folderOf).some(
              (name) => name.endsWith('.part') && statSync(path.join(folderOf, name)).size > 0,
            ),
        );
        child.kill('SIGKILL');
        await new Promise((resolve) => child.on('exit', resolve));
        const before = seen.length;
        expect((await polony(['download', 'run', 'R1', 'big.bin', '--to', folderOf])).code).toBe(0);
        expect(seen.slice(before).some(({ range }) => range !== undefined)).toBe(true);
      },
    );
    expect(readFileSync(path.join(folderOf, 'big.bin')).equals(big)).toBe(true);
    expect(readdirSync(folderOf)).toEqual(['big.bin']);
  });
  it('reports errors of the file system', async () => {
    const folderOf = to();
    mkdirSync(path.join(folderOf, 'BaseCalls'), { recursive: true });
    mkdirSync(path.join(folderOf, 'big.bin'));
    const { failed } = await bring(folderOf);
    expect(failed[0]!.reason).toMatch(/already exists and is not a file/);
    chmodSync(folderOf, 0o755);
  });
});

describe('polony status', () => {
  it(
    'searches every storage connection for ignored folders, and says where it could not',
    { tags: 'long' },
    async () => {
      const made: string[] = [];
      const create = async (name: string, bucket: string, upload: boolean): Promise<void> => {
        const { storageConnection } = await json<{ storageConnection: { id: string } }>([
          ...['storage', 'create', '--name', name, '--provider-id', 'lab', '--region', REGION, '--bucket', bucket],
          ...['--prefix', name, '--use-for-run-upload', String(upload), '--use-for-data-exploration', 'true'],
        ]);
        made.push(storageConnection.id);
      };
      for (let nth = 1; nth <= 12; nth++) await create(`site-${nth}`, 'lab', true);
      await create('site-archive', 'lab', false);
      await create('site-gone', 'no-such-bucket-of-this-lab', true);
      await put('site-12/20260115_AV1_TOP/RunParameters.json', '{}');
      await put('site-archive/20260115_AV1_TOP/RunParameters.json', '{}');
      const { code, stdout, stderr } = await polony(['status']);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toContain('site-12 has folders that look like runs but are ignored');
      expect(stdout).toMatch(/not searched for ignored folders[\s\S]*site-gone +\S+/);
      const status = await json<Record<string, { storageConnection: string }[]>>(['status']);
      expect(status.ignoredFolders).toEqual([{ storageConnection: 'site-12' }]);
      expect(status.notSearchedForIgnoredFolders).toEqual([
        { storageConnection: 'site-gone', reason: expect.stringMatching(/./) as string },
      ]);
      for (const id of made) expect((await polony(['storage', 'delete', id])).code).toBe(0);
    },
  );
});

describe('polony upload', () => {
  const uploaded = {
    version: '1.0.0',
    instrument: 'AV7',
    instrumentId: 'i',
    runType: 'Sequencing',
    recipeExecutionId: 'r',
    runID: 'x',
    outcome: 'OutcomeCompleted',
  };
  /** A run folder as an instrument leaves it, with one file large enough for a multipart upload. */
  function runFolder(name: string, large = 40_000_000): string {
    const made = path.join(folder, `disk-${++at}`, `20260301_AV7_${name}`);
    mkdirSync(path.join(made, 'BaseCalls'), { recursive: true });
    writeFileSync(
      path.join(made, 'RunParameters.json'),
      JSON.stringify({ RunName: name, InstrumentName: 'AV7', Cycles: { R1: 3 } }),
    );
    for (const cycle of [1, 2, 3]) writeFileSync(path.join(made, `BaseCalls/R1_C00${cycle}.zip`), `cycle ${cycle}`);
    writeFileSync(path.join(made, 'large.bin'), Buffer.alloc(large, `${name} `));
    writeFileSync(path.join(made, 'empty.txt'), '');
    writeFileSync(path.join(made, 'RunUploaded.json'), JSON.stringify(uploaded));
    return made;
  }
  const upload = (made: string, ...more: string[]): Promise<Outcome> =>
    polony(['upload', made, '--storage', 'aviti runs', '--json', ...more], { env: awsEnv() });
  const awsEnv = (): Record<string, string> => ({
    AWS_ENDPOINT_URL: process.env.AWS_ENDPOINT_URL_S3 ?? aws.endpoint,
    XDG_CACHE_HOME: path.join(folder, 'cache'),
  });
  const keys = async (name: string): Promise<string[]> =>
    (
      (await admin.send(new ListObjectsV2Command({ Bucket: 'lab', Prefix: `runs/AV7/20260301_AV7_${name}/` })))
        .Contents ?? []
    ).map(({ Key }) => Key!.split(`_${name}/`)[1]!);
  const bytesOf = async (name: string, key: string): Promise<Buffer> =>
    Buffer.from(
      await (
        await admin.send(new GetObjectCommand({ Bucket: 'lab', Key: `runs/AV7/20260301_AV7_${name}/${key}` }))
      ).Body!.transformToByteArray(),
    );

  it('uploads the whole folder with RunUploaded.json last, and skips unchanged files', { tags: 'long' }, async () => {
    const made = runFolder('whole');
    const requests: string[] = [];
    await throughProxy(
      ({ url: asked }) => {
        requests.push(asked);
        return 'pass';
      },
      async () => {
        const { code, stdout, stderr } = await upload(made);
        expect([code, stderr.replace(/\(node[\s\S]*?created\)\n/, '')]).toEqual([0, '']);
        expect(JSON.parse(stdout)).toEqual({
          uri: 's3://lab/runs/AV7/20260301_AV7_whole/',
          files: 7,
          bytes: expect.any(Number) as number,
          skipped: 0,
          ended: true,
        });
      },
    );
    expect(await keys('whole')).toEqual([
      'BaseCalls/R1_C001.zip',
      'BaseCalls/R1_C002.zip',
      'BaseCalls/R1_C003.zip',
      'RunParameters.json',
      'RunUploaded.json',
      'empty.txt',
      'large.bin',
    ]);
    expect((await bytesOf('whole', 'large.bin')).equals(readFileSync(path.join(made, 'large.bin')))).toBe(true);
    expect(requests.filter((each) => each.includes('partNumber=')).length).toBe(3);
    expect(requests.at(-1)).toContain('RunUploaded.json');
    writeFileSync(path.join(made, 'BaseCalls/R1_C002.zip'), 'cycle X');
    expect(JSON.parse((await upload(made)).stdout)).toMatchObject({ files: 2, skipped: 5, ended: true });
    expect((await bytesOf('whole', 'BaseCalls/R1_C002.zip')).toString()).toBe('cycle X');
  });
  it('resumes after a kill without sending finished parts again', { tags: 'long' }, async () => {
    const made = runFolder('killed', 100_000_000);
    const parts = (seen: { url: string }[]): string[] =>
      seen.flatMap(({ url: asked }) => /[?&]partNumber=(\d+)/.exec(asked)?.[1] ?? []);
    let isKilled = false;
    await throughProxy(
      ({ url: asked }) => (!isKilled && asked.includes('partNumber=4') ? 'hold' : 'pass'),
      async (seen) => {
        const child = spawn(
          process.execPath,
          [cliFile(), 'upload', made, '--storage', 'aviti runs', '--concurrency', '1'],
          {
            cwd: root,
            env: { PATH: process.env.PATH, HOME: folder, POLONY_API_URL: url, POLONY_API_KEY: KEY, ...awsEnv() },
          },
        );
        await waitFor('the fourth part, which gets no answer', () => parts(seen).length >= 4);
        child.kill('SIGKILL');
        await new Promise((resolve) => child.on('exit', resolve));
        expect(await keys('killed')).not.toContain('RunUploaded.json');
        isKilled = true;
        const before = seen.length;
        const { code, stdout } = await upload(made);
        expect([code, (JSON.parse(stdout) as { ended: boolean }).ended]).toEqual([0, true]);
        // There are six parts. The last part before the kill may not have been recorded.
        expect(parts(seen.slice(before)).length).toBeLessThanOrEqual(4);
      },
    );
    expect((await bytesOf('killed', 'large.bin')).equals(readFileSync(path.join(made, 'large.bin')))).toBe(true);
    expect(readdirSync(path.join(folder, 'cache/polony/uploads'))).toEqual([]);
  });
  it('rejects an incomplete run folder before it uploads anything', { tags: 'long' }, async () => {
    const refused = async (change: (made: string) => void, name = `bad${++at}`): Promise<string> => {
      const made = runFolder(name, 10);
      change(made);
      const { code, stderr } = await upload(made);
      expect([code, await keys(name)]).toEqual([2, []]);
      return stderr;
    };
    expect(await refused((made) => rmSync(path.join(made, 'RunParameters.json')))).toContain('it is not a run folder');
    expect(await refused((made) => rmSync(path.join(made, 'RunUploaded.json')))).toContain('the run has not ended');
    expect(await refused((made) => writeFileSync(path.join(made, 'RunUploaded.json'), '\n'))).toContain(
      'the run has not ended',
    );
    expect(await refused((made) => writeFileSync(path.join(made, 'BaseCalls/R1_C002.zip'), ''))).toContain(
      '1 files that RunParameters.json names are missing or empty: BaseCalls/R1_C002.zip',
    );
    expect(
      await refused((made) =>
        writeFileSync(path.join(made, 'RunParameters.json'), JSON.stringify({ RunName: 'x', InstrumentName: 'AV8' })),
      ),
    ).toContain('names its folders');
    expect(await refused((made) => symlinkSync('/etc/passwd', path.join(made, 'a-link')))).toContain('is a link');
    expect((await upload(path.join(folder, 'nothing'))).code).toBe(2);
    const made = runFolder('partly', 10);
    rmSync(path.join(made, 'BaseCalls/R1_C002.zip'));
    expect(JSON.parse((await upload(made, '--partial')).stdout)).toMatchObject({ files: 5, ended: false });
    expect(await keys('partly')).not.toContain('RunUploaded.json');
  });
  it('says that a run is complete already, and does not overwrite it', { tags: 'long' }, async () => {
    const made = runFolder('done', 10);
    expect((await upload(made)).code).toBe(0);
    const id = (
      await insertRuns(postgres.db, ids.storage!, 'AV7', 'AV7', [{ folder: '20260301_AV7_done', runName: 'done' }])
    ).get('20260301_AV7_done')!.id;
    await updateRun(postgres.db, id, { uploadState: 'complete' });
    const again = await polony(['upload', made, '--storage', 'aviti runs'], { env: awsEnv() });
    expect([again.code, again.stderr]).toEqual([0, '']);
    expect(again.stdout).toMatch(
      /^The run done \(.*\) is already complete in s3:\/\/lab\/.*nothing was uploaded\. All 7 files/,
    );
    expect(JSON.parse((await upload(made)).stdout)).toMatchObject({
      files: 0,
      skipped: 7,
      ended: true,
      completeBefore: { id, name: 'done' },
    });
    const key = (
      await json<{ key: string }>(['keys', 'create', '--name', 'uploads', '--scopes', 'storage:upload:aviti runs/AV7/'])
    ).key;
    const blind = await polony(['upload', made, '--storage', ids.storage!, '--api-key', key], { env: awsEnv() });
    expect([blind.code, blind.stdout]).toEqual([0, expect.stringContaining('The files were not compared')]);
    writeFileSync(path.join(made, 'BaseCalls/R1_C002.zip'), 'another content');
    const { code, stderr } = await upload(made);
    expect([code, stderr]).toEqual([8, expect.stringMatching(/is complete .* 1 files .* BaseCalls\/R1_C002\.zip/)]);
    expect((await bytesOf('done', 'BaseCalls/R1_C002.zip')).toString()).toBe('cycle 2');
  });
  it('follows symbolic links if you say so, but not in a circle', { tags: 'long' }, async () => {
    const made = runFolder('linked', 10);
    const elsewhere = path.join(folder, `elsewhere-${++at}`);
    mkdirSync(elsewhere);
    writeFileSync(path.join(elsewhere, 'more.txt'), 'more');
    rmSync(path.join(made, 'BaseCalls/R1_C002.zip'));
    writeFileSync(path.join(elsewhere, 'cycle'), 'cycle two');
    symlinkSync(path.join(elsewhere, 'cycle'), path.join(made, 'BaseCalls/R1_C002.zip'));
    symlinkSync(elsewhere, path.join(made, 'Extra'));
    const refused = await upload(made);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('--follow-symlinks')]);
    symlinkSync(made, path.join(elsewhere, 'back'));
    const circle = await upload(made, '--follow-symlinks');
    expect([circle.code, circle.stderr]).toEqual([2, expect.stringContaining('a folder that contains it')]);
    rmSync(path.join(elsewhere, 'back'));
    symlinkSync('/nowhere/at-all', path.join(elsewhere, 'broken'));
    expect((await upload(made, '--follow-symlinks')).stderr).toContain('leads nowhere');
    rmSync(path.join(elsewhere, 'broken'));
    expect(JSON.parse((await upload(made, '--follow-symlinks')).stdout)).toMatchObject({ files: 9, ended: true });
    expect(await keys('linked')).toContain('Extra/more.txt');
    expect((await bytesOf('linked', 'BaseCalls/R1_C002.zip')).toString()).toBe('cycle two');
  });
  it('enters each folder once, however the links lead to it', { tags: 'long' }, async () => {
    const problemOf = async (made: string): Promise<string> => {
      const { code, stdout, stderr } = await upload(made, '--follow-symlinks');
      expect([code, stdout]).toEqual([2, '']);
      return stderr;
    };
    const circle = runFolder('circle', 10);
    mkdirSync(path.join(circle, 'a'));
    symlinkSync('..', path.join(circle, 'a/b'));
    symlinkSync('a', path.join(circle, 'c'));
    expect(await problemOf(circle)).toContain('a/b is a link to a folder that contains it');
    const above = runFolder('above', 10);
    symlinkSync('../..', path.join(above, 'up'));
    expect(await problemOf(above)).toContain('up is a link to a folder that contains it');
    // Each of these doubles the number of paths.
    const fan = runFolder('fan', 10);
    const level = (depth: number): string => path.join(folder, `fan-${at}`, String(depth));
    for (let depth = 0; depth < 40; depth++) mkdirSync(level(depth), { recursive: true });
    for (let depth = 1; depth < 40; depth++)
      for (const name of ['x', 'y']) symlinkSync(level(depth), path.join(level(depth - 1), name));
    symlinkSync(level(0), path.join(fan, 'Fan'));
    expect(await problemOf(fan)).toMatch(/Fan(\/x)+\/y is a link that leads a second time to the same folder: Fan\/x/);
    const twice = runFolder('twice', 10);
    symlinkSync('BaseCalls', path.join(twice, 'Again'));
    expect(await problemOf(twice)).toMatch(
      /Again is a link that leads a second time .*: Again and BaseCalls are both .* Remove the link/,
    );
    for (const name of ['circle', 'above', 'fan', 'twice']) expect(await keys(name)).toEqual([]);
  });
  it('reads nothing outside the folder when a link takes the place of a folder or file', { tags: 'long' }, async () => {
    const decoyOf = (made: string): string => {
      const decoy = path.join(folder, `decoy-${++at}`);
      mkdirSync(decoy);
      for (const cycle of [1, 2, 3]) {
        writeFileSync(path.join(decoy, `R1_C00${cycle}.zip`), `SECRET${cycle}.`);
        const { atime, mtime } = statSync(path.join(made, `BaseCalls/R1_C00${cycle}.zip`));
        utimesSync(path.join(decoy, `R1_C00${cycle}.zip`), atime, mtime);
      }
      return decoy;
    };
    const swaps: Record<string, (made: string, decoy: string) => void> = {
      folder: (made, decoy) => {
        renameSync(path.join(made, 'BaseCalls'), path.join(made, '../moved'));
        symlinkSync(decoy, path.join(made, 'BaseCalls'));
      },
      file: (made, decoy) => {
        rmSync(path.join(made, 'BaseCalls/R1_C002.zip'));
        symlinkSync(path.join(decoy, 'R1_C002.zip'), path.join(made, 'BaseCalls/R1_C002.zip'));
      },
      run: (made, decoy) => {
        renameSync(made, `${made}-moved`);
        mkdirSync(path.join(decoy, 'BaseCalls'));
        for (const cycle of [1, 2, 3])
          copyFileSync(path.join(decoy, `R1_C00${cycle}.zip`), path.join(decoy, `BaseCalls/R1_C00${cycle}.zip`));
        symlinkSync(decoy, made);
      },
    };
    for (const [name, swap] of Object.entries(swaps)) {
      // The first object leaves while the other folder was counted, but not yet read.
      for (const trigger of ['RunParameters.json', 'R1_C001.zip']) {
        const runName = `swap-${name}-${trigger.slice(0, 2)}`;
        const made = runFolder(runName, 10);
        const decoy = decoyOf(made);
        let isSwapped = false;
        await throughProxy(
          ({ url: asked }) => {
            if (!isSwapped && asked.includes(`${trigger}?x-id=PutObject`)) {
              isSwapped = true;
              swap(made, decoy);
            }
            return 'pass';
          },
          async () => {
            const { code, stderr } = await upload(made, '--concurrency', '1');
            expect([runName, isSwapped, code === 0]).toEqual([runName, true, false]);
            expect(stderr).toMatch(/is a link|was replaced by a symbolic link|disappeared during the upload/);
          },
        );
        for (const key of await keys(runName)) expect((await bytesOf(runName, key)).toString()).not.toContain('SECRET');
        expect(await keys(runName)).not.toContain('RunUploaded.json');
      }
    }
  });
});
