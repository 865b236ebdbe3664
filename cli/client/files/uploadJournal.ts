import { appendFile, readFile, rm } from 'node:fs/promises';
import type { LocalFile } from './localFiles.js';
import { transferFile } from './resume.js';

/** A multipart upload in progress: ETags of the uploaded parts by part number. */
export interface MultipartUpload {
  uploadId: string;
  parts: ReadonlyMap<number, string>;
}

/** One line of the journal. Without `uploadId` the version has no upload in progress. */
interface JournalEntry {
  version: string;
  uploadId?: string;
  part?: number;
  etag?: string;
  /** ETag of the whole object. */
  done?: string;
}

/** Records what an upload has done in a file (JSON Lines), so that the upload can resume after a kill. */
export class UploadJournal {
  /** Undefined when no file can be written: then an upload resumes only from what is in the bucket. */
  #file: string | undefined;
  readonly #started = new Map<string, { uploadId: string; parts: Map<number, string> }>();
  readonly #done = new Map<string, string>();

  private constructor(file: string | undefined) {
    this.#file = file;
  }

  /** Opens the journal of an upload and reads what earlier attempts have recorded. */
  static async open(identity: string): Promise<UploadJournal> {
    const journal = new UploadJournal(await transferFile('uploads', identity, 'jsonl').catch(() => undefined));
    const text = journal.#file === undefined ? '' : await readFile(journal.#file, 'utf8').catch(() => '');
    // A kill may have cut the last line short; it must not damage the next one.
    if (text !== '' && !text.endsWith('\n')) await journal.#append('\n');
    for (const line of text.split('\n')) journal.#restore(line);
    return journal;
  }

  #restore(line: string): void {
    let entry: JournalEntry;
    try {
      entry = JSON.parse(line) as JournalEntry;
    } catch {
      // A line that a kill has cut short.
      return;
    }
    const { version, uploadId, part, etag, done } = entry;
    if (done !== undefined) this.#done.set(version, done);
    if (uploadId === undefined) this.#started.delete(version);
    else if (part === undefined) this.#started.set(version, { uploadId, parts: new Map() });
    else {
      const started = this.#started.get(version);
      if (started?.uploadId === uploadId) started.parts.set(part, etag!);
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
  async recordPart(file: LocalFile, uploadId: string, part: number, etag: string): Promise<void> {
    const version = UploadJournal.versionOf(file);
    this.#started.get(version)?.parts.set(part, etag);
    await this.#write({ version, uploadId, part, etag });
  }

  /** The ETag that S3 answered when the file was complete. With KMS encryption it is not an MD5 of the content. */
  findDone(file: LocalFile): string | undefined {
    return this.#done.get(UploadJournal.versionOf(file));
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
    if (this.#file !== undefined) await rm(this.#file, { force: true });
  }

  async #write(entry: JournalEntry): Promise<void> {
    await this.#append(`${JSON.stringify(entry)}\n`);
  }

  async #append(text: string): Promise<void> {
    if (this.#file === undefined) return;
    try {
      await appendFile(this.#file, text, { mode: 0o600 });
    } catch (error) {
      // A full or read-only disk must not stop the upload.
      this.#file = undefined;
      process.stderr.write(
        `The upload cannot record its progress (${(error as Error).message}). ` +
          'If it is interrupted, large files start from the beginning\n',
      );
    }
  }
}
