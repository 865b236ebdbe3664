import type { S3Client } from '@aws-sdk/client-s3';
import { Context } from '@temporalio/activity';
import { listObjects, parseS3Uri, readText } from '../../aws/s3.js';
import { errorMessage } from '../../domain/errors.js';
import { objectArn } from '../../domain/iam/permissions.js';
import type { ExecutionSummary, ResultFile } from '../../domain/executions/execution.js';
import { parseIndexAssignment, parseMetrics, parseRunStats } from '../../domain/executions/results.js';
import { counted } from '../../observability/metrics.js';
import { updateExecution } from '../../store/executions/update.js';
import type { Dependencies } from '../dependencies.js';
import { withAwsErrors } from './awsCalls.js';
import { type StepDependencies, viaStorageProvider } from './context.js';
import { recordEndInBucket } from './records.js';
import { loadStartedExecution } from './startedExecution.js';

/** The files that the summary of the results comes from. */
const SUMMARY_FILES = ['RunStats.json', 'IndexAssignment.csv', 'Metrics.csv'] as const;
type SummaryFile = (typeof SUMMARY_FILES)[number];
/** How many result files the database keeps by name. The bucket has the others. */
const FILES_LISTED = 1000;
const MAXIMUM_FILE_BYTES = 256 * 1024 * 1024;

export function createResultActivities(dependencies: StepDependencies & Pick<Dependencies, 'orchestrator'>) {
  const { db, aws } = dependencies;
  return {
    /**
     * Reads the results of a completed run into the execution's summary and ends the execution as COMPLETED.
     * @param attempt the one that the workflow is at; absent in histories from before it was passed.
     */
    async readResults(executionId: string, attempt?: number): Promise<{ description: string; runOutputUri: string }> {
      const execution = await loadStartedExecution(dependencies, executionId, attempt);
      // The workflow of an execution that had completed was reset. Its results may have been moved away since.
      // Or the worker died before it had written the record.
      if (execution.status === 'COMPLETED' && execution.summary !== null) {
        await recordEndInBucket(dependencies, executionId);
        return { description: execution.statusDescription, runOutputUri: execution.healthOmics?.runOutputUri ?? '' };
      }
      const runOutputUri = execution.healthOmics?.runOutputUri ?? '';
      const { bucket, key } = parseS3Uri(runOutputUri);
      const prefix = `${key.replace(/\/$/, '')}/`;
      const reader = new ResultReader(aws.s3(execution.storageProviderId, execution.storage.region), bucket, prefix);
      const call = { action: 's3:GetObject', resource: objectArn(bucket, `${prefix}*`, execution.storage.region) };
      const { summary, files } = await withAwsErrors(dependencies, viaStorageProvider(execution), call, () =>
        reader.read(),
      );
      const description = `${summary.samples.length} samples, ${summary.files.fastq} FASTQ files in ${runOutputUri}`;
      await updateExecution(db, executionId, {
        status: 'COMPLETED',
        statusDescription: description,
        summary,
        files,
        blocked: null,
        timeCompleted: new Date(),
      });
      counted.executionsEnded.inc({ status: 'COMPLETED' });
      await recordEndInBucket(dependencies, executionId);
      return { description, runOutputUri };
    },
  };
}

/** What a listing of the results shows. */
interface Listing {
  totals: ExecutionSummary['files'];
  /** The first files by name. */
  files: ResultFile[];
  /** Keys of the files that the summary comes from. */
  keys: Partial<Record<SummaryFile, string>>;
  hasQcPage: boolean;
}

class ResultReader {
  #warnings: string[] = [];

  /** @param prefix of the results in the bucket, with a slash at its end. */
  constructor(
    private readonly s3: S3Client,
    private readonly bucket: string,
    private readonly prefix: string,
  ) {}

  async read(): Promise<{ summary: ExecutionSummary; files: ResultFile[] }> {
    this.#warnings = [];
    const listing = await this.#list();
    if (!listing.hasQcPage)
      this.#warnings.push(
        'The results have no QC page (<RunName>_QC.html). Bases2Fastq only warns when it cannot create the page.',
      );
    if (listing.totals.fastq === 0) this.#warnings.push('The results have no FASTQ file.');
    const stats = await this.#parse(listing, 'RunStats.json', 'the summary has no yield and quality', parseRunStats);
    const assignment = await this.#parse(
      listing,
      'IndexAssignment.csv',
      'the summary does not say which share each sample has',
      parseIndexAssignment,
    );
    const metrics = await this.#parse(listing, 'Metrics.csv', 'the summary has no further metrics', parseMetrics);
    const percentPolonies = new Map(assignment?.map((sample) => [sample.name, sample.percentPolonies]));
    const samples = (stats?.samples ?? []).map((sample) => ({
      ...sample,
      percentPolonies: percentPolonies.get(sample.name),
    }));
    return {
      summary: { ...stats, samples, metrics, files: listing.totals, warnings: this.#warnings },
      files: listing.files,
    };
  }

  async #list(): Promise<Listing> {
    const listing: Listing = {
      totals: { count: 0, bytes: 0, fastq: 0 },
      files: [],
      keys: {},
      hasQcPage: false,
    };
    for await (const page of listObjects(this.s3, this.bucket, this.prefix)) {
      Context.current().heartbeat();
      for (const object of page) this.#add(listing, object.key, object.size);
    }
    return listing;
  }

  #add(listing: Listing, key: string, size: number): void {
    const { totals, files, keys } = listing;
    totals.count++;
    totals.bytes += size;
    if (/\.fastq\.gz$/i.test(key)) totals.fastq++;
    if (files.length < FILES_LISTED) files.push({ key: key.slice(this.prefix.length), size });
    if (key.endsWith('_QC.html')) listing.hasQcPage = true;
    const name = SUMMARY_FILES.find((each) => key.endsWith(`/${each}`));
    // Samples have files of the same names. The file of the run is the one nearest to the root.
    if (name !== undefined && key.length < (keys[name]?.length ?? Infinity)) keys[name] = key;
  }

  /**
   * @returns the parsed file; undefined with a warning where it is absent or cannot be parsed: the rest is still read.
   */
  async #parse<T>(
    { keys }: Listing,
    name: SummaryFile,
    consequence: string,
    parse: (content: string) => T,
  ): Promise<T | undefined> {
    const key = keys[name];
    const text = key === undefined ? undefined : await readText(this.s3, this.bucket, key, MAXIMUM_FILE_BYTES);
    Context.current().heartbeat();
    if (text === undefined) {
      this.#warnings.push(`The results have no ${name}, so ${consequence}.`);
      return undefined;
    }
    try {
      return parse(text);
    } catch (error) {
      this.#warnings.push(errorMessage(error));
      return undefined;
    }
  }
}
