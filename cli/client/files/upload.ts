import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  paginateListObjectsV2,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import pLimit from 'p-limit';
import { polonyClient, type Schema } from '../../../client/index.js';
import { RUN_UPLOADED_FILE } from '../../../domain/runs/runUploaded.js';
import { CliError, EXIT } from '../exit.js';
import type { Profile } from '../profiles.js';
import { expectData } from '../requests.js';
import { compareWithRun, type CompleteRun, completeRunIn } from './completeRun.js';
import { addFileBodies, FileBody } from './fileBody.js';
import { folderOf, type LocalFile, openLocalFile, walkRunFolder } from './localFiles.js';
import type { TransferProgress } from './progress.js';
import { acquireLock, retryWhileUnavailable } from './resume.js';
import { checkRunFolder } from './runFolder.js';
import { type MultipartUpload, type UploadedPart, UploadJournal } from './uploadJournal.js';

export interface UploadOptions {
  storageConnectionId: string;
  /** Path of the run folder that the instrument has written. */
  folder: string;
  /** Folders between the connection's prefix and the instrument's folder, for a connection with a `runDepth`. */
  parentPath?: string;
  /** Whether to upload an incomplete run as it is, without RunUploaded.json. */
  partial: boolean;
  /** Whether to upload what symbolic links in the run folder point to. */
  followLinks?: boolean;
  /** Largest number of files, or parts of large files, in transfer at once. */
  concurrency: number;
  onProgress?: (progress: TransferProgress) => void;
  signal?: AbortSignal;
}

/** The options of an upload whose folder was checked. */
interface WalkedOptions extends UploadOptions {
  /** Real path of the folder. */
  root: string;
}

export interface UploadReport {
  uri: string;
  files: number;
  bytes: number;
  /** Files that were already in the bucket. */
  skipped: number;
  /** Whether RunUploaded.json is in the bucket, which marks the run as uploaded. */
  ended: boolean;
  /** The run that was complete before, so that nothing had to be uploaded. */
  completeBefore?: CompleteRun;
}

/** An object in the bucket, as a listing shows it. */
interface UploadedObject {
  size: number;
  etag: string;
}

/** Bytes of a part. S3 takes at most 10,000 parts of at least 5 MiB (S3 User Guide, multipart upload limits). */
const PART_BYTES = 16 * 1024 * 1024;
const MAX_PARTS = 10_000;
/** How often a conditional write is sent that S3 rejects because of another one in progress. */
const MOST_CONFLICTS = 5;
/** Lifetime of the credentials in seconds: every role allows one hour. */
const SESSION_SECONDS = 3600;

const RUN_AGAIN = 'run the same command again';

const md5 = (bytes: Buffer): Buffer => createHash('md5').update(bytes).digest();
const partSizeOf = (size: number): number => Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS));

/**
 * Computes the ETag that S3 gives a file that this program uploads (MD5; of the MD5s of the parts for a large file).
 */
async function computeEtag(local: LocalFile): Promise<string> {
  const { size } = local;
  const handle = await openLocalFile(local);
  try {
    if (size <= PART_BYTES) return `"${md5(await handle.readFile()).toString('hex')}"`;
    const sums: Buffer[] = [];
    const partSize = partSizeOf(size);
    for (let start = 0; start < size; start += partSize) {
      const hash = createHash('md5');
      const end = Math.min(size, start + partSize) - 1;
      const content = handle.createReadStream({ start, end, autoClose: false });
      for await (const chunk of content) hash.update(chunk as Buffer);
      sums.push(hash.digest());
    }
    return `"${md5(Buffer.concat(sums)).toString('hex')}-${sums.length}"`;
  } finally {
    await handle.close();
  }
}

/** Credentials for one run folder, and where they may write. */
class UploadTarget {
  readonly s3: S3Client;
  readonly bucket: string;
  readonly prefix: string;

