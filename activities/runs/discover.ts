import type { S3Client } from '@aws-sdk/client-s3';
import { Context } from '@temporalio/activity';
import pLimit from 'p-limit';
import { hasObjects } from '../../aws/s3.js';
import { describeBlocked } from '../../domain/executions/execution.js';
import { joinKey } from '../../domain/files/paths.js';
import { bucketArn } from '../../domain/iam/permissions.js';
import { partitionOf } from '../../domain/regions.js';
import { isFoundAsRun } from '../../domain/runs/ignoredFolders.js';
import { parseRunFolderName } from '../../domain/runs/runFolder.js';
import { RUN_UPLOADED_FILE } from '../../domain/runs/runUploaded.js';
import { recordGenuineEvent } from '../../store/events.js';
import { findKnownRuns, insertRuns, type KnownRun } from '../../store/runs/discovery.js';
import { reopenRun } from '../../store/runs/update.js';
import {
  findStorageToSearch,
  markSearched,
  markSearchFailed,
  type SearchedStorage,
} from '../../store/connections/storageSearch.js';
import { type DiscoverRunsInput, searchWorkflowId } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';
import { withAccount } from '../blockedAccount.js';
import { getBlocked, toActivityFailure } from '../failures.js';
import { type FoundFolders, instrumentOf, walkRunFolders } from './runFolders.js';

/** How many workflows are started at the same time. */
const STARTS_AT_ONCE = 10;

/** What a search has found so far. `started`: runs whose upload it began to follow. */
interface DiscoveredRuns {
  instruments: number;
  runFolders: number;
  started: number;
}

type SearchDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator'>;

/** The activity of `discoverRuns`. */
export function createDiscoveryActivities({ db, aws, orchestrator }: SearchDependencies) {
  return {
    /**
     * Lists the run folders of a storage connection, with one request per 1,000 folders, and starts to follow the
     * uploads of new runs. It does not read the contents of run folders. With `only`, it checks just the folder that an
     * event named.
     */
    async discoverRunFolders(input: DiscoverRunsInput): Promise<DiscoveredRuns> {
      const id = input.storageConnectionId;
      if (isOfOldSchedule(id)) await orchestrator.schedules.removeDiscovery(id);
      const storage = await findStorageToSearch(db, id);
      if (storage === undefined) return { instruments: 0, runFolders: 0, started: 0 };
      const search = new RunFolderSearch(db, orchestrator.runs, aws.s3(storage.provider_id, storage.region), storage);
      try {
        await aws.use(storage.provider_id, () =>
          input.only === undefined ? search.searchAll() : search.searchOne(input.only),
        );
      } catch (error) {
        throw await recordSearchFailure(storage, error);
      }
      if (input.only === undefined) await recordSuccess(storage);
      else if (search.found.started > 0) await recordGenuineEvent(db, `s3/${storage.bucket}`).catch(() => undefined);
      return search.found;
    },
  };

  /** @returns what the activity fails with. */
  async function recordSearchFailure(storage: SearchedStorage, error: unknown): Promise<Error> {
    const failure = toActivityFailure(error, {
      action: 's3:ListBucket',
      resource: bucketArn(storage.bucket, partitionOf(storage.region)),
      whenNotFound: "Check the storage connection's bucket and region.",
      scope: { bucket: storage.bucket, prefix: storage.prefix, region: storage.region },
    });
    const blocked = getBlocked(failure);
    if (blocked === undefined) return failure;
    const description = describeBlocked(blocked);
    // Written only when it changes, since this runs every minute for each storage connection.
    if (storage.status !== 'FAILED' || storage.status_description !== description)
      await markSearchFailed(db, storage.id, description);
    return withAccount(db, storage.provider_id, failure);
  }

  async function recordSuccess(storage: SearchedStorage): Promise<void> {
    if (isUncertain(storage))
      await orchestrator.verification.verify({ kind: 'storageConnection', id: storage.id, name: storage.name });
    await markSearched(db, new Map([[storage.id, new Date()]]));
  }
}

