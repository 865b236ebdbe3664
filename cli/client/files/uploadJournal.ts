import { type FileHandle, open, rm } from 'node:fs/promises';
import type { LocalFile } from './localFiles.js';
import { FingerprintSet } from './fingerprintSet.js';
import { transferFile } from './resume.js';

/** What S3 has of a part. */
export interface UploadedPart {
  etag: string;
  /** In base64. */
  crc32: string;
}

/** A multipart upload in progress, with the parts that S3 has by their numbers. */
export interface MultipartUpload {
  uploadId: string;
  parts: ReadonlyMap<number, UploadedPart>;
}

/** One line of the journal. Without `uploadId` the version has no upload in progress. */
interface JournalEntry {
  version: string;
  uploadId?: string;
  part?: number;
  etag?: string;
  crc32?: string;
  /** ETag of the whole object. */
  done?: string;
}

/** Records what an upload has done in a file (JSON Lines), so that the upload can resume after a kill. */
export class UploadJournal {
  /** Undefined when no file can be written: then an upload resumes only from what is in the bucket. */
  #file: FileHandle | undefined;
  #unwritten = '';
  /** Writes one after the other; a file handle takes no two writes at once. */
  #writing: Promise<void> | undefined;
  readonly #started = new Map<string, { uploadId: string; parts: Map<number, UploadedPart> }>();
  /** A run may have a million files, so their versions and ETags are not kept as texts. */
  readonly #done = new FingerprintSet();

  private constructor(private readonly path: string | undefined) {}

  /** Opens the journal of an upload and reads what earlier attempts have recorded. */
  static async open(identity: string): Promise<UploadJournal> {
    const journal = new UploadJournal(await transferFile('uploads', identity, 'jsonl').catch(() => undefined));
    await journal.#open();
    return journal;
  }

  async #open(): Promise<void> {
    if (this.path === undefined) return;
    let file: FileHandle;
    try {
      file = await open(this.path, 'a+', 0o600);
    } catch (error) {
      return this.#giveUp(error);
    }
    for await (const line of file.readLines({ start: 0, autoClose: false })) this.#restore(line);
    this.#file = file;
    // A kill may have cut the last line short; it must not damage the next one.
    await this.#append('\n');
  }

  #restore(line: string): void {
    let entry: JournalEntry;
    try {
      entry = JSON.parse(line) as JournalEntry;
    } catch {
      // A line that a kill has cut short.
      return;
    }
    const { version, uploadId, part, etag, crc32, done } = entry;
    if (done !== undefined) this.#done.add(doneText(version, done));
    if (uploadId === undefined) this.#started.delete(version);
    else if (part === undefined) this.#started.set(version, { uploadId, parts: new Map() });
    else {
      const started = this.#started.get(version);
      if (started?.uploadId === uploadId) started.parts.set(part, { etag: etag!, crc32: crc32! });
    }
  }

  /** A file as it is now: a changed file starts from the beginning. */
  static versionOf({ name, size, mtimeMs }: LocalFile): string {
    return `${name}\n${size}\n${mtimeMs}`;
  }

  /** The multipart upload of a file that an earlier attempt has started. */
  findStarted(file: LocalFile): MultipartUpload | undefined {
    return this.#started.get(UploadJournal.versionOf(file));
  }

  /** Records that a multipart upload was created. */
  async recordStart(file: LocalFile, uploadId: string): Promise<void> {
    const version = UploadJournal.versionOf(file);
    this.#started.set(version, { uploadId, parts: new Map() });
    await this.#write({ version, uploadId });
  }

  /** Records that a part was uploaded. */
  async recordPart(file: LocalFile, uploadId: string, part: number, uploaded: UploadedPart): Promise<void> {
    const version = UploadJournal.versionOf(file);
    this.#started.get(version)?.parts.set(part, uploaded);
    await this.#write({ version, uploadId, part, ...uploaded });
  }

  /**
   * Whether S3 answered with this ETag when the file was complete. With KMS encryption it is not an MD5 of the content.
   */
  isDone(file: LocalFile, etag: string): boolean {
    return this.#done.has(doneText(UploadJournal.versionOf(file), etag));
  }

  /** Records that a file is complete in the bucket. */
  async recordDone(file: LocalFile, etag: string): Promise<void> {
    const version = UploadJournal.versionOf(file);
    this.#started.delete(version);
    await this.#write({ version, done: etag });
  }

  /** Forgets the multipart upload of a file: S3 no longer knows it. */
  async forgetStart(file: LocalFile): Promise<void> {
    const version = UploadJournal.versionOf(file);
    if (this.#started.delete(version)) await this.#write({ version });
  }

  /** Deletes the journal: the run is complete in the bucket. */
  async delete(): Promise<void> {
    await this.close();
    if (this.path !== undefined) await rm(this.path, { force: true });
  }

  /** Ends the work with the journal, and keeps it for the next attempt. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #write(entry: JournalEntry): Promise<void> {
    await this.#append(`${JSON.stringify(entry)}\n`);
  }

  async #append(text: string): Promise<void> {
    this.#unwritten += text;
    this.#writing ??= this.#writeAll();
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#unwritten !== '') {
        const text = this.#unwritten;
        this.#unwritten = '';
        await this.#file?.appendFile(text);
      }
    } catch (error) {
      this.#giveUp(error);
    } finally {
      this.#writing = undefined;
    }
  }

  /** A full or read-only disk must not stop the upload. */
  #giveUp(error: unknown): void {
    const file = this.#file;
    this.#file = undefined;
    void file?.close().catch(() => undefined);
    process.stderr.write(
      `The upload cannot record its progress (${(error as Error).message}). ` +
        'If it is interrupted, large files start from the beginning\n',
    );
  }
}

const doneText = (version: string, etag: string): string => `${version}\n${etag}`;
