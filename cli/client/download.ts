import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { lstat, mkdir, open, readdir, realpath, rename, rm, utimes } from 'node:fs/promises';
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Crc32, Crc32c, Crc64Nvme } from '@aws-sdk/checksums/crc';
import { type PolonyClient, polonyClient, type Schema } from '../../client/index.js';
import { asked } from './commands.js';
import { CliError, EXIT } from './exit.js';
import { cell } from './output.js';
import type { Profile } from './profiles.js';
import { acquireLock, retryWhileUnavailable } from './resume.js';

/** What is downloaded. */
export interface DownloadSource {
  kind: 'storage' | 'run' | 'execution';
  id: string;
  /** Relative to the resource. */
  prefix?: string;
}

export interface DownloadOptions {
  /** Folder that it goes into; nothing is ever written beside it. */
  to: string;
  /** How many files at once. */
  concurrency: number;
  /** Told of bytes as they come, and of files that were found. */
  onProgress?: (progress: { bytes: number; totalBytes: number; files: number; totalFiles: number }) => void;
  signal?: AbortSignal;
}

/** What has become of the files. */
export interface DownloadReport {
  files: number;
  bytes: number;
  /** Were there already, whole. */
  skipped: number;
  failed: { path: string; reason: string }[];
}

type File = Schema<'File'>;
type FilesQuery = {
  prefix?: string;
  pageToken?: string;
  pageSize: number;
  includeDownloadUrl: true;
  includeDownloadChecksum: true;
  downloadUrlExpirationSeconds: number;
};

/** Files of a page: their URLs must last until the last of them has begun. */
const PAGE = 100;
/** How long URLs are asked to last, in seconds; they end with the session that signed them at the latest. */
const URL_SECONDS = 43_200;
/** How often a file is tried again where a connection breaks, and where what has come is not what S3 has. */
const RETRIES = { connection: 5, content: 1 };
/** Longest silence of a connection, in milliseconds. */
const SILENCE_MS = 60_000;
/** Most failures that are told one by one. */
const MOST_TOLD = 1000;

const LISTS = {
  storage: (client: PolonyClient, id: string, query: FilesQuery) =>
    client.GET('/v1/storage-connections/{storage_connection_id}/files', {
      params: { path: { storage_connection_id: id }, query },
    }),
  run: (client: PolonyClient, id: string, query: FilesQuery) =>
    client.GET('/v1/runs/{run_id}/files', { params: { path: { run_id: id }, query } }),
  execution: (client: PolonyClient, id: string, query: FilesQuery) =>
    client.GET('/v1/executions/{execution_id}/files', { params: { path: { execution_id: id }, query } }),
} as const;

/** A failure of one file, which keeps no other from being downloaded. */
class FileError extends Error {
  override readonly name = 'FileError';
  /** @param retry how often it may be tried again */
  constructor(
    message: string,
    readonly retry = 0,
  ) {
    super(message);
  }
}

/** What unfinished downloads are called: behind the name of the file the version of the object. */
const PART = /^\..*\.[0-9a-f]{12}\.part(\.json)?$/s;

/**
 * Where a key goes below a folder. Keys are anything; what would lead out of the folder, or is no name of a file, is refused.
 * @throws FileError
 */