/**
 * Whether a search that succeeds says too little about a storage connection. A verification checks more than a search
 * does, so after a failure it decides about the status.
 */
export function isUncertain({ status }: Pick<SearchedStorage, 'status'>): boolean {
  return status === 'FAILED' || status === 'UNSPECIFIED';
}

/**
 * Whether a schedule of an older version started this search. It adds the time to the ID of the workflow. Workers
 * search by themselves now; a process of the older version may have created the schedule again.
 */
function isOfOldSchedule(storageConnectionId: string): boolean {
  const { workflowExecution } = Context.current().info;
  return workflowExecution?.workflowId.startsWith(`${searchWorkflowId(storageConnectionId)}-`) === true;
}

/** Searches one storage connection for run folders. */
class RunFolderSearch {
  readonly found: DiscoveredRuns = { instruments: 0, runFolders: 0, started: 0 };
  readonly #limit = pLimit(STARTS_AT_ONCE);

  constructor(
    private readonly db: SearchDependencies['db'],
    private readonly workflows: SearchDependencies['orchestrator']['runs'],
    private readonly s3: S3Client,
    private readonly storage: SearchedStorage,
  ) {}

  /** @throws the first error, after all folders that can be listed were searched. */
  async searchAll(): Promise<void> {
    const context = Context.current();
    this.found.instruments = await walkRunFolders(this.s3, this.storage, {
      visit: (found) => this.#follow(found),
      onPage: () => context.heartbeat(this.found),
      stopping: context.cancellationSignal,
    });
  }

  /** Follows the upload of one run folder, where its upload has ended. */
  async searchOne({ parentPath, runFolder }: { parentPath: string; runFolder: string }): Promise<void> {
    const { bucket, prefix, run_depth: runDepth } = this.storage;
    // Anybody with access to Temporal can name a folder.
    if (!isFoundAsRun([...parentPath.split('/'), runFolder], runDepth)) return;
    const instrument = instrumentOf(parentPath);
    const name = parseRunFolderName(runFolder, instrument);
    if (name === undefined) return;
    const hasEnded = await hasObjects(this.s3, bucket, joinKey(prefix, parentPath, runFolder, RUN_UPLOADED_FILE));
    if (hasEnded) await this.#follow({ parentPath, instrument, runs: [{ folder: runFolder, runName: name.runName }] });
  }

  /**
   * Follows the uploads of new runs and of those that have not ended. A run that had vanished and is back uploads
   * again.
   */
  async #follow({ parentPath, instrument, runs }: FoundFolders): Promise<void> {
    this.found.runFolders += runs.length;
    const uploading = await this.#recordRuns(parentPath, instrument, runs);
    await this.#limit.map(uploading, async ([runFolder, run]) => {
      const isNew = await this.workflows.startUpload({
        runId: run.id,
        storageConnectionId: this.storage.id,
        storageConnectionName: this.storage.name,
        instrumentName: instrument,
        parentPath,
        runFolder,
        runName: run.runName,
        bucket: this.storage,
      });
      if (isNew) this.found.started++;
      Context.current().heartbeat(this.found);
    });
  }

  /** Writes new runs. @returns the runs that are uploading, by the name of their folder. */
  async #recordRuns(
    parentPath: string,
    instrument: string,
    runs: readonly { folder: string; runName: string }[],
  ): Promise<[string, KnownRun][]> {
    const folders = runs.map((run) => run.folder);
    const known = await findKnownRuns(this.db, this.storage.id, parentPath, folders);
    const newRuns = runs.filter((run) => !known.has(run.folder));
    const inserted = await insertRuns(this.db, this.storage.id, parentPath, instrument, newRuns);
    for (const run of known.values())
      if (run.uploadState === 'vanished' && (await reopenRun(this.db, run.id))) run.uploadState = 'uploading';
    return [...known, ...inserted].filter(([, run]) => run.uploadState === 'uploading');
  }
}
