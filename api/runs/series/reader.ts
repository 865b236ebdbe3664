import type { FastifyBaseLogger } from 'fastify';
import { type ReadFile, readFile } from '../../../aws/files.js';
import type { AwsSessions } from '../../../aws/sessions.js';
import { errorMessage, loggableError } from '../../../domain/errors.js';
import type { ParsedSeries, SeriesContent, SeriesFile } from '../../../domain/runs/seriesFiles.js';
import { TaskTooLongError, threads, ThreadsBusyError } from '../../../threads/pool.js';
import type { Place } from '../../files/places.js';
import { ARCHIVED, explainUnreadable } from '../../files/unreadable.js';
import { Slots } from '../../slots.js';

/** What a file came to. `not_shown`: polony or the scopes of the caller do not allow it. */
export const FILE_STATES = [
  'read',
  'missing',
  'archived',
  'denied',
  'damaged',
  'too_large',
  'not_shown',
  'unavailable',
] as const;
export type FileState = (typeof FILE_STATES)[number];

/** Which file was read, or why it was not. */
export interface FileReport {
  name: SeriesFile;
  /** Null where polony did not look for it. */
  uri: string | null;
  state: FileState;
  /** What happened, why, and what to do. Empty where the file was read. */
  message: string;
  /** Bytes. */
  size: number | null;
  lastModified: string | null;
}

/** A file that was read, or not. */
export interface FileResult<File extends SeriesFile> {
  report: FileReport;
  content: SeriesContent[File] | null;
}

/**
 * AvitiRunStats.json has some megabytes. RunStats.json has figures for each sample, read and cycle: about 150 kilobytes
 * a sample.
 */
const MOST_BYTES = 64 * 1024 * 1024;
/** How long a thread may parse a file, in milliseconds. */
const PARSE_MS = 20_000;
/** How many files a process reads at once, so that their bytes fit in its memory. */
const AT_ONCE = 2;
const MOST_WAITING = 50;
/** What a process keeps of parsed files. */
const MOST_KEPT = { files: 200, characters: 32_000_000 };

interface Kept {
  etag: string;
  parsed: ParsedSeries;
  characters: number;
}

/** Reads and parses the files of series. Asks S3 each time, and keeps what a file with the same ETag came to. */
export class SeriesReader {
  readonly #slots = new Slots(AT_ONCE, MOST_WAITING, 'reading too many files');
  /** The one that was used last comes last. */
  readonly #kept = new Map<string, Kept>();
  #characters = 0;

  constructor(private readonly aws: AwsSessions) {}

  /**
   * Reads a file. Whatever is wrong with it, the result says so.
   * @param paths where it may be, below the root of the place
   */
  async read<File extends SeriesFile>(
    name: File,
    { place, paths, log }: { place: Place; paths: readonly string[]; log: FastifyBaseLogger },
  ): Promise<FileResult<File>> {
    let result: FileResult<File> | undefined;
    for (const path of paths) {
      result = await this.#slots.use(() => this.#readOne(name, place, `${place.root}${path}`, log));
      if (result.report.state !== 'missing') break;
    }
    return (
      result ?? { report: { ...nothingOf(name), state: 'missing', message: 'It has no known place' }, content: null }
    );
  }

  async #readOne<File extends SeriesFile>(
    name: File,
    place: Place,
    key: string,
    log: FastifyBaseLogger,
  ): Promise<FileResult<File>> {
    const { storage, bucket } = place;
    const report: FileReport = { ...nothingOf(name), uri: `s3://${bucket}/${key}` };
    const fail = (state: FileState, message: string, file?: ReadFile): FileResult<File> => ({
      report: { ...report, state, message, ...(file && factsOf(file)) },
      content: null,
    });
    const id = `${storage.provider_id}/${name}/${bucket}/${key}`;
    const kept = this.#kept.get(id);
    let file: ReadFile | undefined;
    try {
      file = await this.aws.use(storage.provider_id, () =>
        readFile(this.aws.s3(storage.provider_id, storage.region), bucket, key, {
          maxBytes: MOST_BYTES,
          ...(kept !== undefined && { knownEtag: kept.etag }),
        }),
      );
    } catch (error) {
      const { state, message } = explainUnreadable(error, place, key);
      if (state === 'unavailable') log.warn({ error: loggableError(error) }, 'Reading a file of a run failed');
      return fail(state, message);
    }
    if (file === undefined) return fail('missing', `There is no ${name} in ${report.uri!.slice(0, -name.length)}`);
    if (file.state === 'archived') return fail('archived', ARCHIVED, file);
    if (file.state === 'too_large')
      return fail('too_large', `It has ${file.size} bytes, and polony reads at most ${MOST_BYTES}. Download it`, file);
    let parsed: ParsedSeries;
    if (file.state === 'unchanged') {
      parsed = kept!.parsed;
      this.#keep(id, kept!);
    } else {
      try {
        parsed = await threads.run('parseSeriesFile', [name, file.bytes], PARSE_MS);
      } catch (error) {
        if (error instanceof TaskTooLongError)
          return fail('too_large', `polony could not parse it: ${errorMessage(error)}. Download it`, file);
        if (error instanceof ThreadsBusyError)
          return fail('unavailable', 'polony is parsing too many files at the moment. Try again later', file);
        throw error;
      }
      const characters = 'problem' in parsed ? parsed.problem.length : parsed.characters;
      if (file.etag !== undefined) this.#keep(id, { etag: file.etag, parsed, characters });
    }
    if ('problem' in parsed)
      return fail('damaged', `polony cannot parse it: ${parsed.problem}. Check the file, or upload it again`, file);
    return {
      report: { ...report, state: 'read', message: '', ...factsOf(file) },
      content: parsed.content as SeriesContent[File],
    };
  }

  #keep(id: string, kept: Kept): void {
    this.#drop(id);
    this.#kept.set(id, kept);
    this.#characters += kept.characters;
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MOST_KEPT.files && this.#characters <= MOST_KEPT.characters) break;
      this.#drop(oldest);
    }
  }

  #drop(id: string): void {
    this.#characters -= this.#kept.get(id)?.characters ?? 0;
    this.#kept.delete(id);
  }
}

/** The report of a file that polony has not looked for. */
export function nothingOf(name: SeriesFile): Omit<FileReport, 'state'> & { state: 'missing' } {
  return { name, uri: null, state: 'missing', message: '', size: null, lastModified: null };
}

function factsOf({ size, lastModified }: ReadFile): Pick<FileReport, 'size' | 'lastModified'> {
  return { size, lastModified: lastModified?.toISOString() ?? null };
}
