import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitFor } from '../support.js';
import { cliFile } from '../testStack.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const ID = '01920000-0000-7000-8000-000000000000';
const MODIFIED = '2026-01-01T00:00:00Z';
let folder: string;
const cleanups: (() => void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-transfers-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => void | Promise<void>;
async function listen(handler: Handler): Promise<string> {
  const server = createServer(
    (request, response) => void handler(request, response, new URL(request.url!, 'http://x')),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}
function start(
  args: string[],
  env: Record<string, string>,
): { child: ReturnType<typeof spawn>; ended: Promise<Outcome> } {
  const child = spawn(process.execPath, [cliFile(), ...args], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: folder, POLONY_API_KEY: 'key-0123456789', ...env },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return { child, ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr }))) };
}
const polony = (args: string[], env: Record<string, string>): Promise<Outcome> => start(args, env).ended;
const md5 = (content: Buffer): string => createHash('md5').update(content).digest('hex');

describe('polony download', () => {
  interface Stored {
    content: Buffer;
    headers?: Record<string, string>;
  }
  /** Starts a server that is both the API and the bucket. */
  async function startBucket(
    objects: Record<string, Stored>,
    intercept: (key: string, request: IncomingMessage, response: ServerResponse, count: number) => boolean = () =>
      false,
  ): Promise<{ url: string; requests: { key: string; range: string | undefined }[] }> {
    const requests: { key: string; range: string | undefined }[] = [];
    const url = await listen((request, response, address) => {
      if (address.pathname.startsWith('/v1/')) {
        const files = Object.entries(objects).map(([key, { content }]) => ({
          path: key,
          name: path.posix.basename(key),
          size: content.length,
          lastModified: MODIFIED,
          uri: `s3://lab/${key}`,
          storageClass: 'STANDARD',
          downloadUrl: `${url}/o/${encodeURIComponent(key)}`,
        }));
        return void response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ files, subdirectories: [], nextPageToken: '', isTruncated: false }));
      }
      const key = decodeURIComponent(address.pathname.slice(3));
      requests.push({ key, range: request.headers.range });
      if (intercept(key, request, response, requests.filter((each) => each.key === key).length)) return;
      const { content, headers } = objects[key]!;
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      response
        .writeHead(from > 0 ? 206 : 200, {
          etag: `"${md5(content)}"`,
          'content-length': content.length - from,
          ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
          ...headers,
        })
        .end(content.subarray(from));
    });
    return { url, requests };
  }
  const to = (): string => path.join(folder, 'to');
  const download = (url: string, into = to()): Promise<Outcome> =>
    polony(['download', 'run', ID, '--to', into, '--json'], { POLONY_API_URL: url });
  const big = Buffer.alloc(2_000_000, 'polony ');

  it('writes files that only their owner can read', async () => {
    const { url } = await startBucket({ 'a.txt': { content: Buffer.from('reads') } });
    expect((await download(url)).code).toBe(0);
    expect(statSync(path.join(to(), 'a.txt')).mode & 0o777).toBe(0o600);
  });
  it('keeps a gzip-encoded object compressed', async () => {
    const packed = gzipSync(Buffer.alloc(100_000, 'reads '));
    const { url } = await startBucket({
      'RunStats.json': { content: packed, headers: { 'content-encoding': 'gzip' } },
    });
    const { code, stdout } = await download(url);
    expect([code, stdout]).toEqual([0, expect.stringContaining('"files": 1')]);
    expect(readFileSync(path.join(to(), 'RunStats.json')).equals(packed)).toBe(true);
  });
  it('allows one process per folder, and the next one resumes after a kill', async () => {
    let cut: ServerResponse | undefined;
    let hasEnded = false;
    const { url, requests } = await startBucket({ 'big.bin': { content: big } }, (_key, _request, response, count) => {
      if (count > 1) return false;
      response
        .writeHead(200, { etag: `"${md5(big)}"`, 'content-length': big.length })
        .write(big.subarray(0, 1_000_000));
      cut = response.on('close', () => (hasEnded = true));
      return true;
    });
    const first = start(['download', 'run', ID, '--to', to()], { POLONY_API_URL: url });
    await waitFor('the first process to download', () => cut !== undefined);
    const second = await download(url);
    expect([second.code, second.stderr]).toEqual([
      8,
      expect.stringMatching(
        /^Process \d+ already downloads into .*; wait until it ends, or end it, then run the command again\n$/,
      ),
    ]);
    const bytesOnDisk = (): number => {
      const part = readdirSync(to()).find((name) => name.endsWith('.part'));
      return part === undefined ? 0 : statSync(path.join(to(), part)).size;
    };
    await waitFor('all that was sent to be on the disk', () => hasEnded || bytesOnDisk() === 1_000_000);
    // What has arrived is on the disk while the silent connection still waits for more.
    expect([hasEnded, bytesOnDisk()]).toEqual([false, 1_000_000]);
    first.child.kill('SIGKILL');
    await first.ended;
    expect((await download(url)).code).toBe(0);
    expect(requests.at(-1)!.range).toMatch(/^bytes=[1-9]/);
    expect([readFileSync(path.join(to(), 'big.bin')).equals(big), readdirSync(to())]).toEqual([true, ['big.bin']]);
  });
  it('starts again if the object is replaced during the download', async () => {
    // A multipart object has no MD5 and no checksum here. It is replaced after the first half of the download.
    const [one, other] = [Buffer.alloc(2_000_000, 'one '), Buffer.alloc(2_000_000, 'other ')];
    const objects = { 'big.bin': { content: one, headers: { etag: '"11111111111111111111111111111111-2"' } } };
    const { url } = await startBucket(objects, (_key, _request, response, count) => {
      if (count > 1) return false;
      response.writeHead(200, { etag: '"11111111111111111111111111111111-2"', 'content-length': one.length });
      objects['big.bin'] = { content: other, headers: { etag: '"22222222222222222222222222222222-2"' } };
      return (response.write(one.subarray(0, 1_000_000), () => setTimeout(() => response.destroy(), 50)), true);
    });
    expect((await download(url)).code).toBe(0);
    expect(readFileSync(path.join(to(), 'big.bin')).equals(other)).toBe(true);
  });
  it('does not follow symbolic links, and does not confuse an object with its own files', async () => {
    const victim = path.join(folder, 'victim');
    writeFileSync(victim, 'mine');
    const version = createHash('sha256')
      .update(`s3://lab/big.bin\n${big.length}\n${MODIFIED}`)
      .digest('hex')
      .slice(0, 12);
    mkdirSync(to());
    symlinkSync(victim, path.join(to(), `.big.bin.${version}.part`));
    symlinkSync(victim, path.join(to(), `.big.bin.${version}.part.json`));
    const lookalike = '.big.bin.0123456789ab.part';
    const { url } = await startBucket({
      'big.bin': { content: big },
      [lookalike]: { content: Buffer.from('x') },
      [`${lookalike}.json`]: { content: Buffer.from('{}') },
      'b\u001b[2J.txt': { content: Buffer.from('odd') },
      [`../${'x'.repeat(5)}\u001b[31m`]: { content: Buffer.from('x') },
    });
    const { code, stderr } = await polony(['download', 'run', ID, '--to', to()], { POLONY_API_URL: url });
    expect([code, readFileSync(victim, 'utf8'), readFileSync(path.join(to(), 'big.bin')).equals(big)]).toEqual([
      1,
      'mine',
      true,
    ]);
    expect([stderr.trim().split('\n').length, stderr.includes('\u001b')]).toEqual([3, false]);
    expect(readdirSync(to()).sort()).toEqual(['b\u001b[2J.txt', 'big.bin']);
  });
  it('verifies each kind of checksum that S3 can have of the whole object', async () => {
    const content = Buffer.from('123456789');
    const sha = (algorithm: string): string => createHash(algorithm).update(content).digest('base64');
    // The check values for these digits from the catalogue of CRC algorithms.
    const crc = { crc32: 'cbf43926', crc32c: 'e3069283', crc64nvme: 'ae8b14860a799888' };
    const right: Record<string, string> = {
      'x-amz-checksum-sha256': sha('sha256'),
      'x-amz-checksum-sha1': sha('sha1'),
      ...Object.fromEntries(
        Object.entries(crc).map(([name, value]) => [
          `x-amz-checksum-${name}`,
          Buffer.from(value, 'hex').toString('base64'),
        ]),
      ),
    };
    const parts = { etag: '"11111111111111111111111111111111-2"' };
    const { url } = await startBucket({
      right: { content, headers: { ...parts, ...right } },
      'of parts': { content, headers: { ...parts, 'x-amz-checksum-sha256': 'AAAA-2' } },
      'with KMS': {
        content,
        headers: { etag: '"11111111111111111111111111111111"', 'x-amz-server-side-encryption': 'aws:kms' },
      },
      'wrong MD5': { content, headers: { etag: '"11111111111111111111111111111111"' } },
      ...Object.fromEntries(
        Object.keys(right).map((name) => [
          `wrong ${name}`,
          { content, headers: { ...parts, [name]: Buffer.from(right[name]!, 'base64').reverse().toString('base64') } },
        ]),
      ),
    });
    const { files, failed } = JSON.parse((await download(url)).stdout) as {
      files: number;
      failed: { path: string; reason: string }[];
    };
    expect([files, failed.map(({ path: each, reason }) => [each, reason]).sort()]).toEqual([
      3,
      [
        ['wrong MD5', 'its MD5 differs from that of the object'],
        ['wrong x-amz-checksum-crc32', 'its CRC32 differs from that of the object'],
        ['wrong x-amz-checksum-crc32c', 'its CRC32C differs from that of the object'],
        ['wrong x-amz-checksum-crc64nvme', 'its CRC64NVME differs from that of the object'],
        ['wrong x-amz-checksum-sha1', 'its SHA1 differs from that of the object'],
        ['wrong x-amz-checksum-sha256', 'its SHA256 differs from that of the object'],
      ],
    ]);
    expect(readdirSync(to()).sort()).toEqual(['of parts', 'right', 'with KMS']);
  });
  it('retries a denied object only once', async () => {
    const { url, requests } = await startBucket({ a: { content: Buffer.from('a') } }, (_key, _request, response) =>
      Boolean(response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>')),
    );
    expect(JSON.parse((await download(url)).stdout)).toMatchObject({
      files: 0,
      failed: [{ path: 'a', reason: 'S3 answered 403 AccessDenied' }],
    });
    expect(requests.length).toBe(2);
    writeFileSync(path.join(folder, 'a-file'), '');
    expect((await download(url, path.join(folder, 'a-file'))).code).toBe(2);
  });
});

