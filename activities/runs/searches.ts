import pLimit from 'p-limit';
import { errorMessage } from '../../domain/errors.js';
import { doWithin } from '../../observability/deadline.js';
import { counted } from '../../observability/metrics.js';
import {
  findStorageToSearch,
  listStorageToSearch,
  markSearched,
  type SearchedStorage,
} from '../../store/connections/storageSearch.js';
import { findUnsettledRuns } from '../../store/runs/discovery.js';
import type { Orchestrator } from '../../temporal/client.js';
import type { RunUploadInput } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';
import { isUncertain } from './discover.js';
import { KnownParents } from './knownParents.js';
import { walkRunFolders } from './runFolders.js';
import type { Warn } from './sweep.js';

/** How many storage connections are searched at the same time. */
const AT_ONCE = 20;
/** A search that lasts longer is left to a workflow. */
const LONGEST_MS = 600_000;
/** How soon overdue searches follow when a worker takes over, so that they do not all come at once. */
const CATCH_UP_MS = 30_000;
/** How often the storage connections to search are looked through at most. */
const SHORTEST_PAUSE_MS = 100;
/** How often troubles are logged at most: hundreds of searches can have the same. */
const WARN_MS = 60_000;

/** What searches work with. */
export interface SearchesDependencies extends Pick<Dependencies, 'db' | 'aws'> {
  orchestrator: {
    runs: Pick<Orchestrator['runs'], 'startSearch' | 'isSearching' | 'isFollowed'>;
    verification: Pick<Orchestrator['verification'], 'verify'>;
  };
}

/** The search of one storage connection. */
interface Search {
  storage: SearchedStorage;
  /** By the clock of `performance.now()`. */
  dueAt: number;
  isRunning: boolean;
  /** The storage connection is new, or in another place than before. */
  isNews: boolean;
  /** A workflow may search it, or be blocked. */
  mayHaveWorkflow: boolean;
  known: KnownParents;
}

/**
 * Searches storage connections for new runs, each at its own moment of the interval. Where a search finds nothing to
 * do, Temporal learns nothing of it. Where it finds something, or fails, it starts the workflow `discoverRuns`, which
 * does the rest durably: it follows uploads, and shows what AWS denies. One worker does this for all.
 */
export class Searches {
  readonly #searches = new Map<string, Search>();
  readonly #intervalMs: number;
  /** When storage connections were searched that the database does not know of yet. */
  #searched = new Map<string, Date>();
  readonly #limit = pLimit(AT_ONCE);
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #isOutdated = false;
  /** Whether this process has read the storage connections since it has the lease. */
  #hasRead = false;
  #warnedAt = -WARN_MS;

  /** @param isMine whether this process has the lease */
  constructor(
    private readonly dependencies: SearchesDependencies,
    everySeconds: number,
    private readonly isMine: () => boolean,
    private readonly warn: Warn,
  ) {
    this.#intervalMs = everySeconds * 1000;
  }

