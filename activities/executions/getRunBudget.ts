import { type Gauge, onCollect } from '../../observability/metrics.js';
import { type Db, newId } from '../../store/database.js';
import { shareWatchCounts } from '../../store/executions/pacing.js';
import { CallSpacing } from './callSpacing.js';

/** How often workers tell each other how many runs they watch, in milliseconds. */
const SHARE_MS = 15_000;
/**
 * Least time between two polls of a run that events ask for, so that a flood of events costs no more than fast polling.
 */
const BETWEEN_EVENT_POLLS_MS = 2000;

/** The runs that this worker watches in one account and region. */
interface BudgetScope {
  spacing: CallSpacing;
  watching: number;
}

/**
 * Shares GetRun among all runs that the workers watch. AWS allows a number of calls per second for each account and
 * region (HealthOmics quotas). Workers divide it by how many runs each of them watches, and each worker spaces its
 * calls evenly. So the more runs there are, the less often each is polled.
 */
export class GetRunBudget {
  readonly #workerId = newId();
  readonly #scopes = new Map<string, BudgetScope>();
  readonly #watched = new Map<string, WatchedRun>();
  readonly #timer: NodeJS.Timeout;
  #sharing: Promise<void> | undefined;

  /** @param perSecond GetRun calls a second, in one account and region, of all workers together. */
  constructor(
    private readonly db: Db,
    private readonly perSecond: number,
  ) {
    this.#timer = setInterval(() => this.#share(), SHARE_MS).unref();
  }

  /** Polls a run soon, where this worker watches it; for events. @param id of its execution. */
  wake(id: string): void {
    this.#watched.get(id)?.wake();
  }

  /**
   * Begins to watch a run; the caller ends the watching.
   * @param scopeName account and region
   * @param id of its execution
   */
  watch(scopeName: string, id: string): WatchedRun {
    const scope = this.#openScope(scopeName);
    scope.watching++;
    const watched = new WatchedRun(scope.spacing, () => {
      // Another activity may watch the same run by now, because this one seemed dead.
      if (this.#watched.get(id) === watched) this.#watched.delete(id);
      scope.watching--;
      if (scope.watching === 0) this.#closeScope(scopeName, scope);
    });
    this.#watched.set(id, watched);
    return watched;
  }

  /** Lets metrics show the budget whenever they are read. */
  observe(metrics: Record<'getRunShare' | 'getRunWaiting' | 'getRunWatched', Gauge<'account' | 'region'>>): void {
    // A scope without runs must not keep its last values.
    const show = (gauge: Gauge<'account' | 'region'>, valueOf: (scope: BudgetScope) => number): void => {
      gauge.reset();
      for (const [name, scope] of this.#scopes) {
        const [account = '', region = ''] = name.split('/');
        gauge.set({ account, region }, valueOf(scope));
      }
    };
    onCollect(metrics.getRunShare, (gauge) => show(gauge, ({ spacing }) => spacing.currentPerSecond));
    onCollect(metrics.getRunWaiting, (gauge) => show(gauge, ({ spacing }) => spacing.waiting));
    onCollect(metrics.getRunWatched, (gauge) => show(gauge, ({ watching }) => watching));
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { spacing } of this.#scopes.values()) spacing.close();
  }

  #openScope(name: string): BudgetScope {
    let scope = this.#scopes.get(name);
    if (scope === undefined) {
      scope = { spacing: new CallSpacing(this.perSecond), watching: 0 };
      this.#scopes.set(name, scope);
      this.#share();
    }
    return scope;
  }

  #closeScope(name: string, { spacing }: BudgetScope): void {
    spacing.close();
    this.#scopes.delete(name);
  }

  /** Tells the other workers what this one watches, and takes its share of the calls. */
  #share(): void {
    this.#sharing ??= this.#shareNow()
      // The rates stay as they are until the next time.
      .catch(() => undefined)
      .finally(() => {
        this.#sharing = undefined;
      });
  }

  async #shareNow(): Promise<void> {
    const own = new Map<string, number>();
    for (const [name, { watching }] of this.#scopes) if (watching > 0) own.set(name, watching);
    const all = await shareWatchCounts(this.db, this.#workerId, own);
    for (const [name, { spacing }] of this.#scopes) {
      const count = own.get(name);
      if (count !== undefined) spacing.perSecond = (this.perSecond * count) / Math.max(count, all.get(name) ?? 0);
    }
  }
}

/** A run that this worker watches. Tells when to poll it. */
export class WatchedRun {
  /** Whether an event has said that the run changed, and no poll has followed yet. */
  #hasEvent = false;
  #lastPoll = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Ends the wait that is under way; absent where none is. */
  #endWait: ((byEvent: boolean) => void) | undefined;

  constructor(
    private readonly spacing: CallSpacing,
    private readonly onEnd: () => void,
  ) {}

  /**
   * Waits until it is time to poll the run: after so many milliseconds, or once an event says that the run has changed,
   * and in any case within what the account and region allow.
   * @returns whether an event was the reason.
   * @throws the signal's reason when it aborts.
   */
  async waitForTurn(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    let abort: (() => void) | undefined;
    try {
      return await new Promise<boolean>((resolve, reject) => {
        abort = (): void => {
          this.#stopWaiting();
          reject(signal.reason as Error);
        };
        signal.addEventListener('abort', abort);
        this.#endWait = resolve;
        if (this.#hasEvent) this.#scheduleUrgently();
        else this.#timer = setTimeout(() => this.spacing.add(this.#takeTurn, false), milliseconds);
      });
    } finally {
      if (abort !== undefined) signal.removeEventListener('abort', abort);
    }
  }

  /** An event says that the run has changed. */
  wake(): void {
    if (this.#hasEvent) return;
    this.#hasEvent = true;
    if (this.#endWait !== undefined) this.#scheduleUrgently();
  }

  /** AWS throttled the poll. */
  slowDown(): void {
    this.spacing.slowDown();
  }

  /** Ends the watching. */
  end(): void {
    this.#stopWaiting();
    this.onEnd();
  }

  #scheduleUrgently(): void {
    clearTimeout(this.#timer);
    const wait = Math.max(0, this.#lastPoll + BETWEEN_EVENT_POLLS_MS - Date.now());
    this.#timer = setTimeout(() => this.spacing.add(this.#takeTurn, true), wait);
  }

  readonly #takeTurn = (): void => {
    const byEvent = this.#hasEvent;
    const endWait = this.#endWait;
    this.#hasEvent = false;
    this.#lastPoll = Date.now();
    this.#stopWaiting();
    endWait?.(byEvent);
  };

  #stopWaiting(): void {
    clearTimeout(this.#timer);
    this.spacing.remove(this.#takeTurn);
    this.#endWait = undefined;
  }
}