export function localPathFor(to: string, key: string): string {
  const parts = key.split('/');
  const bad = parts.find(
    (part) =>
      part === '' ||
      part === '.' ||
      part === '..' ||
      /[\0]/.test(part) ||
      (process.platform === 'win32' && /[\\:*?"<>|]|[. ]$/.test(part)),
  );
  if (bad !== undefined)
    throw new FileError('its name is none that a file can have here; download it with the AWS CLI under another name');
  // It would be taken for what is left of another download.
  if (PART.test(parts.at(-1)!))
    throw new FileError(
      'its name is one that unfinished downloads have; download it with the AWS CLI under another name',
    );
  if (parts.some((part) => Buffer.byteLength(part) > 200))
    throw new FileError('a part of its name is longer than file systems take');
  const target = path.resolve(to, ...parts);
  if (!target.startsWith(path.join(path.resolve(to), path.sep)))
    throw new FileError('its name leads out of the folder');
  return target;
}

/** Makes the folders of a file one by one; through a link, which could lead anywhere, nothing is written. @throws FileError */
async function makeFolders(to: string, target: string): Promise<void> {
  const root = path.resolve(to);
  const parts = path
    .relative(root, path.dirname(target))
    .split(path.sep)
    .filter((part) => part !== '');
  let folder = root;
  for (const part of parts) {
    folder = path.join(folder, part);
    await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    const found = await lstat(folder);
    if (found.isSymbolicLink()) throw new FileError(`${folder} is a link; nothing is written through it`);
    if (!found.isDirectory()) throw new FileError(`${folder} is a file, so that nothing can be put below it`);
  }
}

/** What S3 says of an object's content, and what is kept beside the part of it that has come. */
interface Expected {
  etag: string | null;
  encryption: string | null;
  checksums: Record<string, string>;
}
const CHECKSUMS = [
  'x-amz-checksum-sha256',
  'x-amz-checksum-sha1',
  'x-amz-checksum-crc64nvme',
  'x-amz-checksum-crc32c',
  'x-amz-checksum-crc32',
];

function expectedOf(headers: IncomingHttpHeaders): Expected {
  const checksums = Object.fromEntries(
    CHECKSUMS.flatMap((name) => (typeof headers[name] === 'string' ? [[name, headers[name]]] : [])),
  );
  return {
    etag: headers.etag ?? null,
    encryption: (headers['x-amz-server-side-encryption'] as string | undefined) ?? null,
    checksums,
  };
}

/** Asks for an object. Not by fetch: that unpacks what is stored packed (Content-Encoding), of which no size and no checksum holds. */
function get(url: string, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.startsWith('https:') ? https : http).get(url, { headers, signal }, resolve);
    request
      .on('error', reject)
      .setTimeout(SILENCE_MS, () => request.destroy(new Error('nothing has come for a minute')));
  });
}

async function startOf(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) if ((text += String(chunk)).length > 2000) break;
  } catch {
    // What has come of it does.
  }
  return text;
}

/** A file of one's own, never what a link points to. */
const opened = (file: string, flags: number): ReturnType<typeof open> =>
  open(file, flags | constants.O_WRONLY | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o666);

/** Adds up what comes, to compare it with what S3 says: only by what S3 has said, since more of it takes longer than the way here. */
class Content {
  bytes = 0;
  readonly #sums: { name: string; add: (chunk: Buffer) => void; holds: () => boolean | Promise<boolean> }[] = [];

  constructor({ etag, encryption, checksums }: Expected) {
    const hash = (name: string, algorithm: string, encoding: 'hex' | 'base64', expected: string | undefined): void => {
      if (expected === undefined) return;
      const sum = createHash(algorithm);
      this.#sums.push({ name, add: (chunk) => void sum.update(chunk), holds: () => sum.digest(encoding) === expected });
    };
    // An ETag is the MD5 of the content, but not of one that came in parts or is encrypted with KMS (S3 API Reference, Object).
    if (encryption === null || encryption === 'AES256')
      hash('MD5', 'md5', 'hex', /^"([0-9a-f]{32})"$/.exec(etag ?? '')?.[1]);
    // With -N behind it, it is one of the checksums of N parts.
    const whole = (name: string): string | undefined =>
      checksums[name]?.includes('-') === true ? undefined : checksums[name];
    hash('SHA256', 'sha256', 'base64', whole('x-amz-checksum-sha256'));
    hash('SHA1', 'sha1', 'base64', whole('x-amz-checksum-sha1'));
    // CRC64NVME is what S3 gives each object that came with none.
    for (const [name, Crc] of [
      ['CRC64NVME', Crc64Nvme],
      ['CRC32C', Crc32c],
      ['CRC32', Crc32],
    ] as const) {
      const expected = whole(`x-amz-checksum-${name.toLowerCase()}`);
      if (expected === undefined) continue;
      const sum = new Crc();
      this.#sums.push({
        name,
        add: (chunk) => sum.update(chunk),
        holds: async () => Buffer.from(await sum.digest()).toString('base64') === expected,
      });
    }
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    for (const { add } of this.#sums) add(chunk);
  }

  /** Which of what S3 has said does not hold; undefined where all that can be compared does. */
  async mismatch(): Promise<string | undefined> {
    for (const { name, holds } of this.#sums) if (!(await holds())) return `its ${name} is not that of the object`;
    return undefined;
  }
}