  private constructor(first: Schema<'S3Credentials'>, renew: () => Promise<Schema<'S3Credentials'>>) {
    this.bucket = first.bucket;
    this.prefix = first.prefix!;
    const endpoint = process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL;
    let unused: Schema<'S3Credentials'> | undefined = first;
    this.s3 = new S3Client({
      region: first.region,
      // The SDK calls this again a few minutes before the credentials expire.
      credentials: async () => {
        const { accessKeyId, secretAccessKey, sessionToken, expiration } = unused ?? (await renew());
        unused = undefined;
        return { accessKeyId, secretAccessKey, sessionToken, expiration: new Date(expiration) };
      },
      maxAttempts: 8,
      retryMode: 'adaptive',
      forcePathStyle: endpoint !== undefined && endpoint !== '',
      // Each request that has content carries a checksum of it, which S3 verifies.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      // With it, the SDK opens a new connection for each request.
      expectContinueHeader: false,
    });
    addFileBodies(this.s3);
  }

  static async open(
    api: Profile,
    { storageConnectionId, parentPath, signal }: UploadOptions,
    names: { runFolder: string; instrumentName: string },
  ): Promise<UploadTarget> {
    const client = polonyClient(api);
    const body = { ...names, expirationSeconds: SESSION_SECONDS, ...(parentPath !== undefined && { parentPath }) };
    const path = '/v1/storage-connections/{id}/upload-credentials';
    const request = async (): Promise<Schema<'S3Credentials'>> =>
      (await expectData(api, client.POST(path, { params: { path: { id: storageConnectionId } }, body }))).s3;
    return new UploadTarget(await request(), () => retryWhileUnavailable(request, signal));
  }
}

/** Uploads one run folder. */
class RunFolderUpload {
  readonly #report: UploadReport;
  readonly #progress: TransferProgress = { bytes: 0, totalBytes: 0, files: 0, totalFiles: 0 };
  /** Requests that send content: small files and parts of large ones. */
  readonly #requests: ReturnType<typeof pLimit>;
  /** The first failure: it keeps files that wait from starting. */
  #failure: { error: unknown } | undefined;
  /** Whether RunUploaded.json was in the bucket when its folder was listed. */
  #isEndUploaded = false;

  constructor(
    private readonly target: UploadTarget,
    private readonly journal: UploadJournal,
    private readonly options: WalkedOptions,
    /** Files that change after this time would not be in the bucket as they are here. */
    private readonly startedMs: number,
  ) {
    this.#report = { uri: `s3://${target.bucket}/${target.prefix}`, files: 0, bytes: 0, skipped: 0, ended: false };
    this.#requests = pLimit(options.concurrency);
  }

  async run(): Promise<UploadReport> {
    // A folder that cannot be uploaded as a whole uploads nothing: the problem shows before the first request.
    await this.#countFiles();
    const last = await this.#uploadAllButLast();
    if (this.options.partial) return this.#report;
    if (last === undefined)
      throw new CliError(`${RUN_UPLOADED_FILE} disappeared from the run folder during the upload; ${RUN_AGAIN}`);
    await this.#checkAllUploaded();
    await this.#putWhole(last, !this.#isEndUploaded);
    this.#advance(0, 1);
    this.#report.files++;
    this.#report.bytes += last.size;
    this.#report.ended = true;
    await this.journal.delete();
    return this.#report;
  }