  /** To be called each time that the lease was renewed, taken or lost. Does not fail. */
  async renewed(): Promise<void> {
    await this.#writeSearched();
    if (this.isMine()) {
      this.refresh();
      await this.#reading;
    } else {
      clearTimeout(this.#timer);
      this.#searches.clear();
      this.#hasRead = false;
    }
  }

  /** Reads the storage connections again, and searches those at once that are new. */
  refresh(): void {
    this.#isOutdated = true;
    if (this.#isActive()) this.#reading ??= this.#readAll().finally(() => (this.#reading = undefined));
  }

  /** Starts no more searches. Those that are under way end soon. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The worker stops'));
    clearTimeout(this.#timer);
    await this.#reading;
    await this.#writeSearched();
  }

  #isActive(): boolean {
    return !this.#stopping.signal.aborted && this.isMine();
  }

  async #readAll(): Promise<void> {
    while (this.#isOutdated && this.#isActive()) {
      this.#isOutdated = false;
      try {
        this.#take(await listStorageToSearch(this.dependencies.db));
      } catch (error) {
        this.#warnOf('The storage connections to search could not be read', error);
      }
    }
    this.#wait();
  }

  #take(storages: readonly SearchedStorage[]): void {
    const gone = new Set(this.#searches.keys());
    for (const storage of storages) {
      gone.delete(storage.id);
      const search = this.#searches.get(storage.id);
      if (search === undefined) this.#searches.set(storage.id, this.#begin(storage));
      else {
        if (!isSamePlace(search.storage, storage)) {
          search.isNews = true;
          search.known.forget();
          search.dueAt = performance.now();
        }
        search.storage = storage;
      }
    }
    for (const id of gone) this.#searches.delete(id);
    this.#hasRead = true;
  }

  #begin(storage: SearchedStorage): Search {
    const isNews = this.#hasRead || storage.time_used === null;
    return {
      storage,
      dueAt: performance.now() + (isNews ? 0 : this.#untilFirst(storage)),
      isRunning: false,
      isNews,
      mayHaveWorkflow: false,
      known: new KnownParents(this.#intervalMs),
    };
  }

  /** A worker that takes over goes on as the one before would have. What that one missed comes soon. */
  #untilFirst({ id, time_used: usedAt }: SearchedStorage): number {
    const isOverdue = Date.now() - (usedAt?.getTime() ?? 0) > this.#intervalMs;
    return isOverdue ? placeInInterval(id) * Math.min(CATCH_UP_MS, this.#intervalMs) : this.#untilNext(id);
  }

  /** Each storage connection has its moment of the interval, by the clock, so that all of them are spread over it. */
  #untilNext(id: string): number {
    const moment = placeInInterval(id) * this.#intervalMs;
    return this.#intervalMs - ((Date.now() - moment) % this.#intervalMs);
  }

  #wait(): void {
    clearTimeout(this.#timer);
    if (!this.#isActive()) return;
    let next = Infinity;
    for (const { isRunning, dueAt } of this.#searches.values()) if (!isRunning && dueAt < next) next = dueAt;
    if (next === Infinity) return;
    this.#timer = setTimeout(() => this.#startDue(), Math.max(SHORTEST_PAUSE_MS, next - performance.now()));
  }

  #startDue(): void {
    const now = performance.now();
    for (const search of this.#searches.values()) {
      if (search.isRunning || search.dueAt > now) continue;
      search.isRunning = true;
      void this.#limit(() => this.#run(search));
    }
    this.#wait();
  }

  async #run(search: Search): Promise<void> {
    const { id } = search.storage;
    try {
      // It may have waited for its turn.
      if (this.#isActive() && this.#searches.get(id) === search) await this.#search(search);
    } catch (error) {
      if (!this.#stopping.signal.aborted)
        this.#warnOf(`The search of ${search.storage.name} could not be completed`, error);
    }
    search.isRunning = false;
    // What became news meanwhile is due already.
    if (!search.isNews) search.dueAt = performance.now() + this.#untilNext(id);
    this.#wait();
  }

  /** @throws errors of the database and of Temporal; those of AWS are left to the workflow. */
  async #search(search: Search): Promise<void> {
    const { storage, isNews } = search;
    const { runs } = this.dependencies.orchestrator;
    search.isNews = false;
    if (search.mayHaveWorkflow && (await runs.isSearching(storage.id))) return;
    search.mayHaveWorkflow = false;
    const outcome = await this.#look(search);
    counted.searches.inc({ outcome });
    if (outcome === 'nothing') return this.#recordSuccess(storage, isNews);
    await runs.startSearch({ storageConnectionId: storage.id, storageConnectionName: storage.name });
    search.mayHaveWorkflow = true;
  }

  async #look(search: Search): Promise<'nothing' | 'found' | 'failed'> {
    const { aws } = this.dependencies;
    const { storage, known } = search;
    const began = performance.now();
    // Deeper, folders of instruments can be new as often as runs: one for each project or month.
    const parents = storage.run_depth > 0 ? undefined : known.next(began);
    const look = new Look(this.dependencies, storage, parents);
    try {
      const hasFound = await doWithin(LONGEST_MS, this.#stopping.signal, (ending) =>
        aws.use(storage.provider_id, () => look.hasWork(ending)),
      );
      if (hasFound) known.forget();
      // The place may have become another one meanwhile.
      else if (parents === undefined && isSamePlace(search.storage, storage))
        known.searchedAll([...look.parents], began);
      return hasFound ? 'found' : 'nothing';
    } catch (error) {
      known.forget();
      if (look.ownError !== undefined || this.#stopping.signal.aborted) throw look.ownError ?? error;
      return 'failed';
    }
  }

  async #recordSuccess({ id, name, ...storage }: SearchedStorage, isNews: boolean): Promise<void> {
    this.#searched.set(id, new Date());
    // What is new is verified already.
    if (isNews || !isUncertain(storage)) return;
    const now = await findStorageToSearch(this.dependencies.db, id);
    if (now !== undefined && isUncertain(now))
      await this.dependencies.orchestrator.verification.verify({ kind: 'storageConnection', id, name });
  }

  /** One statement for all that were searched, because nobody needs to see it at once. */
  async #writeSearched(): Promise<void> {
    const searched = this.#searched;
    if (searched.size === 0) return;
    this.#searched = new Map();
    try {
      await markSearched(this.dependencies.db, searched);
    } catch (error) {
      this.#searched = new Map([...searched, ...this.#searched]);
      this.#warnOf('The times of searches could not be written', error);
    }
  }