/** What has come of a file in an earlier try. */
interface Part {
  file: string;
  notes: string;
  bytes: number;
  expected: Expected | undefined;
}

async function partOf(target: string, file: File): Promise<Part> {
  // Of another version of the object it has another name.
  const version = createHash('sha256')
    .update(`${file.uri}\n${file.size}\n${file.lastModified}`)
    .digest('hex')
    .slice(0, 12);
  const part = path.join(path.dirname(target), `.${path.basename(target)}.${version}.part`);
  const notes = `${part}.json`;
  const bytes = await lstat(part).then(
    (found) => (found.isFile() ? found.size : 0),
    () => 0,
  );
  let expected: Expected | undefined;
  try {
    const handle = await open(notes, 'r');
    try {
      expected = JSON.parse(await handle.readFile('utf8')) as Expected;
    } finally {
      await handle.close();
    }
  } catch {
    // Without what S3 said at its beginning, it begins anew.
  }
  return { file: part, notes, bytes: expected?.etag === undefined || expected.etag === null ? 0 : bytes, expected };
}

/** Downloads one file, from where an earlier try has come to. @throws FileError */
async function fetchFile(
  url: string,
  file: File,
  target: string,
  options: DownloadOptions,
  count: (bytes: number) => void,
): Promise<void> {
  const part = await partOf(target, file);
  const size = Number(file.size);
  const from = part.bytes > 0 && part.bytes < size ? part.bytes : 0;
  let response: IncomingMessage;
  try {
    response = await get(
      url,
      {
        'x-amz-checksum-mode': 'ENABLED',
        'accept-encoding': 'identity',
        ...(from > 0 && { range: `bytes=${from}-`, 'if-range': part.expected!.etag! }),
      },
      options.signal,
    );
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new FileError(`the storage cannot be reached (${messageOf(error)})`, RETRIES.connection);
  }
  const { headers, statusCode: status = 0 } = response;
  if (status !== 200 && status !== 206) {
    const code = /<Code>([A-Za-z]+)<\/Code>/.exec(await startOf(response))?.[1];
    if (status === 404) throw new FileError('it is no longer there');
    if (code === 'InvalidObjectState') throw new FileError('it is archived; restore it first');
    // A URL that has ended is made anew before the next try; what is denied stays so.
    throw new FileError(
      `S3 has answered ${status}${code === undefined ? '' : ` ${code}`}`,
      code === 'AccessDenied' ? RETRIES.content : RETRIES.connection,
    );
  }
  const resumed =
    status === 206 &&
    from > 0 &&
    headers['content-range'] === `bytes ${from}-${size - 1}/${size}` &&
    headers.etag === part.expected!.etag;
  if (status === 206 && !resumed) {
    response.destroy();
    // Of what is there now, or of nothing: from the beginning.
    await Promise.all([rm(part.file, { force: true }), rm(part.notes, { force: true })]);
    throw new FileError('S3 has answered with another part than was asked for', RETRIES.connection);
  }
  const expected = resumed ? part.expected! : expectedOf(headers);
  const content = new Content(expected);
  try {
    if (resumed) {
      for await (const chunk of createReadStream(part.file, { end: from - 1 })) content.add(chunk as Buffer);
      count(content.bytes);
    } else {
      await Promise.all([rm(part.file, { force: true }), rm(part.notes, { force: true })]);
      const notes = await opened(part.notes, constants.O_EXCL);
      await notes.writeFile(JSON.stringify(expected)).finally(() => notes.close());
    }
    const counter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        content.add(chunk);
        count(chunk.length);
        // More than there should be is not written until the disk is full.
        done(content.bytes > size ? new FileError('S3 sends more than it has listed', RETRIES.content) : null, chunk);
      },
    });
    // On the disk before it gets its name, so that no power cut leaves a name with nothing behind it.
    await pipeline(
      response,
      counter,
      (await opened(part.file, constants.O_APPEND)).createWriteStream({ flush: true }),
      { signal: options.signal },
    );
    const { size: written } = await lstat(part.file);
    if (written !== content.bytes) {
      await Promise.all([rm(part.file, { force: true }), rm(part.notes, { force: true })]);
      throw new FileError('another process writes it, too', RETRIES.content);
    }
  } catch (error) {
    response.destroy();
    count(-content.bytes);
    options.signal?.throwIfAborted();
    if (error instanceof FileError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new CliError('The disk is full; make room and run the same command again, it goes on where it was');
    throw new FileError(`the connection broke (${messageOf(error)})`, RETRIES.connection);
  }
  const wrong = content.bytes !== size ? `${content.bytes} of ${size} bytes have come` : await content.mismatch();
  if (wrong !== undefined) {
    if (content.bytes >= size) await Promise.all([rm(part.file, { force: true }), rm(part.notes, { force: true })]);
    count(-content.bytes);
    throw new FileError(wrong, content.bytes < size ? RETRIES.connection : RETRIES.content);
  }
  await finish(part, target, file);
}

