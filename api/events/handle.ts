import type { FastifyBaseLogger } from 'fastify';
import { type BucketOrRunEvent, locateRunFolder } from '../../domain/events/event.js';
import { parseRunFolderName } from '../../domain/runs/runFolder.js';
import { RUN_UPLOADED_FILE } from '../../domain/runs/runUploaded.js';
import { listStorageConnectionsInBucket, type StorageConnectionRow } from '../../store/connections/storage.js';
import { wakeWatcher } from '../../store/events.js';
import { findKnownRuns, type KnownRun } from '../../store/runs/discovery.js';
import { reopenRun } from '../../store/runs/update.js';
import type { ApiDependencies } from '../dependencies.js';
import { loggableError } from '../../domain/errors.js';
import { withTimeout } from '../errors.js';
import { Debouncer, TokenBuckets } from './flood.js';

type ObjectEvent = Extract<BucketOrRunEvent, { kind: 'object' }>;
type LocatedFile = NonNullable<ReturnType<typeof locateRunFolder>> & { instrumentName: string };

/**
 * Checks what events are about. An event only triggers a check: forged, repeated, late and unknown events do no harm.
 * If a check fails, polling finds the change later.
 */
export class EventHandler {
  readonly #db: ApiDependencies['db'];
  readonly #runs: ApiDependencies['orchestrator']['runs'];
  readonly #debouncer = new Debouncer();
  readonly #unknownFolders = new TokenBuckets();

  constructor({ db, orchestrator }: Pick<ApiDependencies, 'db' | 'orchestrator'>) {
    this.#db = db;
    this.#runs = orchestrator.runs;
  }

  /** @returns when the check is done; at once where it runs later or not at all */
  async handle(log: FastifyBaseLogger, event: BucketOrRunEvent): Promise<void> {
    let check: Promise<void> | undefined;
    this.#debouncer.run(subjectOf(event), () => void (check = this.#check(log, event)));
    await check;
  }

  async #check(log: FastifyBaseLogger, event: BucketOrRunEvent): Promise<void> {
    try {
      if (event.kind === 'object') await this.#checkObject(event);
      else await wakeWatcher(this.#db, event);
    } catch (error) {
      log.warn(
        { error: loggableError(error), event: event.kind },
        'The check that an event triggered failed. Polling will find the change',
      );
    }
  }

  async #checkObject({ bucket, key }: ObjectEvent): Promise<void> {
    for (const storage of await listStorageConnectionsInBucket(this.#db, bucket)) {
      const file = storage.use_for_run_upload ? locateFile(key, storage) : undefined;
      if (file === undefined) continue;
      const { parentPath, runFolder } = file;
      const run = (await findKnownRuns(this.#db, storage.id, parentPath, [runFolder])).get(runFolder);
      if (run === undefined) await this.#discover(storage, file);
      else if (await this.#isFollowed(run, file)) await this.#checkUpload(storage, run, file);
    }
  }

  /** Searches the run folder now. Beyond the limit, the regular search finds it. */
  async #discover(storage: StorageConnectionRow, { parentPath, runFolder, file }: LocatedFile): Promise<void> {
    if (!this.#unknownFolders.take(storage.id)) return;
    await withTimeout(
      this.#runs.discoverFolder(
        {
          storageConnectionId: storage.id,
          storageConnectionName: storage.name,
          only: { parentPath, runFolder },
        },
        // The search looks for this file only. Other files are many, and would fill the history of a blocked search.
        file === RUN_UPLOADED_FILE,
      ),
    );
  }

  /** Whether the upload is under way. A new RunUploaded.json reopens an upload that was rejected or had vanished. */
  async #isFollowed(run: KnownRun, { file }: LocatedFile): Promise<boolean> {
    if (run.uploadState === 'uploading') return true;
    return run.uploadState !== 'complete' && file === RUN_UPLOADED_FILE && (await reopenRun(this.#db, run.id));
  }

  async #checkUpload(storage: StorageConnectionRow, run: KnownRun, file: LocatedFile): Promise<void> {
    const { parentPath, runFolder, instrumentName } = file;
    await withTimeout(
      this.#runs.checkUpload({
        storageConnectionId: storage.id,
        storageConnectionName: storage.name,
        runId: run.id,
        instrumentName,
        parentPath,
        runFolder,
        runName: run.runName,
        bucket: storage,
      }),
    );
  }
}

/** What an event is about, as the key of the debouncer. */
function subjectOf(event: BucketOrRunEvent): string {
  return event.kind === 'object' ? `${event.bucket}/${event.key}` : `${event.account}/${event.region}/${event.runId}`;
}

/** The run folder of an object; undefined where the search for runs would not find it either. */
function locateFile(key: string, storage: StorageConnectionRow): LocatedFile | undefined {
  const found = locateRunFolder(key, storage.prefix, storage.run_depth);
  if (found === undefined) return undefined;
  const instrumentName = found.parentPath.slice(found.parentPath.lastIndexOf('/') + 1);
  return parseRunFolderName(found.runFolder, instrumentName) === undefined ? undefined : { ...found, instrumentName };
}
