import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, readdir, realpath, rename, rm, utimes } from 'node:fs/promises';
import path from 'node:path';
import type { Schema } from '../../../client/index.js';
import { CliError } from '../exit.js';
import { ContentVerifier, type ExpectedContent } from './contentVerifier.js';
import { type ObjectAnswer, requestObject } from './objectRequest.js';

/** How often a file is tried again after a broken connection, and after content that differs from the object. */
const RETRIES = { connection: 5, content: 1 };
/** Longest name of a file or folder that common file systems take besides our ending, in bytes. */
const MAX_NAME_BYTES = 200;

/** A file in polony's listing. */
export type RemoteFile = Schema<'File'>;

/** A failure that concerns one file and does not stop the download of others. */
export class FileError extends Error {
  override readonly name = 'FileError';
  /** @param retries how often the file may be tried again */
  constructor(
    message: string,
    readonly retries = 0,
  ) {
    super(message);
  }
}

/** Names of unfinished downloads: the name of the file, then the version of the object. */
const PART_NAME = /^\.(.*)\.[0-9a-f]{12}\.part(\.json)?$/s;
const ADVICE_OTHER_NAME = 'download it with the AWS CLI under another name';

/**
 * Where the object of a key goes below a folder. A key may hold anything, so this rejects what would lead out of the
 * folder or cannot name a file.
 * @throws FileError
 */
export function localPathFor(to: string, key: string): string {
  const parts = key.split('/');
  const isInvalid = (part: string): boolean =>
    part === '' ||
    part === '.' ||
    part === '..' ||
    part.includes('\0') ||
    (process.platform === 'win32' && /[\\:*?"<>|]|[. ]$/.test(part));
  if (parts.some(isInvalid)) throw new FileError(`its key is not a valid file name here; ${ADVICE_OTHER_NAME}`);
  if (PART_NAME.test(parts.at(-1)!))
    throw new FileError(`its name is reserved for unfinished downloads; ${ADVICE_OTHER_NAME}`);
  if (parts.some((part) => Buffer.byteLength(part) > MAX_NAME_BYTES))
    throw new FileError(`a part of its name is longer than ${MAX_NAME_BYTES} bytes; ${ADVICE_OTHER_NAME}`);
  const target = path.resolve(to, ...parts);
  if (!target.startsWith(path.join(path.resolve(to), path.sep)))
    throw new FileError('its name leads out of the target folder');
  return target;
}

/** Makes the folders of a file one by one, and never through a link, which could lead anywhere. @throws FileError */
export async function makeFolders(to: string, target: string): Promise<void> {
  const root = path.resolve(to);
  const parts = path.relative(root, path.dirname(target)).split(path.sep);
  let folder = root;
  for (const part of parts.filter((each) => each !== '')) {
    folder = path.join(folder, part);
    let found = await lstat(folder).catch(() => undefined);
    if (found === undefined) {
      await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
      found = await lstat(folder);
    }
    if (found.isSymbolicLink()) throw new FileError(`${folder} is a link, and polony does not write through links`);
    if (!found.isDirectory()) throw new FileError(`${folder} is a file, so nothing can be written below it`);
  }
}

/** Whether a file is already here, complete: a complete file has the size and the time of its object. */
export async function isDownloaded(target: string, file: RemoteFile): Promise<boolean> {
  const found = await lstat(target).catch(() => undefined);
  if (found?.isFile() !== true || found.size !== Number(file.size)) return false;
  if (Math.abs(found.mtimeMs - Date.parse(file.lastModified)) >= 2000) return false;
  // On a file system that ignores case, the file may belong to another object.
  return path.basename(await realpath(target)) === path.basename(target);
}

/** Most folders whose unfinished downloads are known at once. A listing goes through one after the other. */
const MAX_FOLDERS = 100;

/**
 * What earlier attempts left of other versions of files. Each folder is read once, since it may have a million files; no
 * other process downloads into it.
 */
export class OldParts {
  /** Names by the name of the file to which they belong, by folder. */
  readonly #folders = new Map<string, Promise<ReadonlyMap<string, string[]>>>();

  /** Removes those of a file. */
  async remove(target: string): Promise<void> {
    const folder = path.dirname(target);
    if (!this.#folders.has(folder)) {
      if (this.#folders.size >= MAX_FOLDERS) this.#folders.delete(this.#folders.keys().next().value!);
      this.#folders.set(folder, findParts(folder));
    }
    const found = await this.#folders.get(folder)!;
    for (const name of found.get(path.basename(target)) ?? []) await rm(path.join(folder, name), { force: true });
  }
}

async function findParts(folder: string): Promise<ReadonlyMap<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const name of await readdir(folder)) {
    const of = PART_NAME.exec(name)?.[1];
    if (of !== undefined) found.set(of, [...(found.get(of) ?? []), name]);
  }
  return found;
}

async function writeAll(file: FileHandle, content: Buffer): Promise<void> {
  const { bytesWritten } = await file.write(content);
  // A full disk takes a part, and refuses the next write.
  if (bytesWritten < content.length) await file.appendFile(content.subarray(bytesWritten));
}

/** Opens a file for writing, and never what a link points to. Only its owner can read it: it may hold data of patients. */
function openForWriting(file: string, flags: number): ReturnType<typeof open> {
  return open(file, flags | constants.O_WRONLY | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o600);
}

/** Makes a new file, in place of what has its name. */
async function openNew(file: string): Promise<FileHandle> {
  return openForWriting(file, constants.O_EXCL).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    await rm(file, { force: true });
    return openForWriting(file, constants.O_EXCL);
  });
}

