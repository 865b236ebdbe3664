import type { S3Client } from '@aws-sdk/client-s3';
import { Context } from '@temporalio/activity';
import { type AwsErrorKind, classifyAwsError } from '../../aws/errors.js';
import { hasObjects, listFolder, listObjects, readText, readTextWithEtag } from '../../aws/s3.js';
import { type Completeness, CycleTally, type RunFolderContent } from '../../domain/runs/completeness.js';
import { errorMessage } from '../../domain/errors.js';
import { parseAvitiRunStats, type RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import type { RunParameters } from '../../domain/runs/runParameters.js';
import { RUN_UPLOADED_FILE } from '../../domain/runs/runUploaded.js';

/** RunUploaded.json has less than a kilobyte. */
const MAX_RUN_UPLOADED_BYTES = 1024 * 1024;
/** AvitiRunStats.json has some megabytes: it has figures for each cycle of each read and lane. */
const MAX_STATS_BYTES = 32 * 1024 * 1024;
/** Errors that another attempt may not meet. */
const TRANSIENT: ReadonlySet<AwsErrorKind> = new Set<AwsErrorKind>([
  'expired',
  'throttled',
  'unreachable',
  'network',
  'internal',
]);

/** The `BaseCalls` of a run, as far as they are uploaded. */
export interface BaseCallsTally {
  objects: number;
  bytes: number;
  completeness: Completeness;
}

/** Reads and lists the files of one run folder. */
export class RunFolderReader {
  /** @param folder key of the run folder in the bucket, without a slash at its end. */
  constructor(
    private readonly s3: S3Client,
    private readonly bucket: string,
    private readonly folder: string,
  ) {}

  /** ETags of RunParameters.json and RunUploaded.json as they were last read, by name. */
  readonly etags: Record<string, string> = {};

  /** The text of RunParameters.json; undefined where it is missing or empty. */
  async readRunParameters(): Promise<string | undefined> {
    const text = await this.#readMetadata('RunParameters.json');
    return text === undefined || text.trim() === '' ? undefined : text;
  }

  /** The text of RunUploaded.json; undefined where it is missing. */
  async readRunUploaded(): Promise<string | undefined> {
    return this.#readMetadata(RUN_UPLOADED_FILE, MAX_RUN_UPLOADED_BYTES);
  }

  async hasRunManifest(): Promise<boolean> {
    return hasObjects(this.s3, this.bucket, `${this.folder}/RunManifest.csv`);
  }

  async isEmpty(): Promise<boolean> {
    return !(await hasObjects(this.s3, this.bucket, `${this.folder}/`));
  }

  /** Whether the folder may be listed, so that only reading is denied. */
  async isListable(): Promise<boolean> {
    try {
      await this.isEmpty();
      return true;
    } catch {
      return false;
    }
  }

  /** The names in the root of the run folder: one request, since instruments write a dozen files there. */
  async listRoot(): Promise<RunFolderContent> {
    for await (const page of listFolder(this.s3, this.bucket, `${this.folder}/`)) return page;
    return { folders: [], files: [] };
  }

  /** Lists the `BaseCalls`: one file for each read and cycle, so a few hundred however large the run is. */
  async tallyBaseCalls(parameters: RunParameters | null): Promise<BaseCallsTally> {
    const cycles = new CycleTally(parameters?.cycles ?? {});
    let [objects, bytes] = [0, 0];
    for await (const page of listObjects(this.s3, this.bucket, `${this.folder}/BaseCalls/`)) {
      for (const object of page) {
        objects++;
        bytes += object.size;
        cycles.add(object.key.slice(this.folder.length + 1), object.size);
      }
    }
    return { objects, bytes, completeness: cycles.result() };
  }

  /** The metrics of the instrument; undefined where they are missing or unreadable, since the run is usable without. */
  async readInstrumentMetrics(): Promise<RunMetrics | undefined> {
    try {
      // Instruments write it to the root. The vendor's table of output files has it in Stats.
      const text =
        (await this.#read('AvitiRunStats.json', MAX_STATS_BYTES)) ??
        (await this.#read('Stats/AvitiRunStats.json', MAX_STATS_BYTES));
      return text === undefined ? undefined : parseAvitiRunStats(text);
    } catch (error) {
      if (TRANSIENT.has(classifyAwsError(error).kind)) throw error;
      Context.current().log.warn('The metrics of the instrument could not be read', {
        runFolder: this.folder,
        reason: errorMessage(error),
      });
      return undefined;
    }
  }

  async #readMetadata(file: string, maxBytes?: number): Promise<string | undefined> {
    delete this.etags[file];
    const found = await readTextWithEtag(this.s3, this.bucket, `${this.folder}/${file}`, maxBytes);
    if (found?.etag !== undefined) this.etags[file] = found.etag;
    return found?.text;
  }

  #read(file: string, maxBytes?: number): Promise<string | undefined> {
    return readText(this.s3, this.bucket, `${this.folder}/${file}`, maxBytes);
  }
}
