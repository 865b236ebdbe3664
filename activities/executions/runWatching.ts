import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { withDeadline } from '../../observability/deadline.js';
import { withLogIds } from '../../observability/logContext.js';
import {
  announceWatch,
  listWatchedScopes,
  listWatches,
  registerWatch,
  removeWatch,
  type Watch,
} from '../../store/executions/watches.js';
import { untilClosed } from '../../store/database.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import type { Dependencies } from '../dependencies.js';
import { Leases, RENEW_MS } from '../leases.js';
import { GetRunBudget } from './getRunBudget.js';
import { PollPace } from './pollPace.js';
import { RunWatcher, type WatchedStatus } from './runWatcher.js';

/** The notifications of so many milliseconds are answered with one query. */
const COLLECT_MS = 20;
/** A notification may be lost. Every renewal looks for what was registered within so many seconds. */
const LOOK_BACK_SECONDS = 60;
/** How often a process reads all watches of its accounts again, whatever it may have missed. */
const READ_ALL_MS = 600_000;
/** A read of watches that takes longer has failed. That of 100,000 takes less than a second. */
const READ_MS = 15_000;
/** A process that has not been able to read watches for so long leaves all of them to others. */
const GIVE_BACK_MS = 60_000;
/** Pauses between two tries to complete an activity, while Temporal does not answer. */
const RETRY_MS = [250, 1000, 5000, 30_000];

type WatchingDependencies = Pick<Dependencies, 'db' | 'aws' | 'secrets' | 'settings'> & {
  orchestrator: Pick<Dependencies['orchestrator'], 'watches'>;
  /** For leases alone. Their renewal must not wait for the queries of thousands of runs. */
  leaseDb: Dependencies['db'];
  /** GetRun calls a second in one account and region, of all workers together. */
  getRunsPerSecond: number;
  /** Says why runs cannot be watched at the moment. */
  warn: (fields: object, message: string) => void;
};

type WatchesOf = Parameters<typeof listWatches>[2];

/** A run that this process watches. */
interface Watching {
  scope: string;
  /** Of the lease. Where it has another one, or none, another process may watch the run. */
  term: number | undefined;
  token: string;
  /** When it began, as of `performance.now()`. */
  since: number;
  stop: AbortController;
}

/**
 * Watches HealthOmics runs for the activities that registered themselves (`watchRun`). One process watches all runs of an
 * account and region, by a lease. When it dies, another takes over within the time of a lease.
 */
export class RunWatching {
  /** Shares GetRun among the runs that this process watches. */
  readonly budget: GetRunBudget;
  readonly #leases: Leases;
  readonly #pace: PollPace;
  /** By the id of the execution. */
  readonly #watched = new Map<string, Watching>();
  readonly #announced = new Set<string>();
  /** Reads of all watches of accounts whose lease activities have asked for. */
  readonly #loadingFirst = new Map<string, Promise<void>>();
  /** How many runs are no longer watched since their lease ended, by account and region, until that is logged. */
  readonly #dropped = new Map<string, number>();
  /**
   * The accounts and regions all of whose watches this process has: when it last read all, and in which term of the
   * lease. A lease alone does not say that: the read after it was taken may have failed.
   */
  readonly #complete = new Map<string, { readAt: number; term: number | undefined }>();
  /** When the last look began that has read the watches of all leases. */
  #lookedAt = performance.now();
  /** Whether this process could not read watches, and has not yet read anything since. */
  #isUnable = false;
  #timer: NodeJS.Timeout | undefined;
  #collecting: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;
  #sharing: Promise<void> | undefined;
  #loading: Promise<void> | undefined;
  #isClosed = false;
  /** Runs something outside of the activity that registers, which ends while the watching goes on. */
  readonly #outside = AsyncLocalStorage.snapshot();