function readExpectedContent(headers: ObjectAnswer['headers']): ExpectedContent {
  const isChecksum = (name: string): boolean => /^x-amz-checksum-(sha256|sha1|crc64nvme|crc32c|crc32)$/.test(name);
  const checksums = Object.entries(headers).filter(([name, value]) => isChecksum(name) && typeof value === 'string');
  return {
    etag: headers.etag ?? null,
    encryption: headers['x-amz-server-side-encryption'] ?? null,
    checksums: Object.fromEntries(checksums) as Record<string, string>,
  };
}

/** The reason of a network failure: its code where it has one. */
function networkReason(error: unknown): string {
  const { cause, code, message } = error as Error & { cause?: { code?: string; message?: string }; code?: string };
  // If a host has several addresses and none of them answers, the error has a code only.
  return cause?.code ?? cause?.message ?? (message || (code ?? String(error)));
}

/** Turns an error answer of S3 into a FileError. */
async function refusalOf(response: ObjectAnswer): Promise<FileError> {
  const { status } = response;
  const code = /<Code>([A-Za-z]+)<\/Code>/.exec(await response.text())?.[1];
  if (status === 404) return new FileError('the object no longer exists');
  if (code === 'InvalidObjectState') return new FileError('it is archived; restore it first');
  // A new try gets a new URL, which helps when the old one has expired. A denial stays a denial.
  const retries = code === 'AccessDenied' ? RETRIES.content : RETRIES.connection;
  return new FileError(`S3 answered ${status}${code === undefined ? '' : ` ${code}`}`, retries);
}

/** Downloads one object into a file, resuming what an earlier attempt has received. */
export class FileDownload {
  readonly #size: number;
  /** Received content, beside the target until it is complete. */
  #partFile = '';
  /** What S3 said about the content when the part began. */
  #notesFile = '';
  #expected: ExpectedContent | undefined;
  #received = 0;

  /** @param count receives the bytes as they arrive; negative when a failed attempt starts over */
  constructor(
    private readonly file: RemoteFile,
    private readonly target: string,
    private readonly signal: AbortSignal | undefined,
    private readonly count: (bytes: number) => void,
  ) {
    this.#size = Number(file.size);
  }

  /** Downloads from a presigned URL, verifies the content and gives the file its name. @throws FileError */
  async run(url: string): Promise<void> {
    await this.#findPart();
    const start = this.#received > 0 && this.#received < this.#size ? this.#received : 0;
    const response = await this.#request(url, start);
    const isResumed = await this.#checkAnswer(response, start);
    const expected = isResumed ? this.#expected! : readExpectedContent(response.headers);
    const content = new ContentVerifier(expected);
    try {
      if (isResumed) await this.#readReceived(content, start);
      else await this.#writeNotes(expected);
      await this.#receive(response, content, isResumed);
    } catch (error) {
      response.destroy();
      this.count(-content.bytes);
      throw this.#explain(error);
    }
    await this.#verify(content);
    await this.#finish();
  }