  async #countFiles(): Promise<void> {
    for await (const files of walkRunFolder(this.options.root, this.options)) {
      this.#progress.totalFiles += files.length;
      this.#progress.totalBytes += files.reduce((sum, { size }) => sum + size, 0);
    }
  }

  #advance(bytes: number, files = 0): void {
    this.#progress.bytes += bytes;
    this.#progress.files += files;
    this.options.onProgress?.({ ...this.#progress });
  }

  /** Uploads every file but RunUploaded.json. @returns RunUploaded.json, when the folder has it */
  async #uploadAllButLast(): Promise<LocalFile | undefined> {
    let last: LocalFile | undefined;
    const files = this.#filesAndObjects();
    const uploadFiles = async (): Promise<void> => {
      try {
        for await (const { file, uploaded } of files) {
          if (this.#failure !== undefined) return;
          this.options.signal?.throwIfAborted();
          if (file.name === RUN_UPLOADED_FILE) {
            last = file;
            this.#isEndUploaded = uploaded !== undefined;
          } else await this.#upload(file, uploaded);
        }
      } catch (error) {
        this.#failure ??= { error };
      }
    };
    // Requests in flight end before the upload reports its failure.
    await Promise.all(Array.from({ length: this.options.concurrency }, uploadFiles));
    if (this.#failure !== undefined) throw this.#failure.error;
    return last;
  }

  /** The files of the folder, one at a time, with the objects that are in their places. */
  async *#filesAndObjects(): AsyncGenerator<{ file: LocalFile; uploaded: UploadedObject | undefined }> {
    for await (const files of walkRunFolder(this.options.root, this.options)) {
      const uploaded = await this.#listFolder(folderOf(files[0]!));
      for (const file of files) yield { file, uploaded: uploaded.get(file.name) };
    }
  }

  async #upload(file: LocalFile, uploaded: UploadedObject | undefined): Promise<void> {
    if (uploaded?.size === file.size && (await this.#isSameContent(file, uploaded.etag))) {
      this.#report.skipped++;
      this.#advance(file.size, 1);
      return;
    }
    const isNew = uploaded === undefined;
    if (file.size > PART_BYTES) await this.#putInParts(file, isNew);
    else await this.#putWhole(file, isNew);
    this.#report.files++;
    this.#report.bytes += file.size;
    this.#advance(0, 1);
  }

  async #isSameContent(file: LocalFile, etag: string): Promise<boolean> {
    return this.journal.isDone(file, etag) || etag === (await computeEtag(file));
  }

  /** Lists what is directly in a folder of the run in the bucket, by name relative to the run folder. */
  async #listFolder(folder: string): Promise<Map<string, UploadedObject>> {
    const { s3, bucket, prefix } = this.target;
    const found = new Map<string, UploadedObject>();
    const pages = paginateListObjectsV2(
      { client: s3 },
      { Bucket: bucket, Prefix: `${prefix}${folder === '' ? '' : `${folder}/`}`, Delimiter: '/' },
      { abortSignal: this.options.signal },
    );
    for await (const { Contents = [] } of pages)
      for (const { Key = '', Size = 0, ETag = '' } of Contents)
        found.set(Key.slice(prefix.length), { size: Size, etag: ETag });
    return found;
  }

  async #putWhole(file: LocalFile, isNew: boolean): Promise<void> {
    const { s3, bucket, prefix } = this.target;
    const etag = await this.#requests(async () => {
      const body = await FileBody.read(file, 0, file.size);
      const input = { Bucket: bucket, Key: prefix + file.name, ...contentOf(body) };
      return this.#create(file, isNew, (condition) =>
        s3.send(new PutObjectCommand({ ...input, ...condition }), { abortSignal: this.options.signal }),
      );
    });
    await this.journal.recordDone(file, etag);
    this.#advance(file.size);
  }

  /**
   * Creates an object. One that was not there when the folder was listed must not be there now: otherwise somebody else
   * uploads to the same run folder, and each would overwrite files of the other. An object that was there is replaced
   * without a condition, because `If-Match` would need s3:GetObject, which credentials for an upload lack (S3 User
   * Guide, conditional writes).
   * @returns its ETag
   * @throws CliError where another client created it
   */
  async #create(
    file: LocalFile,
    isNew: boolean,
    send: (condition: { IfNoneMatch?: string }) => Promise<{ ETag?: string }>,
  ): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await send(isNew ? { IfNoneMatch: '*' } : {})).ETag!;
      } catch (error) {
        const { name } = error as Error;
        if (!isNew) throw error;
        // A store that is like S3 may not know conditions.
        if (name === 'NotImplemented') return (await send({})).ETag!;
        // Another write of the same object was in progress; S3 asks to try again (S3 User Guide).
        if (name === 'ConditionalRequestConflict' && attempt < MOST_CONFLICTS) continue;
        if (name !== 'PreconditionFailed') throw error;
        // The answer to an earlier attempt of this program may have been lost.
        const uploaded = (await this.#listFolder(folderOf(file))).get(file.name);
        if (uploaded?.size === file.size && uploaded.etag === (await computeEtag(file))) return uploaded.etag;
        throw new CliError(
          `Another client wrote ${file.name} in the same run folder of the bucket, with other content. ` +
            `Make sure that only one program uploads this run, then ${RUN_AGAIN}`,
        );
      }
    }
  }

  /**
   * Uploads a large file in parts. When S3 no longer knows an upload that an earlier attempt started (somebody or a
   * lifecycle rule has ended it), the file starts from the beginning, once.
   */
  async #putInParts(file: LocalFile, isNew: boolean): Promise<void> {
    const upload = this.journal.findStarted(file) ?? (await this.#startParts(file));
    const failed = await this.#sendParts(file, upload, isNew);
    if (failed === undefined) return;
    if (!isUploadLost(failed.error)) throw failed.error;
    if (await this.#forgetLost(file, upload, failed.sent)) return;
    const failedAgain = await this.#sendParts(file, await this.#startParts(file), isNew);
    if (failedAgain !== undefined) throw failedAgain.error;
  }

  async #startParts(file: LocalFile): Promise<MultipartUpload> {
    const { s3, bucket, prefix } = this.target;
    const input = { Bucket: bucket, Key: prefix + file.name, ChecksumAlgorithm: 'CRC32' } as const;
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(input), { abortSignal: this.options.signal });
    await this.journal.recordStart(file, UploadId!);
    return { uploadId: UploadId!, parts: new Map() };
  }

  /**
   * Sends the parts that are missing and completes the upload.
   * @returns the failure and the bytes that this attempt counted; undefined when the file is complete
   */
  async #sendParts(
    file: LocalFile,
    { uploadId, parts: uploadedParts }: MultipartUpload,
    isNew: boolean,
  ): Promise<{ error: unknown; sent: number } | undefined> {
    const { s3, bucket, prefix } = this.target;
    const sentParts = new Map(uploadedParts);
    const partSize = partSizeOf(file.size);
    let sent = 0;
    let failure: { error: unknown } | undefined;
    const sendPart = async (part: number): Promise<void> => {
      if (failure !== undefined) return;
      try {
        this.options.signal?.throwIfAborted();
        const start = (part - 1) * partSize;
        const length = Math.min(partSize, file.size - start);
        if (!sentParts.has(part)) sentParts.set(part, await this.#putPart(file, uploadId, part, start, length));
        sent += length;
        this.#advance(length);
      } catch (error) {
        failure ??= { error };
      }
    };
    const count = Math.ceil(file.size / partSize);
    await Promise.all(Array.from({ length: count }, (_, at) => this.#requests(() => sendPart(at + 1))));
    try {
      if (failure !== undefined) throw failure.error;
      const parts = [...sentParts].sort(([one], [other]) => one - other);
      const input = {
        Bucket: bucket,
        Key: prefix + file.name,
        UploadId: uploadId,
        MultipartUpload: {
          Parts: parts.map(([PartNumber, { etag, crc32 }]) => ({ PartNumber, ETag: etag, ChecksumCRC32: crc32 })),
        },
      };
      const etag = await this.#create(file, isNew, (condition) =>
        s3.send(new CompleteMultipartUploadCommand({ ...input, ...condition }), { abortSignal: this.options.signal }),
      );
      await this.journal.recordDone(file, etag);
      return undefined;
    } catch (error) {
      return { error, sent };
    }
  }

  async #putPart(
    file: LocalFile,
    uploadId: string,
    part: number,
    start: number,
    length: number,
  ): Promise<UploadedPart> {
    const { s3, bucket, prefix } = this.target;
    const body = await FileBody.read(file, start, length);
    const { ETag } = await s3.send(
      new UploadPartCommand({
        Bucket: bucket,
        Key: prefix + file.name,
        UploadId: uploadId,
        PartNumber: part,
        ...contentOf(body),
      }),
      { abortSignal: this.options.signal },
    );
    const uploaded = { etag: ETag!, crc32: body.crc32 };
    await this.journal.recordPart(file, uploadId, part, uploaded);
    return uploaded;
  }

  /** Forgets an upload that S3 no longer knows. @returns whether the file is complete in the bucket all the same */
  async #forgetLost(file: LocalFile, { uploadId }: MultipartUpload, sent: number): Promise<boolean> {
    const { s3, bucket, prefix } = this.target;
    await this.journal.forgetStart(file);
    // The upload may have ended by a completion whose answer was lost.
    const uploaded = (await this.#listFolder(folderOf(file))).get(file.name);
    if (uploaded?.size === file.size && uploaded.etag === (await computeEtag(file))) return true;
    this.#advance(-sent);
    const input = { Bucket: bucket, Key: prefix + file.name, UploadId: uploadId };
    await s3.send(new AbortMultipartUploadCommand(input)).catch(() => undefined);
    return false;
  }

  /** RunUploaded.json says that everything is in the bucket, so this looks once more before it is written. */
  async #checkAllUploaded(): Promise<void> {
    for await (const files of walkRunFolder(this.options.root, this.options)) {
      const uploaded = await this.#listFolder(folderOf(files[0]!));
      const different = files.find(
        ({ name, size, changedMs }) =>
          name !== RUN_UPLOADED_FILE && (uploaded.get(name)?.size !== size || changedMs >= this.startedMs),
      );
      if (different !== undefined)
        throw new CliError(`${different.name} differs from its object in the bucket; ${RUN_AGAIN}`);
    }
  }
}