/** Gives a whole file its name. What is there under it already is replaced only where it is the same file of before. */
async function finish(part: Part, target: string, file: File): Promise<void> {
  const there = await lstat(target).catch(() => undefined);
  if (there !== undefined && !there.isFile()) throw new FileError(`${target} is there already and is no file`);
  if (there !== undefined && path.basename(await realpath(target)) !== path.basename(target))
    throw new FileError('another file has the same name but for capitals, which this file system takes as one');
  const time = new Date(file.lastModified);
  await utimes(part.file, time, time);
  await rename(part.file, target);
  await rm(part.notes, { force: true });
}

/** Removes what has come of other versions of a file. */
async function tidy(target: string): Promise<void> {
  const name = path.basename(target);
  const own = new RegExp(`^\\.${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\.[0-9a-f]{12}\\.part(\\.json)?$`);
  for (const each of await readdir(path.dirname(target)))
    if (own.test(each)) await rm(path.join(path.dirname(target), each), { force: true });
}

function messageOf(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string; message?: string }; message?: string };
  return cause?.code ?? cause?.message ?? message ?? String(error);
}

async function isThere(target: string, file: File): Promise<boolean> {
  const found = await lstat(target).catch(() => undefined);
  // Files get the time of their object when they are whole.
  if (
    found?.isFile() !== true ||
    found.size !== Number(file.size) ||
    Math.abs(found.mtimeMs - Date.parse(file.lastModified)) >= 2000
  )
    return false;
  // Where capitals make no other name, it may be that of another object.
  return path.basename(await realpath(target)) === path.basename(target);
}

/**
 * Downloads all files below a prefix, several at once, page by page. What is there whole already is left; what was begun is gone on
 * with; each file is compared with what S3 says of its content before it gets its name.
 * @throws CliError where nothing can be downloaded at all; what concerns one file is in the report.
 */
export async function download(
  api: Profile,
  source: DownloadSource,
  options: DownloadOptions,
): Promise<DownloadReport> {
  await mkdir(options.to, { recursive: true }).catch((error: Error) => {
    throw new CliError(`${options.to} cannot be the folder: ${error.message}`, EXIT.usage);
  });
  const release = await acquireLock('downloads', await realpath(options.to), `downloads into ${options.to}`);
  try {
    return await downloadAll(api, source, options);
  } finally {
    release();
  }
}

