import { type Gauge, onCollect } from '../../observability/metrics.js';
import { CallSpacing, RECOVERY_MS } from './callSpacing.js';

/**
 * Least time between two polls of a run that events ask for, so that a flood of events costs no more than fast polling.
 */
const BETWEEN_EVENT_POLLS_MS = 2000;

/** The runs that this worker watches in one account and region. */
interface BudgetScope {
  spacing: CallSpacing;
  watching: number;
  /** Removes it; absent while a run is watched. */
  removal?: NodeJS.Timeout;
}

/**
 * Shares GetRun among the runs that this process watches. AWS allows a number of calls per second for each account and
 * region (HealthOmics quotas), and one process watches all runs there. It spaces its calls evenly: the more runs there
 * are, the less often each is polled.
 */
export class GetRunBudget {
  readonly #scopes = new Map<string, BudgetScope>();
  readonly #watched = new Map<string, WatchedRun>();

  /** @param perSecond GetRun calls a second, in one account and region. */
  constructor(private readonly perSecond: number) {}

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
    clearTimeout(scope.removal);
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
        if (scope.watching === 0) continue;
        const [account = '', region = ''] = name.split('/');
        gauge.set({ account, region }, valueOf(scope));
      }
    };
    onCollect(metrics.getRunShare, (gauge) => show(gauge, ({ spacing }) => spacing.currentPerSecond));
    onCollect(metrics.getRunWaiting, (gauge) => show(gauge, ({ spacing }) => spacing.waiting));
    onCollect(metrics.getRunWatched, (gauge) => show(gauge, ({ watching }) => watching));
  }

  close(): void {
    for (const { spacing, removal } of this.#scopes.values()) {
      clearTimeout(removal);
      spacing.close();
    }
  }

  #openScope(name: string): BudgetScope {
    let scope = this.#scopes.get(name);
    if (scope === undefined) {
      scope = { spacing: new CallSpacing(this.perSecond), watching: 0 };
      this.#scopes.set(name, scope);
    }
    return scope;
  }

  /** Not at once: AWS may have throttled the account, and another watching of the same run may begin. */
  #closeScope(name: string, scope: BudgetScope): void {
    scope.removal = setTimeout(() => {
      scope.spacing.close();
      this.#scopes.delete(name);
    }, RECOVERY_MS).unref();
  }
}

/** A run that this worker watches. Tells when to poll it. */
export class WatchedRun {
  /** Whether an event has said that the run changed, and no poll has followed yet. */
  #hasEvent = false;
  /** By the clock of `performance.now()`, which nobody sets. */
  #lastPoll = -Infinity;
  #hasEnded = false;
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
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#stopWaiting();
    this.onEnd();
  }

  #scheduleUrgently(): void {
    clearTimeout(this.#timer);
    const wait = Math.max(0, this.#lastPoll + BETWEEN_EVENT_POLLS_MS - performance.now());
    this.#timer = setTimeout(() => this.spacing.add(this.#takeTurn, true), wait);
  }

  readonly #takeTurn = (): void => {
    const byEvent = this.#hasEvent;
    const endWait = this.#endWait;
    this.#hasEvent = false;
    this.#lastPoll = performance.now();
    this.#stopWaiting();
    endWait?.(byEvent);
  };

  #stopWaiting(): void {
    clearTimeout(this.#timer);
    this.spacing.remove(this.#takeTurn);
    this.#endWait = undefined;
  }
}
