import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { appendFile, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import pLimit from 'p-limit';
import { polonyClient, type Schema } from '../../client/index.js';
import { errorMessage } from '../../domain/errors.js';
import { expectedBaseCalls, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { parseRunUploaded } from '../../domain/runs/runUploaded.js';
import { asked } from './commands.js';
import { CliError, EXIT } from './exit.js';
import { cell } from './output.js';
import type { Profile } from './profiles.js';
import { acquireLock, keptFile, retryWhileUnavailable } from './resume.js';
import type { TransferProgress } from './transfer.js';

export interface UploadOptions {
  storageConnectionId: string;
  /** The run folder as the instrument has written it. */
  folder: string;
  /** Where the storage connection has a runDepth. */
  parentPath?: string;
  /** Whether a folder that is not whole is uploaded as it is, without RunUploaded.json. */
  partial: boolean;
  /** How many files, or parts of large ones, at once. */
  concurrency: number;
  onProgress?: (progress: TransferProgress) => void;
  signal?: AbortSignal;
}

export interface UploadReport {
  uri: string;
  files: number;
  bytes: number;
  /** Were there already. */
  skipped: number;
  /** Whether RunUploaded.json was written, so that the run counts as uploaded. */
  ended: boolean;
}

/** Size of the parts of large files; S3 takes 10,000 of them, and 5 MiB is the least (S3 User Guide, multipart upload limits). */
const PART_BYTES = 16 * 1024 * 1024;
const MOST_PARTS = 10_000;
const END = 'RunUploaded.json';
/** How long credentials are asked for, in seconds: what every role allows. */
const SESSION_SECONDS = 3600;

interface LocalFile {
  /** Relative to the folder, with slashes. */
  name: string;
  /** When content or name were changed, which no program can set back. */
  changedMs: number;
  file: string;
  size: number;
  mtimeMs: number;
}

/** The files of one folder, and the folders in it, in the order of their names. @throws CliError for what is neither. */
async function entriesOf(root: string, folder: string): Promise<{ files: LocalFile[]; folders: string[] }> {
  const files: LocalFile[] = [];
  const folders: string[] = [];
  for (const entry of (await readdir(path.join(root, folder), { withFileTypes: true })).sort((one, other) =>
    one.name < other.name ? -1 : 1,
  )) {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    // XML, in which S3 lists, has no way to say control characters.
    if (/[\p{Cc}\ufffd]/u.test(entry.name))
      throw new CliError(`${cell(name)} has characters in its name that S3 cannot list`, EXIT.usage);
    if (entry.isDirectory()) folders.push(name);
    else if (entry.isFile()) {
      const file = path.join(root, name);
      const { size, mtimeMs, ctimeMs } = await stat(file);
      files.push({ name, file, size, mtimeMs, changedMs: ctimeMs });
    } else throw new CliError(`${name} is a link or a device; a run folder has files and folders only`, EXIT.usage);
  }
  return { files, folders };
}

/** All files of a run folder, folder by folder. */
async function* walk(root: string, folder = ''): AsyncGenerator<LocalFile[]> {
  const { files, folders } = await entriesOf(root, folder);
  yield files;
  for (const each of folders) yield* walk(root, each);
}

/**
 * Looks at a run folder before anything of it is uploaded.
 * @throws CliError that names what is wrong
 */
async function checkFolder(folder: string, partial: boolean): Promise<{ runFolder: string; instrumentName: string }> {
  const runFolder = path.basename(path.resolve(folder));
  const wrong = (message: string): CliError => new CliError(message, EXIT.usage);
  const content = async (name: string): Promise<string | undefined> =>
    readFile(path.join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw wrong(`${path.join(folder, name)} cannot be read: ${error.message}`);
    });
  if (
    !(await stat(folder).then(
      (found) => found.isDirectory(),
      () => false,
    ))
  )
    throw wrong(`${folder} is no folder`);
  const text = await content('RunParameters.json');
  if (text === undefined) throw wrong(`${folder} has no RunParameters.json, so it is no run folder`);
  let parameters: ReturnType<typeof parseRunParameters>;
  try {
    parameters = parseRunParameters(text);
  } catch (error) {
    throw wrong(errorMessage(error));
  }
  if (parseRunFolderName(runFolder, parameters.instrumentName) === undefined)
    throw wrong(
      `The folder must be named <YYYYMMDD>_${parameters.instrumentName}_<run name>, as instrument ${parameters.instrumentName} has named it; this is ${runFolder}`,
    );
  if (partial) return { runFolder, instrumentName: parameters.instrumentName };
  const end = await content(END);
  let ended = false;
  try {
    ended = end !== undefined && parseRunUploaded(end) !== undefined;
  } catch (error) {
    throw wrong(`${errorMessage(error)}; upload with --partial what there is`);
  }
  if (!ended)
    throw wrong(
      `${folder} has no ${END} with content: the run has not ended. Upload what there is with --partial; run the same command again when it has ended`,
    );
  const missing: string[] = [];
  for (const name of expectedBaseCalls(parameters.cycles ?? {}))
    if (
      !(await stat(path.join(folder, name)).then(
        ({ size }) => size > 0,
        () => false,
      ))
    )
      missing.push(name);
  if (missing.length > 0)
    throw wrong(
      `${missing.length} files that RunParameters.json names are missing or empty: ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}. Upload what there is with --partial`,
    );
  return { runFolder, instrumentName: parameters.instrumentName };
}

/** What an upload has done, in a file of its own, so that it can be gone on with after anything. */
class Journal {
  /** Undefined where nothing can be kept: then only what is in the bucket is gone on with. */
  #file: string | undefined;
  readonly #parts = new Map<string, { uploadId: string; parts: Map<number, string> }>();
  readonly #done = new Map<string, string>();

  private constructor(file: string | undefined) {
    this.#file = file;
  }

  static async open(identity: string): Promise<Journal> {
    const journal = new Journal(await keptFile('uploads', identity, 'jsonl').catch(() => undefined));
    const text = journal.#file === undefined ? '' : await readFile(journal.#file, 'utf8').catch(() => '');
    // What a kill has cut short is not to spoil the line behind it.
    if (text !== '' && !text.endsWith('\n')) await journal.#append('\n');
    for (const line of text.split('\n')) {
      try {
        const { version, uploadId, part, etag, done } = JSON.parse(line) as {
          version: string;
          uploadId?: string;
          part?: number;
          etag?: string;
          done?: string;
        };
        if (done !== undefined) journal.#done.set(version, done);
        if (uploadId === undefined) journal.#parts.delete(version);
        else if (part === undefined) journal.#parts.set(version, { uploadId, parts: new Map() });
        else if (journal.#parts.get(version)?.uploadId === uploadId)
          journal.#parts.get(version)!.parts.set(part, etag!);
      } catch {
        // A line that a kill has cut short.
      }
    }
    return journal;
  }

  /** A file as it is now; one that has changed since begins anew. */
  static version({ name, size, mtimeMs }: LocalFile): string {
    return `${name}\n${size}\n${mtimeMs}`;
  }

  begun(file: LocalFile): { uploadId: string; parts: ReadonlyMap<number, string> } | undefined {
    return this.#parts.get(Journal.version(file));
  }
  async begin(file: LocalFile, uploadId: string): Promise<void> {
    const version = Journal.version(file);
    this.#parts.set(version, { uploadId, parts: new Map() });
    await this.#write({ version, uploadId });
  }
  async part(file: LocalFile, uploadId: string, part: number, etag: string): Promise<void> {
    const version = Journal.version(file);
    this.#parts.get(version)?.parts.set(part, etag);
    await this.#write({ version, uploadId, part, etag });
  }
  /** The ETag that S3 has answered when the file was whole, where that is known: with KMS it is no MD5 of the content. */
  done(file: LocalFile): string | undefined {
    return this.#done.get(Journal.version(file));
  }
  async finish(file: LocalFile, etag: string): Promise<void> {
    const version = Journal.version(file);
    this.#parts.delete(version);
    await this.#write({ version, done: etag });
  }
  async forget(file: LocalFile): Promise<void> {
    const version = Journal.version(file);
    if (this.#parts.delete(version)) await this.#write({ version });
  }
  async close(): Promise<void> {
    if (this.#file !== undefined) await rm(this.#file, { force: true });
  }
  async #write(entry: object): Promise<void> {
    await this.#append(`${JSON.stringify(entry)}\n`);
  }
  async #append(text: string): Promise<void> {
    if (this.#file === undefined) return;
    await appendFile(this.#file, text, { mode: 0o600 }).catch((error: Error) => {
      // A full or read-only disk is no reason not to upload.
      this.#file = undefined;
      process.stderr.write(
        `What is uploaded cannot be noted (${error.message}); large files begin anew after a kill\n`,
      );
    });
  }
}

const folderOf = ({ name }: LocalFile): string => path.posix.dirname(name).replace(/^\.$/, '');
const md5 = (bytes: Buffer): Buffer => createHash('md5').update(bytes).digest();
const partBytesOf = (size: number): number => Math.max(PART_BYTES, Math.ceil(size / MOST_PARTS));

/** The ETag that S3 gives a file that is uploaded as it is here. */
async function etagOf({ file, size }: LocalFile): Promise<string> {
  if (size <= PART_BYTES) return `"${md5(await readFile(file)).toString('hex')}"`;
  const sums: Buffer[] = [];
  const partBytes = partBytesOf(size);
  for (let from = 0; from < size; from += partBytes) {
    const hash = createHash('md5');
    for await (const chunk of createReadStream(file, { start: from, end: Math.min(size, from + partBytes) - 1 }))
      hash.update(chunk as Buffer);
    sums.push(hash.digest());
  }
  return `"${md5(Buffer.concat(sums)).toString('hex')}-${sums.length}"`;
}

/** Bytes of a file that must not change while it is uploaded. @throws CliError */
async function read({ file, name, size, mtimeMs }: LocalFile, from: number, length: number): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.alloc(length);
    let bytesRead = 0;
    // Network file systems may give less at once than is asked for.
    for (let came = 1; came > 0 && bytesRead < length; bytesRead += came)
      came = (await handle.read(buffer, bytesRead, length - bytesRead, from + bytesRead)).bytesRead;
    const now = await handle.stat();
    if (bytesRead !== length || now.size !== size || now.mtimeMs !== mtimeMs)
      throw new CliError(`${name} has changed while it was uploaded; run the same command again`);
    return buffer;
  } finally {
    await handle.close();
  }
}