/** The content of a request, which S3 verifies by its checksum. */
function contentOf(body: FileBody): { Body: Readable; ContentLength: number; ChecksumCRC32: string } {
  // The types of the SDK know no bodies but its own; addFileBodies sends this one.
  return { Body: body as unknown as Readable, ContentLength: body.length, ChecksumCRC32: body.crc32 };
}

/** Whether S3 no longer knows a multipart upload or one of its parts. */
function isUploadLost(error: unknown): boolean {
  return ['NoSuchUpload', 'InvalidPart'].includes((error as Error).name);
}

/** What a failed upload tells the user. */
function explainUploadError(error: unknown): unknown {
  const { name, message, code, hostname, $metadata } = error as Error & {
    code?: string;
    hostname?: string;
    $metadata?: { httpStatusCode?: number };
  };
  const isNetworkError = code !== undefined && /^E[A-Z]+$/.test(code);
  if (isNetworkError && $metadata !== undefined && $metadata.httpStatusCode === undefined)
    return new CliError(
      `S3 cannot be reached (${[code, hostname].filter(Boolean).join(' ')}). Check the network, and AWS_ENDPOINT_URL if ` +
        `the bucket is not on AWS. To resume, ${RUN_AGAIN}`,
      EXIT.unavailable,
    );
  if (name === 'AccessDenied')
    return new CliError(`AWS denies the upload (${message}); verify the storage connection`, EXIT.denied);
  return error;
}

