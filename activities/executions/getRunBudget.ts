import { shareWatchCounts } from '../../store/executions/pacing.js';
import { type Db, newId } from '../../store/database.js';

/** How often workers tell each other how much they watch, in milliseconds. */
const SHARE_MS = 15_000;
/** Least time between two looks at a run that events ask for, so that a flood of them costs no more than polling fast. */
const WOKEN_MS = 2000;
/** How long the pace stays down after AWS has throttled. */
const RECOVERY_MS = 60_000;

interface Looker {
  id: string;
  go: () => void;
}

/** The turns of one account and region in this worker: evenly spaced, first due first served, and woken ones before all. */
class Turns {
  /** Those that may look now; in the order in which they came. */
  readonly due = new Set<Looker>();
  watching = 0;
  /** Calls a second of this worker. */
  rate: number;
  slowUntil = 0;
  slow = 1;
  #last = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(rate: number) {
    this.rate = rate;
  }

  get #spacing(): number {
    return 1000 / (this.rate / (Date.now() < this.slowUntil ? this.slow : 1));
  }

  add(looker: Looker, first: boolean): void {
    if (first && this.due.size > 0) {
      const others = [...this.due];
      this.due.clear();
      this.due.add(looker);
      for (const other of others) this.due.add(other);
    } else this.due.add(looker);
    this.next();
  }

  next(): void {
    if (this.#timer !== undefined || this.due.size === 0) return;
    const wait = this.#last + this.#spacing - Date.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.next();
      }, Math.ceil(wait));
      return;
    }
    const [looker] = this.due;
    this.due.delete(looker!);
    this.#last = Date.now();
    looker!.go();
    this.next();
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

/** A run that is watched. */
export interface Watch {
  /**
   * Waits until it is time to look at the run: after so many milliseconds, or when an event says that it has changed, and in any
   * case within what the account and region allow. @throws when the signal aborts.
   * @returns whether an event was the reason.
   */
  turn: (milliseconds: number, signal: AbortSignal) => Promise<boolean>;
  /** AWS has throttled the look. */
  throttled: () => void;
  /** It is watched no longer. */
  end: () => void;
}

/**
 * Shares GetRun among all runs that a worker watches. AWS allows so many calls a second for an account and region (HealthOmics
 * quotas); workers divide them by how many runs each watches, and space theirs evenly, so that a run is looked at the
 * less often the more there are.
 */
export class GetRunBudget {
  readonly #workerId = newId();
  readonly #turns = new Map<string, Turns>();
  readonly #watched = new Map<string, () => void>();
  readonly #timer: NodeJS.Timeout;
  #sharing: Promise<void> | undefined;

  /** @param perSecond GetRun calls a second, in one account and region, of all workers together. */
  constructor(
    private readonly db: Db,
    private readonly perSecond: number,
  ) {
    this.#timer = setInterval(() => void this.#share(), SHARE_MS).unref();
  }

  /** Tells the other workers what this one watches. What cannot be told leaves the rates as they are. */
  async #share(): Promise<void> {
    this.#sharing ??= (async (): Promise<void> => {
      try {
        const own = new Map(
          [...this.#turns].filter(([, turns]) => turns.watching > 0).map(([scope, turns]) => [scope, turns.watching]),
        );
        const all = await shareWatchCounts(this.db, this.#workerId, own);
        for (const [scope, turns] of this.#turns) {
          const count = own.get(scope);
          if (count !== undefined) turns.rate = (this.perSecond * count) / Math.max(count, all.get(scope) ?? 0);
        }
      } catch {
        // The next time will tell.
      } finally {
        this.#sharing = undefined;
      }
    })();
    return this.#sharing;
  }

  /** Has a run looked at soon, where this worker watches it; for events. */
  wake(id: string): void {
    this.#watched.get(id)?.();
  }

  /** Begins to watch a run. @param scope account and region @param id of its execution. */
  watch(scope: string, id: string): Watch {
    let turns = this.#turns.get(scope);
    if (turns === undefined) {
      turns = new Turns(this.perSecond);
      this.#turns.set(scope, turns);
      void this.#share();
    }
    const own = turns;
    own.watching++;
    let looker: Looker | undefined;
    let woken = false;
    let timer: NodeJS.Timeout | undefined;
    let due: ((first: boolean) => void) | undefined;
    let lastLook = 0;
    const wake = (): void => {
      if (woken) return;
      woken = true;
      if (due === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(() => due?.(true), Math.max(0, lastLook + WOKEN_MS - Date.now()));
    };
    this.#watched.set(id, wake);
    return {
      turn: (milliseconds, signal) =>
        new Promise<boolean>((resolve, reject) => {
          const done = (): void => {
            clearTimeout(timer);
            due = undefined;
            if (looker !== undefined) own.due.delete(looker);
            looker = undefined;
            signal.removeEventListener('abort', aborted);
          };
          const aborted = (): void => {
            done();
            reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
          };
          if (signal.aborted) return aborted();
          signal.addEventListener('abort', aborted);
          due = (first): void => {
            if (looker !== undefined) {
              if (!first) return;
              own.due.delete(looker);
            }
            looker = {
              id,
              go: () => {
                const byEvent = woken;
                woken = false;
                lastLook = Date.now();
                done();
                resolve(byEvent);
              },
            };
            own.add(looker, first);
          };
          timer = woken
            ? setTimeout(() => due?.(true), Math.max(0, lastLook + WOKEN_MS - Date.now()))
            : setTimeout(() => due?.(false), milliseconds);
        }),
      throttled: () => {
        own.slow = Date.now() < own.slowUntil ? Math.min(16, own.slow * 2) : 2;
        own.slowUntil = Date.now() + RECOVERY_MS;
      },
      end: () => {
        clearTimeout(timer);
        if (looker !== undefined) own.due.delete(looker);
        own.watching--;
        // A second watcher of the same run, after the first was given up for dead, has taken its place.
        if (this.#watched.get(id) === wake) this.#watched.delete(id);
        if (own.watching === 0) {
          own.close();
          this.#turns.delete(scope);
        }
      },
    };
  }

  close(): void {
    clearInterval(this.#timer);
    for (const turns of this.#turns.values()) turns.close();
  }
}