async function downloadAll(api: Profile, source: DownloadSource, options: DownloadOptions): Promise<DownloadReport> {
  const client = polonyClient(api);
  const report: DownloadReport = { files: 0, bytes: 0, skipped: 0, failed: [] };
  const progress = { bytes: 0, totalBytes: 0, files: 0, totalFiles: 0 };
  const tell = (): void => options.onProgress?.({ ...progress });
  let failures = 0;

  const list = (pageToken: string | undefined) =>
    asked(
      api,
      LISTS[source.kind](client, source.id, {
        pageSize: PAGE,
        includeDownloadUrl: true,
        includeDownloadChecksum: true,
        downloadUrlExpirationSeconds: URL_SECONDS,
        ...(source.prefix !== undefined && { prefix: source.prefix }),
        ...(pageToken !== undefined && { pageToken }),
      }),
    );

  for (let pageToken: string | undefined; ;) {
    options.signal?.throwIfAborted();
    // Where the API is away at the beginning, that is told at once.
    let page = await (pageToken === undefined
      ? list(pageToken)
      : retryWhileUnavailable(() => list(pageToken), options.signal));
    let listedAt = Date.now();
    let listing: Promise<void> | undefined;
    /** The page once more, with new URLs; once for all files that need it. */
    const renew = (before: number): Promise<void> => {
      if (before !== listedAt) return Promise.resolve();
      return (listing ??= retryWhileUnavailable(() => list(pageToken), options.signal).then((again) => {
        page = again;
        listedAt = Date.now();
        listing = undefined;
      }));
    };
    const one = async (file: File): Promise<void> => {
      const target = localPathFor(options.to, file.path);
      if (file.downloadUrl === undefined)
        throw new FileError(
          /GLACIER|ARCHIVE/.test(file.storageClass ?? '')
            ? `it is archived (${file.storageClass}); restore it first`
            : 'it has no download URL; read it with polony credentials and the AWS CLI',
        );
      await makeFolders(options.to, target);
      if (await isThere(target, file)) {
        report.skipped++;
        progress.bytes += Number(file.size);
        return;
      }
      let url = file.downloadUrl;
      for (let attempt = 1; ; attempt++) {
        const before = listedAt;
        try {
          await fetchFile(url, file, target, options, (bytes) => {
            progress.bytes += bytes;
            tell();
          });
          break;
        } catch (error) {
          if (!(error instanceof FileError) || attempt > error.retry) throw error;
          await new Promise((resolve) => setTimeout(resolve, Math.min(10_000, 200 * 2 ** attempt)));
          await renew(before);
          const again = page.files.find((each) => each.path === file.path);
          if (again?.downloadUrl === undefined || again.size !== file.size || again.lastModified !== file.lastModified)
            throw new FileError('it has changed meanwhile; run the command again');
          url = again.downloadUrl;
        }
      }
      await tidy(target);
      report.files++;
      report.bytes += Number(file.size);
    };

    const files = [...page.files];
    progress.totalFiles += files.length;
    progress.totalBytes += files.reduce((sum, file) => sum + Number(file.size), 0);
    tell();
    let stopped: Error | undefined;
    const workers = Array.from({ length: Math.min(options.concurrency, files.length) }, async () => {
      for (let file = files.shift(); file !== undefined && stopped === undefined; file = files.shift()) {
        try {
          await one(file);
        } catch (error) {
          if (!(error instanceof FileError) && !isFileSystemError(error)) {
            stopped = error as Error;
            return;
          }
          failures++;
          if (report.failed.length < MOST_TOLD)
            report.failed.push({ path: file.path, reason: cell((error as Error).message) });
        }
        progress.files++;
        tell();
      }
    });
    await Promise.all(workers);
    if (stopped !== undefined) throw stopped;
    if (page.nextPageToken === '') break;
    pageToken = page.nextPageToken;
  }
  if (failures > report.failed.length)
    report.failed.push({ path: '', reason: `and ${failures - report.failed.length} more` });
  return report;
}

/** What a file system refuses for one file: a name it does not take, a folder where a file should be. */
function isFileSystemError(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return ['ENAMETOOLONG', 'EISDIR', 'ENOTDIR', 'EEXIST', 'EINVAL', 'EILSEQ', 'EACCES', 'EPERM'].includes(code ?? '');
}