/** Opens the target of an upload. polony gives no credentials for a run that is complete: then there is only a report. */
async function openUnlessComplete(
  api: Profile,
  options: WalkedOptions,
  names: { runFolder: string; instrumentName: string },
): Promise<UploadTarget | UploadReport> {
  try {
    return await UploadTarget.open(api, options, names);
  } catch (error) {
    const runId = error instanceof CliError && completeRunIn(error);
    if (!runId) throw error;
    const completeBefore = await compareWithRun(api, runId, options);
    return { uri: completeBefore.uri, files: 0, bytes: 0, skipped: completeBefore.files, ended: true, completeBefore };
  }
}

/** What makes an upload different from every other one; see {@link UploadJournal.open}. */
export function uploadIdentity(
  { url }: Pick<Profile, 'url'>,
  {
    storageConnectionId,
    bucket,
    prefix,
    folder,
  }: Pick<UploadOptions, 'storageConnectionId' | 'folder'> & { bucket: string; prefix: string },
): string {
  return [url, storageConnectionId, bucket, prefix, path.resolve(folder)].join('\n');
}

/**
 * Uploads a run folder as an instrument does: several files at once, large files in parts, and RunUploaded.json last,
 * when everything else is in the bucket. Files that are already there are skipped. An interrupted upload resumes, also
 * after a kill.
 * @throws CliError
 */
export async function uploadRunFolder(api: Profile, options: UploadOptions): Promise<UploadReport> {
  const { folder, signal } = options;
  const startedMs = Date.now();
  const { root, names } = await checkRunFolder(folder, options);
  const opened = await openUnlessComplete(api, { ...options, root }, names);
  if (!(opened instanceof UploadTarget)) return opened;
  const target = opened;
  const { bucket, prefix } = target;
  const identity = uploadIdentity(api, { ...options, bucket, prefix });
  const release = await acquireLock('uploads', identity, `uploads ${folder}`);
  let journal: UploadJournal | undefined;
  try {
    journal = await UploadJournal.open(identity);
    return await new RunFolderUpload(target, journal, { ...options, root }, startedMs).run();
  } catch (error) {
    signal?.throwIfAborted();
    throw explainUploadError(error);
  } finally {
    await journal?.close();
    release();
    target.s3.destroy();
  }
}