/** Does so many things at once and no more; the first that fails keeps those that wait from being begun. */
class Slots {
  readonly #most: number;
  readonly #under = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  async run(work: () => Promise<void>): Promise<void> {
    while (this.#under.size >= this.#most) await Promise.race(this.#under);
    if (this.#failure !== undefined) throw this.#failure.error;
    const running = work()
      .catch((error: unknown) => void (this.#failure ??= { error }))
      .finally(() => this.#under.delete(running));
    this.#under.add(running);
  }

  async done(): Promise<void> {
    await Promise.all(this.#under);
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/**
 * Uploads a run folder as an instrument does: all files, several at once, large ones in parts, and RunUploaded.json last, when all else
 * was seen to be there. What is there already is left, and what was begun is gone on with, after a kill too.
 * @throws CliError
 */
export async function uploadRunFolder(api: Profile, options: UploadOptions): Promise<UploadReport> {
  const { folder, signal } = options;
  const began = Date.now();
  const { runFolder, instrumentName } = await checkFolder(folder, options.partial);
  const client = polonyClient(api);
  const credentials = (): Promise<{ s3: Schema<'S3Credentials'> }> =>
    asked(
      api,
      client.POST('/v1/storage-connections/{id}/upload-credentials', {
        params: { path: { id: options.storageConnectionId } },
        body: {
          runFolder,
          instrumentName,
          expirationSeconds: SESSION_SECONDS,
          ...(options.parentPath !== undefined && { parentPath: options.parentPath }),
        },
      }),
    );
  const first = (await credentials()).s3;
  const { bucket: Bucket, region } = first;
  const prefix = first.prefix!;
  let held: Schema<'S3Credentials'> | undefined = first;
  // For those who run polony: the SDK's word on coming versions of Node.js is none to who uploads a run.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const endpoint = process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL;
  const s3 = new S3Client({
    region,
    // Asked for anew by the SDK a few minutes before they end.
    credentials: async () => {
      const { accessKeyId, secretAccessKey, sessionToken, expiration } =
        held ?? (await retryWhileUnavailable(credentials, signal)).s3;
      held = undefined;
      return { accessKeyId, secretAccessKey, sessionToken, expiration: new Date(expiration) };
    },
    maxAttempts: 8,
    retryMode: 'adaptive',
    forcePathStyle: endpoint !== undefined && endpoint !== '',
    // S3 compares each body with the MD5 that comes along.
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  const identity = [api.url, options.storageConnectionId, Bucket, prefix, path.resolve(folder)].join('\n');
  const release = await acquireLock('uploads', identity, `uploads ${folder}`);
  const journal = await Journal.open(identity);
  const report: UploadReport = { uri: `s3://${Bucket}/${prefix}`, files: 0, bytes: 0, skipped: 0, ended: false };
  const progress: TransferProgress = { bytes: 0, totalBytes: 0, files: 0, totalFiles: 0 };
  const tell = (bytes: number, files = 0): void => {
    progress.bytes += bytes;
    progress.files += files;
    options.onProgress?.({ ...progress });
  };
  const slots = new Slots(options.concurrency);
  /** What holds content in memory: whole files and parts, so many at once. */
  const sending = pLimit(options.concurrency);

  /** What lies right below a folder of the run in the bucket: size and ETag by name. */
  async function thereIn(below: string): Promise<Map<string, { size: number; etag: string }>> {
    const there = new Map<string, { size: number; etag: string }>();
    const Prefix = `${prefix}${below === '' ? '' : `${below}/`}`;
    for (let token: string | undefined; ;) {
      const page = await s3.send(
        new ListObjectsV2Command({ Bucket, Prefix, Delimiter: '/', ContinuationToken: token }),
        { abortSignal: signal },
      );
      for (const { Key = '', Size = 0, ETag = '' } of page.Contents ?? [])
        there.set(Key.slice(prefix.length), { size: Size, etag: ETag });
      token = page.NextContinuationToken;
      if (token === undefined) return there;
    }
  }

  async function putWhole(file: LocalFile): Promise<void> {
    const { ETag } = await sending(async () => {
      const Body = await read(file, 0, file.size);
      return s3.send(
        new PutObjectCommand({
          Bucket,
          Key: prefix + file.name,
          Body,
          ContentLength: Body.length,
          ContentMD5: md5(Body).toString('base64'),
        }),
        { abortSignal: signal },
      );
    });
    await journal.finish(file, ETag!);
    tell(file.size);
  }

  async function putInParts(file: LocalFile): Promise<void> {
    const Key = prefix + file.name;
    const partBytes = partBytesOf(file.size);
    const count = Math.ceil(file.size / partBytes);
    for (let again = false; ; again = true) {
      const begun = again ? undefined : journal.begun(file);
      let UploadId = begun?.uploadId;
      if (UploadId === undefined) {
        UploadId = (await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }), { abortSignal: signal }))
          .UploadId!;
        await journal.begin(file, UploadId);
      }
      const etags = new Map(begun?.parts);
      let sent = 0;
      const failures: unknown[] = [];
      const part = async (number: number): Promise<void> => {
        // The first that fails keeps those that wait from being sent.
        if (failures.length > 0) return;
        const from = (number - 1) * partBytes;
        const length = Math.min(partBytes, file.size - from);
        try {
          signal?.throwIfAborted();
          if (!etags.has(number)) {
            const Body = await read(file, from, length);
            const { ETag } = await s3.send(
              new UploadPartCommand({
                Bucket,
                Key,
                UploadId,
                PartNumber: number,
                Body,
                ContentLength: length,
                ContentMD5: md5(Body).toString('base64'),
              }),
              { abortSignal: signal },
            );
            etags.set(number, ETag!);
            await journal.part(file, UploadId, number, ETag!);
          }
          sent += length;
          tell(length);
        } catch (error) {
          failures.push(error);
        }
      };
      try {
        await Promise.all(Array.from({ length: count }, (_, at) => sending(() => part(at + 1))));
        if (failures.length > 0) throw failures[0];
        const { ETag } = await s3.send(
          new CompleteMultipartUploadCommand({
            Bucket,
            Key,
            UploadId,
            MultipartUpload: {
              Parts: [...etags]
                .sort(([one], [other]) => one - other)
                .map(([PartNumber, ETag]) => ({ PartNumber, ETag })),
            },
          }),
          { abortSignal: signal },
        );
        await journal.finish(file, ETag!);
        return;
      } catch (error) {
        if (again || !['NoSuchUpload', 'InvalidPart'].includes((error as Error).name)) throw error;
        await journal.forget(file);
        // The answer to what had ended it may have been lost.
        const there = (await thereIn(folderOf(file))).get(file.name);
        if (there?.size === file.size && there.etag === (await etagOf(file))) return;
        // Somebody, or a lifecycle rule, has ended what was begun: once more from its beginning.
        tell(-sent);
        await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId })).catch(() => undefined);
      }
    }
  }

  try {
    for await (const files of walk(folder)) {
      progress.totalFiles += files.length;
      progress.totalBytes += files.reduce((sum, { size }) => sum + size, 0);
    }
    let end: LocalFile | undefined;
    for await (const files of walk(folder)) {
      if (files.length === 0) continue;
      const there = await thereIn(folderOf(files[0]!));
      for (const file of files) {
        signal?.throwIfAborted();
        if (file.name === END) {
          end = file;
          continue;
        }
        await slots.run(async () => {
          const found = there.get(file.name);
          if (found?.size === file.size && (found.etag === journal.done(file) || found.etag === (await etagOf(file)))) {
            report.skipped++;
            tell(file.size, 1);
            return;
          }
          if (file.size > PART_BYTES) await putInParts(file);
          else await putWhole(file);
          report.files++;
          report.bytes += file.size;
          tell(0, 1);
        });
      }
    }
    await slots.done();
    if (options.partial) return report;
    if (end === undefined) throw new CliError(`${END} was there and is not any more; run the same command again`);
    // The end says that all is there: so that is looked at once more, and only then it is written.
    for await (const files of walk(folder)) {
      if (files.length === 0) continue;
      const there = await thereIn(folderOf(files[0]!));
      const lacks = files.find(
        (file) => file.name !== END && (there.get(file.name)?.size !== file.size || file.changedMs >= began),
      );
      if (lacks !== undefined)
        throw new CliError(`${lacks.name} is not in the bucket as it is here; run the same command again`);
    }
    await putWhole(end);
    tell(0, 1);
    report.files++;
    report.bytes += end.size;
    report.ended = true;
    await journal.close();
    return report;
  } catch (error) {
    await slots.done().catch(() => undefined);
    signal?.throwIfAborted();
    const { name, message, code, $metadata } = error as Error & {
      code?: string;
      $metadata?: { httpStatusCode?: number };
    };
    if (
      code !== undefined &&
      /^E[A-Z]+$/.test(code) &&
      $metadata !== undefined &&
      $metadata.httpStatusCode === undefined
    )
      throw new CliError(
        `S3 cannot be reached (${code}); run the same command again, it goes on where it was`,
        EXIT.unavailable,
      );
    if (name === 'AccessDenied')
      throw new CliError(`AWS does not allow the upload (${message}); verify the storage connection`, EXIT.denied);
    throw error;
  } finally {
    release();
    s3.destroy();
  }
}