describe('polony upload', () => {
  const PREFIX = 'runs/AV7/20260301_AV7_X/';
  /** Starts a server that is both the API and the bucket. With KMS encryption, its ETags are not MD5 sums. */
  async function startBucket({
    kms = false,
    intercept = () => false,
  }: {
    kms?: boolean;
    intercept?: (
      request: IncomingMessage,
      response: ServerResponse,
      url: URL,
      body: Buffer,
    ) => boolean | Promise<boolean>;
  } = {}): Promise<{
    url: string;
    objects: Map<string, { content: Buffer; etag: string }>;
    puts: string[];
    env: Record<string, string>;
  }> {
    const objects = new Map<string, { content: Buffer; etag: string }>();
    const uploads = new Map<string, { key: string; parts: Map<number, Buffer> }>();
    const puts: string[] = [];
    let made = 0;
    const isForbidden = (request: IncomingMessage, key: string): boolean =>
      request.headers['if-none-match'] === '*' && objects.has(key);
    const etagOf = (content: Buffer): string =>
      kms ? createHash('md5').update(`${made++}`).digest('hex') : md5(content);
    const url = await listen(async (request, response, address) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks);
      if (address.pathname.startsWith('/v1/'))
        return void response.writeHead(200, { 'content-type': 'application/json' }).end(
          JSON.stringify({
            s3: {
              region: 'us-west-2',
              bucket: 'lab',
              prefix: PREFIX,
              accessKeyId: 'ASIAX',
              secretAccessKey: 'x',
              sessionToken: 'x',
              expiration: new Date(Date.now() + 3_600_000).toISOString(),
            },
          }),
        );
      const key = decodeURIComponent(address.pathname.replace(/^\/lab\/?/, ''));
      if (request.method !== 'GET')
        puts.push(`${request.method} ${key.slice(PREFIX.length)}${address.search.replace(/[?&]x-id=\w+/, '')}`);
      const xml = (text: string, status = 200): void =>
        void response.writeHead(status, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${text}`);
      if (await intercept(request, response, address, body)) return;
      const id = address.searchParams.get('uploadId');
      if (address.searchParams.has('uploads')) {
        uploads.set(`u${uploads.size}`, { key, parts: new Map() });
        return xml(
          `<InitiateMultipartUploadResult><UploadId>u${uploads.size - 1}</UploadId></InitiateMultipartUploadResult>`,
        );
      }
      if (id !== null) {
        const upload = uploads.get(id);
        if (upload === undefined) return xml('<Error><Code>NoSuchUpload</Code></Error>', 404);
        if (request.method === 'PUT') {
          upload.parts.set(Number(address.searchParams.get('partNumber')), body);
          return void response.writeHead(200, { etag: `"${md5(body)}"` }).end();
        }
        if (isForbidden(request, key)) return xml('<Error><Code>PreconditionFailed</Code></Error>', 412);
        uploads.delete(id);
        const parts = [...upload.parts].sort(([one], [other]) => one - other).map(([, part]) => part);
        const partSums = Buffer.concat(parts.map((part) => createHash('md5').update(part).digest()));
        const etag = `${etagOf(partSums)}-${parts.length}`;
        objects.set(key, { content: Buffer.concat(parts), etag });
        if (lostAnswers.delete('complete')) return void response.destroy();
        return xml(`<CompleteMultipartUploadResult><ETag>&quot;${etag}&quot;</ETag></CompleteMultipartUploadResult>`);
      }
      if (request.method === 'PUT') {
        if (isForbidden(request, key)) return xml('<Error><Code>PreconditionFailed</Code></Error>', 412);
        const etag = etagOf(body);
        objects.set(key, { content: body, etag });
        return void response.writeHead(200, { etag: `"${etag}"` }).end();
      }
      const prefix = address.searchParams.get('prefix')!;
      const found = [...objects].filter(
        ([each]) => each.startsWith(prefix) && !each.slice(prefix.length).includes('/'),
      );
      const contents = found.map(
        ([each, { content, etag }]) =>
          `<Contents><Key>${each}</Key><Size>${content.length}</Size><ETag>&quot;${etag}&quot;</ETag></Contents>`,
      );
      return xml(`<ListBucketResult>${contents.join('')}<IsTruncated>false</IsTruncated></ListBucketResult>`);
    });
    return { url, objects, puts, env: { POLONY_API_URL: url, AWS_ENDPOINT_URL: url } };
  }
  const lostAnswers = new Set<string>();
  function runFolder(large = 0): string {
    const made = path.join(folder, '20260301_AV7_X');
    mkdirSync(path.join(made, 'BaseCalls'), { recursive: true });
    writeFileSync(
      path.join(made, 'RunParameters.json'),
      JSON.stringify({ RunName: 'X', InstrumentName: 'AV7', Cycles: { R1: 3 } }),
    );
    for (const cycle of [1, 2, 3]) writeFileSync(path.join(made, `BaseCalls/R1_C00${cycle}.zip`), `cycle ${cycle}`);
    if (large > 0) writeFileSync(path.join(made, 'large.bin'), Buffer.alloc(large, 'polony '));
    writeFileSync(
      path.join(made, 'RunUploaded.json'),
      JSON.stringify({
        version: '1.0.0',
        instrument: 'AV7',
        instrumentId: 'i',
        runType: 'Sequencing',
        recipeExecutionId: 'r',
        runID: 'x',
        outcome: 'OutcomeCompleted',
      }),
    );
    return made;
  }
  const args = (made: string): string[] => ['upload', made, '--storage', ID, '--json', '--concurrency', '1'];

  it('sends no file twice to a bucket whose ETags are not MD5 sums', { tags: 'long' }, async () => {
    const made = runFolder(20_000_000);
    let broken = true;
    const { objects, puts, env } = await startBucket({
      kms: true,
      intercept: (request, response) =>
        broken &&
        request.url!.includes('R1_C003') &&
        Boolean(response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>')),
    });
    expect((await polony(args(made), env)).code).toBe(4);
    broken = false;
    puts.splice(0);
    const { code, stdout } = await polony(args(made), env);
    expect([code, puts]).toEqual([0, ['PUT BaseCalls/R1_C003.zip', 'PUT RunUploaded.json']]);
    expect(JSON.parse(stdout)).toMatchObject({ files: 2, skipped: 4, ended: true });
    // An object that someone else changed is sent again.
    objects.delete(`${PREFIX}RunUploaded.json`);
    objects.set(`${PREFIX}BaseCalls/R1_C001.zip`, { content: Buffer.from('cycle 9'), etag: 'x' });
    expect((await polony(args(made), env)).code).toBe(0);
    expect(objects.get(`${PREFIX}BaseCalls/R1_C001.zip`)!.content.toString()).toBe('cycle 1');
  });
  it('does not overwrite an object that another client writes meanwhile', { tags: 'long' }, async () => {
    const made = runFolder(20_000_000);
    const theirs = { content: Buffer.from('of another client'), etag: 'other' };
    for (const name of ['BaseCalls/R1_C002.zip', 'large.bin', 'RunUploaded.json']) {
      const { objects, env } = await startBucket({
        intercept: (request) => {
          const isWrite = request.method === 'PUT' || request.url!.includes('uploadId=');
          if (isWrite && request.url!.includes(name)) objects.set(PREFIX + name, theirs);
          return false;
        },
      });
      const { code, stderr } = await polony(args(made), env);
      expect([name, code, stderr]).toEqual([name, 1, expect.stringContaining(`Another client wrote ${name}`)]);
      expect(objects.get(PREFIX + name)).toBe(theirs);
    }
  });
  it('does not take an object for that of another client if only the answer to its own write was lost', async () => {
    const made = runFolder();
    let once = true;
    const { objects, env } = await startBucket({
      intercept: (request, response) => {
        if (!once || request.method !== 'PUT' || !request.url!.includes('R1_C002')) return false;
        once = false;
        const content = Buffer.from('cycle 2');
        objects.set(`${PREFIX}BaseCalls/R1_C002.zip`, { content, etag: md5(content) });
        response.destroy();
        return true;
      },
    });
    const { code, stdout } = await polony(args(made), env);
    expect([code, (JSON.parse(stdout) as { ended: boolean }).ended]).toEqual([0, true]);
  });
  it('does not end a run if a file changes during the upload, even with the same size', async () => {
    const made = runFolder();
    const changed = path.join(made, 'BaseCalls/R1_C001.zip');
    let once = true;
    const { objects, env } = await startBucket({
      intercept: (request) => {
        // When the last file arrives, this overwrites the first one with as many bytes.
        if (once && request.method === 'PUT' && request.url!.includes('R1_C003')) {
          once = false;
          writeFileSync(changed, 'cycle X');
        }
        return false;
      },
    });
    const first = await polony(args(made), env);
    expect([first.code, first.stderr, objects.has(`${PREFIX}RunUploaded.json`)]).toEqual([
      1,
      expect.stringContaining('BaseCalls/R1_C001.zip'),
      false,
    ]);
    expect((await polony(args(made), env)).code).toBe(0);
    expect([
      objects.get(`${PREFIX}BaseCalls/R1_C001.zip`)!.content.toString(),
      objects.has(`${PREFIX}RunUploaded.json`),
    ]).toEqual(['cycle X', true]);
  });
  it(
    'sends several parts of a large file at once, and after a failure only the missing ones',
    { tags: 'long' },
    async () => {
      const made = runFolder(100_000_000);
      const held: (() => void)[] = [];
      let [under, most, broken] = [0, 0, true];
      const { objects, puts, env } = await startBucket({
        intercept: async (_request, response, address) => {
          const number = address.searchParams.get('partNumber');
          if (number === null || !broken) return false;
          most = Math.max(most, ++under);
          // Parts are answered when the third one arrives too. The fourth is denied.
          if (under === 3) for (const go of held.splice(0)) go();
          else if (most < 3) await new Promise<void>((resolve) => held.push(resolve));
          under--;
          return number === '4' && Boolean(response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>'));
        },
      });
      const three = [...args(made).slice(0, -1), '3'];
      expect([(await polony(three, env)).code, most]).toEqual([4, 3]);
      const sent = new Set(puts.flatMap((each) => /large\.bin.*partNumber=([1-35-6])/.exec(each)?.[1] ?? []));
      expect(sent.size).toBeGreaterThanOrEqual(3);
      broken = false;
      puts.splice(0);
      expect((await polony(three, env)).code).toBe(0);
      const again = puts.flatMap((each) => /large\.bin.*partNumber=(\d)/.exec(each)?.[1] ?? []);
      expect([
        again.includes('4'),
        again.filter((number) => sent.has(number)),
        new Set(again).size + sent.size,
      ]).toEqual([true, [], 6]);
      expect(objects.get(`${PREFIX}large.bin`)!.content.equals(readFileSync(path.join(made, 'large.bin')))).toBe(true);
    },
  );
  it('counts a large file as sent if only the last answer was lost', { tags: 'long' }, async () => {
    const made = runFolder(40_000_000);
    lostAnswers.add('complete');
    const { objects, puts, env } = await startBucket();
    const { code, stderr } = await polony(args(made), env);
    expect([code, stderr.replace(/\(node[\s\S]*?created\)\n/, ''), lostAnswers.size]).toEqual([0, '', 0]);
    expect(puts.filter((each) => each.includes('partNumber')).length).toBe(3);
    expect(objects.get(`${PREFIX}large.bin`)!.content.equals(readFileSync(path.join(made, 'large.bin')))).toBe(true);
  });
  it(
    'runs once per folder, works without a cache folder, and says when it cannot reach S3',
    { tags: 'long' },
    async () => {
      const made = runFolder();
      let held: ServerResponse | undefined;
      const { env } = await startBucket({
        intercept: (request, response) => held === undefined && request.method === 'PUT' && Boolean((held = response)),
      });
      const first = start(args(made), env);
      await waitFor('the first process to upload', () => held !== undefined);
      const second = await polony(args(made), env);
      expect([second.code, second.stderr]).toEqual([
        8,
        expect.stringContaining(`Process ${first.child.pid} already uploads`),
      ]);
      first.child.kill('SIGINT');
      expect(await first.ended).toMatchObject({
        code: 130,
        stderr: expect.stringContaining('Stopped. To resume, run the same command again') as string,
      });
      writeFileSync(path.join(folder, 'no-folder'), '');
      expect((await polony(args(made), { ...env, XDG_CACHE_HOME: path.join(folder, 'no-folder') })).code).toBe(0);
      const away = await polony(args(made), { ...env, AWS_ENDPOINT_URL: 'http://127.0.0.1:9' });
      expect([away.code, away.stderr]).toEqual([7, expect.stringContaining('S3 cannot be reached (ECONNREFUSED)')]);
    },
  );
  it(
    'sends a checksum with all content, and the whole content again where S3 asks for another attempt',
    { tags: 'long' },
    async () => {
      const sums: boolean[] = [];
      const refused = new Set<string>();
      const { url, objects, env } = await startBucket({
        intercept: (request, response, { pathname, searchParams }, body) => {
          if (request.method !== 'PUT') return false;
          const sum = Buffer.alloc(4);
          sum.writeUInt32BE(crc32(body));
          sums.push(request.headers['x-amz-checksum-crc32'] === sum.toString('base64'));
          const name = `${pathname} ${searchParams.get('partNumber')}`;
          if (refused.has(name)) return false;
          refused.add(name);
          response
            .writeHead(500, { 'content-type': 'application/xml' })
            .end('<Error><Code>InternalError</Code></Error>');
          return true;
        },
      });
      const made = runFolder(17 * 1024 * 1024);
      // Larger than what is kept in memory, and smaller than a part.
      writeFileSync(path.join(made, 'streamed.bin'), Buffer.alloc(3_000_000, 'streamed '));
      writeFileSync(path.join(made, 'empty.bin'), '');
      expect(await polony(args(made), { ...env, POLONY_API_URL: url })).toMatchObject({ code: 0 });
      // Six small files, and two parts of the large one.
      expect([sums.length, new Set(sums)]).toEqual([2 * (7 + 2), new Set([true])]);
      for (const name of ['large.bin', 'streamed.bin', 'empty.bin', 'RunUploaded.json'])
        expect(objects.get(`${PREFIX}${name}`)!.content.equals(readFileSync(path.join(made, name)))).toBe(true);
    },
  );

  it('rejects file names that S3 cannot list', async () => {
    const made = runFolder();
    writeFileSync(path.join(made, 'a\rb'), '');
    const { puts, env } = await startBucket();
    expect([await polony(args(made), env), puts]).toMatchObject([
      {
        code: 2,
        stderr: expect.stringMatching(
          /^a b has characters in its name that S3 cannot list; rename the file$/m,
        ) as string,
      },
      [],
    ]);
  });
});