  #warnOf(message: string, error: unknown): void {
    if (performance.now() - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = performance.now();
    this.warn(message, { error: errorMessage(error) });
  }
}

/** Looks whether there is anything for the workflow `discoverRuns` to do, which has the same rules. */
class Look {
  /** An error of the database or of Temporal. */
  ownError: Error | undefined;
  /** The folders that have run folders. */
  readonly parents = new Set<string>();
  readonly #uploading: RunUploadInput[] = [];
  #isNew = false;

  constructor(
    private readonly dependencies: SearchesDependencies,
    private readonly storage: SearchedStorage,
    private readonly only: readonly string[] | undefined,
  ) {}

  /** @throws the first error, after all folders that can be listed were searched */
  async hasWork(ending: AbortSignal): Promise<boolean> {
    this.#uploading.length = 0;
    const { id, name, provider_id: providerId, region } = this.storage;
    await walkRunFolders(this.dependencies.aws.s3(providerId, region), this.storage, {
      stopping: ending,
      ...(this.only !== undefined && { parents: this.only }),
      visit: async ({ parentPath, instrument, runs }) => {
        this.parents.add(parentPath);
        if (this.#isNew) return;
        const folders = runs.map(({ folder }) => folder);
        const unsettled = await this.#own(() => findUnsettledRuns(this.dependencies.db, id, parentPath, folders));
        for (const [runFolder, run] of unsettled) {
          if (run === undefined) this.#isNew = true;
          else
            this.#uploading.push({
              runId: run.id,
              storageConnectionId: id,
              storageConnectionName: name,
              instrumentName: instrument,
              parentPath,
              runFolder,
              runName: run.runName,
            });
        }
      },
    });
    return this.#isNew || (await this.#own(() => this.#isAnyForgotten(ending)));
  }

  /** Somebody may have terminated a workflow that follows an upload. Asking for it is no action that Temporal bills. */
  async #isAnyForgotten(ending: AbortSignal): Promise<boolean> {
    for (const run of this.#uploading) {
      ending.throwIfAborted();
      if (!(await this.dependencies.orchestrator.runs.isFollowed(run))) return true;
    }
    return false;
  }

  async #own<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.ownError = error instanceof Error ? error : new Error(errorMessage(error));
      throw error;
    }
  }
}

/** 0 to 1, the same for each worker. The ids are UUIDs of version 7, which end with random digits. */
function placeInInterval(id: string): number {
  return Number.parseInt(id.slice(-8), 16) / 2 ** 32;
}

function isSamePlace(one: SearchedStorage, other: SearchedStorage): boolean {
  return (
    one.provider_id === other.provider_id &&
    one.region === other.region &&
    one.bucket === other.bucket &&
    one.prefix === other.prefix &&
    one.run_depth === other.run_depth
  );
}