  async #findPart(): Promise<void> {
    const { uri, size, lastModified } = this.file;
    // Another version of the object has another part file.
    const version = createHash('sha256').update(`${uri}\n${size}\n${lastModified}`).digest('hex').slice(0, 12);
    const name = `.${path.basename(this.target)}.${version}.part`;
    this.#partFile = path.join(path.dirname(this.target), name);
    this.#notesFile = `${this.#partFile}.json`;
    this.#expected = await this.#readNotes();
    this.#received = 0;
    // Without an ETag, S3 cannot say whether the rest belongs to what is here.
    if (this.#expected?.etag == null) return;
    const found = await lstat(this.#partFile).catch(() => undefined);
    if (found?.isFile() === true) this.#received = found.size;
  }

  async #readNotes(): Promise<ExpectedContent | undefined> {
    try {
      const handle = await open(this.#notesFile, 'r');
      try {
        return JSON.parse(await handle.readFile('utf8')) as ExpectedContent;
      } finally {
        await handle.close();
      }
    } catch {
      return undefined;
    }
  }

  async #request(url: string, start: number): Promise<ObjectAnswer> {
    const headers = {
      'x-amz-checksum-mode': 'ENABLED',
      'accept-encoding': 'identity',
      ...(start > 0 && { range: `bytes=${start}-`, 'if-range': this.#expected!.etag! }),
    };
    try {
      return await requestObject(url, headers, this.signal);
    } catch (error) {
      this.signal?.throwIfAborted();
      throw new FileError(`the storage cannot be reached (${networkReason(error)})`, RETRIES.connection);
    }
  }

  /** @returns whether the answer continues the part that is here */
  async #checkAnswer(response: ObjectAnswer, start: number): Promise<boolean> {
    const { headers, status } = response;
    if (status === 200) return false;
    if (status !== 206) throw await refusalOf(response);
    const range = `bytes ${start}-${this.#size - 1}/${this.#size}`;
    if (start > 0 && headers['content-range'] === range && headers.etag === this.#expected!.etag) return true;
    response.destroy();
    await this.#removePart();
    throw new FileError('S3 answered with another range than requested', RETRIES.connection);
  }

  async #readReceived(content: ContentVerifier, length: number): Promise<void> {
    for await (const chunk of createReadStream(this.#partFile, { end: length - 1 })) content.add(chunk as Buffer);
    this.count(content.bytes);
  }

  async #writeNotes(expected: ExpectedContent): Promise<void> {
    const notes = await openNew(this.#notesFile);
    await notes.writeFile(JSON.stringify(expected)).finally(() => notes.close());
  }

  async #receive(response: ObjectAnswer, content: ContentVerifier, isResumed: boolean): Promise<void> {
    const part = await (isResumed ? openForWriting(this.#partFile, constants.O_APPEND) : openNew(this.#partFile));
    try {
      for await (const batch of response.batches()) {
        content.add(batch);
        this.count(batch.length);
        // Stop before excess data fills the disk.
        if (content.bytes > this.#size) throw new FileError('S3 sends more bytes than it listed', RETRIES.content);
        await writeAll(part, batch);
      }
      // Before it gets its name, so that a power cut leaves no name without content.
      await part.sync();
    } finally {
      await part.close();
    }
    const { size: written } = await lstat(this.#partFile);
    if (written === content.bytes) return;
    await this.#removePart();
    throw new FileError('another process writes the same file', RETRIES.content);
  }

  #explain(error: unknown): unknown {
    this.signal?.throwIfAborted();
    if (error instanceof FileError) return error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      return new CliError('The disk is full. Make room, then run the same command again to resume');
    return new FileError(`the connection broke (${networkReason(error)})`, RETRIES.connection);
  }

  async #verify(content: ContentVerifier): Promise<void> {
    const isShort = content.bytes < this.#size;
    const problem = isShort ? `only ${content.bytes} of ${this.#size} bytes arrived` : await content.findMismatch();
    if (problem === undefined) return;
    if (!isShort) await this.#removePart();
    this.count(-content.bytes);
    throw new FileError(problem, isShort ? RETRIES.connection : RETRIES.content);
  }

  /** Gives a complete file its name. An existing file is replaced only when it is an older version of the same file. */
  async #finish(): Promise<void> {
    const existing = await lstat(this.target).catch(() => undefined);
    if (existing !== undefined && !existing.isFile())
      throw new FileError(`${this.target} already exists and is not a file`);
    if (existing !== undefined && path.basename(await realpath(this.target)) !== path.basename(this.target))
      throw new FileError('another file has the same name except for case, and this file system ignores case');
    const time = new Date(this.file.lastModified);
    // An earlier version may have begun the part for all to read.
    await chmod(this.#partFile, 0o600);
    await utimes(this.#partFile, time, time);
    await rename(this.#partFile, this.target);
    await rm(this.#notesFile, { force: true });
  }

  async #removePart(): Promise<void> {
    await Promise.all([rm(this.#partFile, { force: true }), rm(this.#notesFile, { force: true })]);
  }
}