  constructor(private readonly dependencies: WatchingDependencies) {
    this.budget = new GetRunBudget(dependencies.getRunsPerSecond);
    this.#leases = new Leases(dependencies.leaseDb);
    this.#pace = new PollPace(dependencies);
  }

  /** Begins to watch what other processes no longer watch. */
  start(): void {
    this.#timer = setInterval(() => void this.renew(), RENEW_MS);
    void this.renew();
  }

  /** Ends the watching here. Other processes take over with their next renewal. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#collecting);
    for (const { stop } of this.#watched.values()) stop.abort();
    this.budget.close();
    // None of them keeps a process that ends: leases expire, and reads change nothing.
    await untilClosed(Promise.all([this.#renewing, this.#sharing]));
    await untilClosed(this.#leases.close());
    await untilClosed(Promise.resolve(this.#loading));
  }

  /**
   * Registers an activity that waits for the run of an execution to change.
   * @param scope account and region
   * @param execution as the activity has loaded it
   */
  async register(scope: string, watch: Watch, execution?: ExecutionContext): Promise<void> {
    const { db } = this.dependencies;
    const isMine = (): boolean => this.#leases.isHeld(leaseOf(scope));
    await registerWatch(db, scope, watch);
    if (isMine()) return this.#begin(scope, watch, execution);
    // The first run of an account: nobody has the lease yet. Whoever takes it reads all watches.
    if (!this.#isUnable) await this.#leases.takeIfFree(leaseOf(scope));
    if (isMine()) {
      this.#begin(scope, watch, execution);
      return this.#loadOthers(scope);
    }
    await announceWatch(db, scope, watch);
  }

  /** Activities that have waited for the same lease read the account once. */
  async #loadOthers(scope: string): Promise<void> {
    if (this.#isComplete(scope)) return;
    const loading =
      this.#loadingFirst.get(scope) ?? this.#loadAll([scope]).finally(() => this.#loadingFirst.delete(scope));
    this.#loadingFirst.set(scope, loading);
    await loading;
  }

  /** Another process registered a watch. @param announcement as on `WATCHES_CHANNEL` */
  handleAnnouncement(announcement: string): void {
    const [scope = '', executionId = ''] = announcement.split(' ');
    if (this.#isClosed || !this.#leases.isHeld(leaseOf(scope))) return;
    this.#announced.add(executionId);
    this.#collecting ??= setTimeout(() => {
      this.#collecting = undefined;
      const executionIds = [...this.#announced];
      this.#announced.clear();
      this.#load(this.#heldScopes(), { executionIds }).catch((error: unknown) => this.#warn(error));
    }, COLLECT_MS);
  }

  /** Polls a run soon, where this process watches it; for events. */
  wake(executionId: string): void {
    this.budget.wake(executionId);
  }

  /** Renews the leases, takes those that are free, and looks for runs to watch. */
  async renew(): Promise<void> {
    const warn = (error: unknown): void => this.#warn(error);
    await (this.#renewing ??= this.#leases
      .renew(KIND)
      .catch(warn)
      .finally(() => {
        this.#dropLost();
        this.#renewing = undefined;
      }));
    if (this.#isClosed) return;
    // The next renewal does not wait for what follows.
    await (this.#sharing ??= this.#takeShare()
      .catch(warn)
      .finally(() => {
        this.#dropLost();
        this.#sharing = undefined;
      }));
    if (this.#isClosed) return;
    const wasUnable = this.#isUnable;
    await (this.#loading ??= this.#loadHeld()
      .catch((error: unknown) => {
        warn(error);
        return this.#leaveToOthers();
      })
      .catch(warn)
      .finally(() => (this.#loading = undefined)));
    if (wasUnable && !this.#isUnable && !this.#isClosed) await this.renew();
  }

  async #takeShare(): Promise<void> {
    if (this.#isUnable) return;
    const scopes = await listWatchedScopes(this.dependencies.leaseDb);
    // A read can fail meanwhile.
    if (this.#isUnable) return;
    await this.#leases.takeShare(KIND, scopes);
    if (this.#isUnable) await this.#leave((scope) => !this.#isRead(scope));
  }

  async #loadHeld(): Promise<void> {
    const began = performance.now();
    if (this.#isUnable) await this.#read([''], { seconds: 0 });
    this.#isUnable = false;
    for (const scope of this.#complete.keys()) if (!this.#leases.isHeld(leaseOf(scope))) this.#complete.delete(scope);
    await this.#load(
      this.#heldScopes().filter((scope) => this.#isComplete(scope)),
      { seconds: LOOK_BACK_SECONDS + (began - this.#lookedAt) / 1000 },
    );
    // Meanwhile, a renewal may take more.
    for (let unread = this.#unreadScopes(); unread.length > 0; unread = this.#unreadScopes())
      await this.#loadAll(unread);
    this.#lookedAt = began;
  }

  /** Others may be able to read what this process cannot. */
  async #leaveToOthers(): Promise<void> {
    this.#isUnable = true;
    const isStuck = performance.now() - this.#lookedAt > GIVE_BACK_MS;
    await this.#leave((scope) => isStuck || !this.#isRead(scope));
    if (isStuck) this.#dropLost();
  }

  async #leave(isLeft: (scope: string) => boolean): Promise<void> {
    await this.#leases.leave(KIND, this.#heldScopes().filter(isLeft));
  }

  /** Whether all watches were read since this process has the lease. */
  #isRead(scope: string): boolean {
    const complete = this.#complete.get(scope);
    return complete !== undefined && complete.term === this.#termOf(scope);
  }

  #termOf(scope: string): number | undefined {
    return this.#leases.termOf(leaseOf(scope));
  }

  #isComplete(scope: string): boolean {
    return this.#isRead(scope) && this.#complete.get(scope)!.readAt > performance.now() - READ_ALL_MS;
  }

  #unreadScopes(): string[] {
    return this.#heldScopes().filter((scope) => !this.#isComplete(scope));
  }

  async #loadAll(scopes: readonly string[]): Promise<void> {
    const readAt = performance.now();
    for (const [scope, term] of await this.#load(scopes, 'all')) this.#complete.set(scope, { readAt, term });
  }

  #heldScopes(): string[] {
    return this.#leases.held.flatMap((lease) => (lease.startsWith(`${KIND}/`) ? [lease.slice(KIND.length + 1)] : []));
  }

  /** Ends the watching of runs whose lease is gone: another process watches them. */
  #dropLost(): void {
    if (this.#isClosed) return;
    for (const watching of this.#watched.values()) this.#dropIfLost(watching);
    for (const [scope, runs] of this.#dropped) this.dependencies.warn({ scope, runs }, LEASE_ENDED);
    this.#dropped.clear();
  }

  #dropIfLost({ scope, term, stop }: Watching): void {
    if (stop.signal.aborted || (term !== undefined && term === this.#termOf(scope))) return;
    // If the clock is set back, the lease has not ended after all, and the next renewal must find the row.
    if (this.#complete.get(scope)?.term === term) this.#complete.delete(scope);
    this.#dropped.set(scope, (this.#dropped.get(scope) ?? 0) + 1);
    stop.abort();
  }

  /** @returns the scopes, with the term of each lease that was read */
  async #load(scopes: readonly string[], of: WatchesOf): Promise<ReadonlyMap<string, number | undefined>> {
    const terms = new Map(scopes.map((scope) => [scope, this.#termOf(scope)]));
    if (scopes.length === 0) return terms;
    const readAt = performance.now();
    for (const { scope, ...watch } of await this.#read(scopes, of)) {
      const term = this.#termOf(scope);
      // One that began meanwhile can be of a later activity.
      const isOld = (this.#watched.get(watch.executionId)?.since ?? -Infinity) > readAt;
      if (term !== undefined && term === terms.get(scope) && !isOld) this.#begin(scope, watch);
    }
    return terms;
  }

  #read(scopes: readonly string[], of: WatchesOf): ReturnType<typeof listWatches> {
    return withDeadline(listWatches(this.dependencies.db, scopes, of), READ_MS);
  }

  #begin(scope: string, watch: Watch, execution?: ExecutionContext): void {
    if (this.#isClosed) return;
    const token = Buffer.from(watch.taskToken).toString('base64');
    const before = this.#watched.get(watch.executionId);
    const term = this.#termOf(scope);
    // One that was dropped has not always ended yet.
    if (before?.token === token && before.term === term && !before.stop.signal.aborted) return;
    if (before !== undefined) this.#dropIfLost(before);
    before?.stop.abort();
    const watching: Watching = { scope, term, token, since: performance.now(), stop: new AbortController() };
    this.#watched.set(watch.executionId, watching);
    const watchRun = (): Promise<void> => this.#watch(watching, watch, execution);
    void this.#outside(() => withLogIds({ executionId: watch.executionId }, watchRun)).finally(() => {
      if (this.#watched.get(watch.executionId) === watching) this.#watched.delete(watch.executionId);
    });
  }

  async #watch(watching: Watching, watch: Watch, execution?: ExecutionContext): Promise<void> {
    const { orchestrator, ...dependencies } = this.dependencies;
    const { scope } = watching;
    const { signal } = watching.stop;
    const turns = this.budget.watch(scope, watch.executionId);
    const throwIfLost = (): void => {
      this.#dropIfLost(watching);
      signal.throwIfAborted();
    };
    let shown: string | undefined;
    const show = (trouble: string | undefined): void => {
      if (trouble === shown || (signal.aborted && trouble !== undefined)) return;
      shown = trouble;
      void orchestrator.watches.show(watch.taskToken, trouble === undefined ? {} : { trouble });
    };
    // Who watches the run from now on shows trouble of its own, and does not know of this. A call to AWS that is under
    // way may end only after that.
    signal.addEventListener('abort', () => show(undefined), { once: true });
    const watcher = new RunWatcher(
      { ...dependencies, pace: this.#pace, throwIfLost },
      watch,
      execution,
      `omics/${scope}`,
      show,
    );
    try {
      const outcome = await watcher.watchUntilChange(turns, signal).catch((error: unknown) => {
        if (error instanceof ApplicationFailure) return error;
        throw error;
      });
      turns.end();
      await this.#deliver(outcome, watch, throwIfLost, signal);
    } catch (error) {
      if (signal.aborted) return;
      // Its row is still there. If the lease is still, or again, this process's, the next renewal finds it.
      this.#complete.delete(scope);
      this.#warn(error);
    } finally {
      turns.end();
    }
  }

  /** Completes the activity, however long Temporal does not answer. */
  async #deliver(
    outcome: WatchedStatus | ApplicationFailure,
    watch: Watch,
    throwIfLost: () => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { db, orchestrator } = this.dependencies;
    for (let attempt = 0; ; attempt++) {
      throwIfLost();
      try {
        await (outcome instanceof ApplicationFailure
          ? orchestrator.watches.fail(watch.taskToken, outcome)
          : orchestrator.watches.complete(watch.taskToken, outcome));
        return await removeWatch(db, watch);
      } catch (error) {
        this.#warn(error);
        await delay(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)], undefined, { signal, ref: false });
      }
    }
  }

  #warn(error: unknown): void {
    this.dependencies.warn({ err: error }, 'HealthOmics runs cannot be watched as they should; polony tries again');
  }
}

/** It may not have been renewed in time, such as by a process that stood still. */
const LEASE_ENDED = 'The lease of an account and region ended, so this worker no longer watches its HealthOmics runs';

const KIND = 'watch';
const leaseOf = (scope: string): string => `${KIND}/${scope}`;
