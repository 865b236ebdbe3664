import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AwsSessions } from '../../aws/sessions.js';
import { downloadUrls, listPage } from '../../aws/files.js';
import { listFolder, listObjects } from '../../aws/s3.js';

/** Names that XML cannot represent, that an XML parser would change, or that look encoded. */
const NAMES = [
  'plain',
  'bell\u0007',
  'cr\r\nlf',
  '\u{1F4C1}folder',
  'a+b c',
  '%2B%20',
  'caf\u00e9',
  '&amp;&#13;',
  ' ends ',
  '__proto__',
  '1e5',
  '\ufffe',
  'a<b>"\'',
];

/** Starts a server. @returns a client of it */
async function listen(server: Server): Promise<S3Client> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return new S3Client({
    region: 'us-west-2',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    forcePathStyle: true,
    credentials: { accessKeyId: 'x', secretAccessKey: 'y' },
  });
}

describe('an S3 listing', () => {
  let server: Server;
  let s3: S3Client;
  /** Whether the server supports `encoding-type`. If not, it writes names as they are, with character references. */
  let supportsEncoding = true;

  beforeAll(async () => {
    server = createServer((request, response) => {
      const query = new URL(request.url!, 'http://s3').searchParams;
      const isEncoded = supportsEncoding && query.get('encoding-type') === 'url';
      // S3 encodes names like form fields, but leaves slashes as they are.
      const write = (name: string): string =>
        isEncoded
          ? encodeURIComponent(name).replaceAll('%2F', '/').replaceAll('%20', '+')
          : name.replace(/[^ -%'-;=?-~]/gu, (char) => `&#${char.codePointAt(0)};`);
      const names = supportsEncoding ? NAMES : NAMES.filter((name) => !/\u{1F4C1}/u.test(name));
      const contents = names.map(
        (name) =>
          `<Contents><Key>${write(`runs/${name}`)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>` +
          '<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>',
      );
      const folders = names.map(
        (name) => `<CommonPrefixes><Prefix>${write(`runs/${name}/`)}</Prefix></CommonPrefixes>`,
      );
      response.setHeader('content-type', 'application/xml');
      response.end(
        '<?xml version="1.0" encoding="UTF-8"?>' +
          '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>' +
          `${isEncoded ? '<EncodingType>url</EncodingType>' : ''}` +
          `${contents.join('')}${folders.join('')}</ListBucketResult>`,
      );
    });
    s3 = await listen(server);
  });
  afterAll(() => {
    s3?.destroy();
    server?.close();
  });

  it.each([
    ['encodes', true],
    ['does not encode', false],
  ])('returns names unchanged when the server %s them', async (_what, encodes) => {
    supportsEncoding = encodes;
    const names = encodes ? NAMES : NAMES.filter((name) => !/\u{1F4C1}/u.test(name));
    const page = await listPage(s3, 'lab', 'runs/', { recursive: false, size: 1000 });
    expect(page.files.map(({ key }) => key)).toEqual(names.map((name) => `runs/${name}`));
    expect(page.folders).toEqual(names.map((name) => `runs/${name}/`));
    for await (const objects of listObjects(s3, 'lab', 'runs/'))
      expect(objects.map(({ key }) => key)).toEqual(names.map((name) => `runs/${name}`));
    for await (const { folders, files } of listFolder(s3, 'lab', 'runs/'))
      expect([folders, files]).toEqual([names, names]);
  });
});

describe('a page of 1,000 files', () => {
  const stops: (() => void)[] = [];
  afterAll(() => {
    for (const stop of stops) stop();
  });

  /** An S3 with endless keys. @returns a client of it, and how many keys each request asked for */
  async function startEndless(keyOf: (at: number) => string): Promise<{ s3: S3Client; asked: number[] }> {
    const asked: number[] = [];
    const server = createServer((request, response) => {
      const query = new URL(request.url!, 'http://s3').searchParams;
      const [from, count] = [Number(query.get('continuation-token') ?? 0), Number(query.get('max-keys'))];
      asked.push(count);
      const contents = Array.from(
        { length: count },
        (_, at) => `<Contents><Key>runs/${keyOf(from + at)}</Key><Size>1</Size></Contents>`,
      );
      response.setHeader('content-type', 'application/xml');
      response.end(
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>' +
          `<IsTruncated>true</IsTruncated><NextContinuationToken>${from + count}</NextContinuationToken>` +
          `${contents.join('')}</ListBucketResult>`,
      );
    });
    const s3 = await listen(server);
    stops.push(() => {
      s3.destroy();
      server.close();
    });
    return { s3, asked };
  }

  /** Lists pages one after the other. @returns the names of their files */
  async function listPages(s3: S3Client, bucket: string, sizes: readonly number[]): Promise<string[]> {
    const names: string[] = [];
    let token: string | undefined;
    for (const size of sizes) {
      const page = await listPage(s3, bucket, 'runs/', { recursive: true, size, token });
      names.push(...page.files.map(({ key }) => key.slice('runs/'.length)));
      token = page.next;
    }
    return names;
  }

  const keysUpTo = (count: number, keyOf: (at: number) => string): string[] =>
    Array.from({ length: count }, (_, at) => keyOf(at));

  it('needs one request from the moment that the keys of the listing are known to be short', async () => {
    const keyOf = (at: number): string => `file-${at}`;
    const { s3, asked } = await startEndless(keyOf);
    expect(await listPages(s3, 'short', [1000, 1000, 20])).toEqual(keysUpTo(2020, keyOf));
    expect(asked).toEqual([500, 500, 1000, 20]);
  });

  it('needs two where they are long, and again once they become long', async () => {
    const long = (at: number): string => `${'x'.repeat(900)}-${at}`;
    const { s3, asked } = await startEndless(long);
    expect(await listPages(s3, 'long', [1000, 1000])).toEqual(keysUpTo(2000, long));
    expect(asked).toEqual([500, 500, 500, 500]);
    const longer = (at: number): string => (at < 600 ? `file-${at}` : long(at));
    const longLater = await startEndless(longer);
    await listPages(longLater.s3, 'longer', [600, 1000, 1000]);
    expect(longLater.asked).toEqual([500, 100, 1000, 500, 500]);
  });

  it('knows so of the last 1,000 listings only', async () => {
    const { s3, asked } = await startEndless((at) => `file-${at}`);
    for (let at = 0; at <= 1000; at++) await listPages(s3, `bucket-${at}`, [100]);
    asked.length = 0;
    await listPages(s3, 'bucket-0', [1000]);
    await listPages(s3, 'bucket-1000', [1000]);
    expect(asked).toEqual([500, 500, 1000]);
  });
});

describe('downloadUrls', () => {
  it('signs the URLs of a page without blocking the event loop', async () => {
    const access = new AwsSessions({
      sessionSeconds: 3600,
      loadProvider: async () => Promise.reject(new Error('is not asked')),
    });
    const session = {
      accessKeyId: 'ASIAX',
      secretAccessKey: 's',
      sessionToken: 't',
      expiration: new Date(Date.now() + 3_600_000),
      seconds: 3600,
    };
    const signer = access.signer(session, 'us-west-2');
    let turns = 0;
    let over = false;
    const turn = (): void => {
      turns++;
      if (!over) setImmediate(turn);
    };
    setImmediate(turn);
    const files = Array.from({ length: 400 }, (_, at) => ({
      key: `runs/${at}`,
      size: 1,
      lastModified: new Date(0),
      storageClass: null,
      archived: at === 7,
    }));
    const urls = await downloadUrls(signer, session, 'lab', files, 60, false);
    over = true;
    expect(turns).toBeGreaterThanOrEqual(15);
    expect(urls.map((url) => (url === undefined ? undefined : new URL(url).pathname))).toEqual(
      files.map(({ archived }, at) => (archived ? undefined : `/runs/${at}`)),
    );
    signer.destroy();
    access.close();
  });
});
