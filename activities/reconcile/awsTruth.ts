import { setTimeout as delay } from 'node:timers/promises';
import {
  GetRunCommand,
  type GetRunCommandOutput,
  ListRunsCommand,
  type ListRunsCommandOutput,
} from '@aws-sdk/client-omics';
import pLimit from 'p-limit';
import pRetry from 'p-retry';
import { classifyAwsError, undefinedIf } from '../../aws/errors.js';
import { listFolders } from '../../aws/s3.js';
import { joinKey } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { isOwnId } from '../../store/database.js';
import type { RecordPlace } from '../../store/reconcile/places.js';
import type { Dependencies } from '../dependencies.js';
import { listRunsInOutput } from '../executions/runsInOutput.js';

export type FoundRun = GetRunCommandOutput & { id: string };

/** What HealthOmics says about a run. */
export type RunTruth =
  | { is: 'found'; run: FoundRun }
  /** HealthOmics does not find it, or its id now belongs to another run. */
  | { is: 'gone'; why: string }
  /** HealthOmics did not answer the question. */
  | { is: 'unknown'; why: string };

/** Where a run is. */
export interface RunPlace {
  providerId: string;
  region: string;
}

/** GetRun calls at the same time. HealthOmics allows ten a second in each account and region. */
const CALLS_AT_ONCE = 4;
/** How often a throttled call is repeated. */
const RETRIES = 8;
/** How often an id that is not found is asked for: a run that was just started may not be found yet. */
const NOT_FOUND_TRIES = 2;
const NOT_FOUND_PAUSE_MS = 2000;

/** Reads from AWS what became of executions. It changes nothing there. */
export class AwsTruth {
  readonly #limit = pLimit(CALLS_AT_ONCE);
  readonly #runs = new Map<string, Promise<RunTruth>>();

  constructor(private readonly aws: Dependencies['aws']) {}

  /** What HealthOmics says about a run. Asks once for each run. */
  async getRun(place: RunPlace, runId: string): Promise<RunTruth> {
    const key = `${place.providerId} ${place.region} ${runId}`;
    const known = this.#runs.get(key) ?? this.#limit(() => this.#askForRun(place, runId));
    this.#runs.set(key, known);
    return known;
  }

  /**
   * The ids of an account's runs of certain workflows. The vendor's policy does not allow ListRuns.
   * @returns undefined where it is not allowed
   */
  async listRuns(place: RunPlace, workflowIds: readonly string[]): Promise<string[] | undefined> {
    const ids: string[] = [];
    try {
      for (let startingToken: string | undefined; ;) {
        const page: ListRunsCommandOutput = await this.#call(place, (omics) =>
          omics.send(new ListRunsCommand({ maxResults: 100, startingToken })),
        );
        for (const { id, workflowId } of page.items ?? [])
          if (id !== undefined && workflowId !== undefined && workflowIds.includes(workflowId)) ids.push(id);
        startingToken = page.nextToken;
        if (startingToken === undefined) return ids;
      }
    } catch (error) {
      if (classifyAwsError(error).kind === 'denied') return undefined;
      throw error;
    }
  }

  /** The ids of executions that have an output folder in a bucket, page by page. */
  async *listOutputFolders(place: RecordPlace): AsyncGenerator<string[]> {
    const prefix = `${joinKey(place.prefix, EXECUTIONS_FOLDER)}/`;
    for await (const folders of listFolders(this.s3(place), place.bucket, prefix)) yield folders.filter(isOwnId);
  }

  /** The ids of the HealthOmics runs that wrote to the output folder of an execution; none where it may not be read. */
  async listRunsInOutput(place: RecordPlace, executionId: string): Promise<string[]> {
    const listing = this.use(place.providerId, () => listRunsInOutput(this.s3(place), place, executionId));
    return (await listing.catch(undefinedIf('denied', 'not-found'))) ?? [];
  }

  s3({ providerId, region }: Pick<RecordPlace, 'providerId' | 'region'>) {
    return this.aws.s3(providerId, region);
  }

  /** Makes calls with the session of a provider. */
  use<T>(providerId: string, calls: () => Promise<T>): Promise<T> {
    return this.aws.use(providerId, calls);
  }

  async #askForRun(place: RunPlace, runId: string): Promise<RunTruth> {
    for (let attempt = 1; ; attempt++) {
      try {
        const run = await this.#call(place, (omics) => omics.send(new GetRunCommand({ id: runId })));
        return { is: 'found', run: { ...run, id: runId } };
      } catch (error) {
        const { kind, message } = classifyAwsError(error);
        if (kind !== 'not-found') return { is: 'unknown', why: `GetRun ${runId} failed: ${message}` };
        if (attempt === NOT_FOUND_TRIES) return { is: 'gone', why: `HealthOmics does not find run ${runId}` };
        await delay(NOT_FOUND_PAUSE_MS);
      }
    }
  }

  #call<T>({ providerId, region }: RunPlace, call: (omics: ReturnType<Dependencies['aws']['omics']>) => Promise<T>) {
    return pRetry(() => this.aws.use(providerId, () => call(this.aws.omics(providerId, region))), {
      retries: RETRIES,
      minTimeout: 500,
      shouldRetry: ({ error }) => classifyAwsError(error).kind === 'throttled',
    });
  }
}

/** The execution that a run belongs to, as its tags or its output say; undefined for a run of something else. */
export function executionOf({ tags, outputUri }: GetRunCommandOutput): string | undefined {
  const tag = tags?.['polony:execution'];
  if (tag !== undefined && isOwnId(tag)) return tag;
  const folder = /\/([^/]+)\/?$/.exec(outputUri ?? '')?.[1] ?? '';
  return (outputUri ?? '').includes(`/${EXECUTIONS_FOLDER}/`) && isOwnId(folder) ? folder : undefined;
}
