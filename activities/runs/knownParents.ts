/** About how often a search lists everything again, in milliseconds. A new instrument is found that late. */
const COMPLETE_MS = 300_000;
/** Searches that follow each other faster, as in a local stack, list everything each time. */
const SHORT_INTERVAL_MS = 30_000;
/** Where more folders have runs, they are not remembered. */
const MOST_PARENTS = 1000;

/**
 * The folders of one storage connection that have run folders: those of its instruments. Most searches list only these,
 * which needs one request instead of two for a connection with one instrument. A new run of a known instrument is found
 * by every search; the folder above them is listed about every five minutes, because a laboratory gets an instrument once
 * a year.
 */
export class KnownParents {
  #parents: readonly string[] | undefined;
  #completeAt = 0;

  /** @param random 0 to 1: spreads the complete searches of many connections */
  constructor(
    private readonly intervalMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** The folders that a search lists; undefined: all, to find new ones. @param now in milliseconds, by any clock */
  next(now: number): readonly string[] | undefined {
    // The search that is nearest to the five minutes: searches come at the pace of the interval, a little late or early.
    return now < this.#completeAt - this.intervalMs / 2 ? this.#parents : undefined;
  }

  /**
   * A search has listed everything, and found nothing to do.
   * @param parents the folders that have run folders
   * @param began when it began, by the clock of {@link next}
   */
  searchedAll(parents: readonly string[], began: number): void {
    if (this.intervalMs < SHORT_INTERVAL_MS || parents.length === 0 || parents.length > MOST_PARENTS)
      return this.forget();
    const wait = this.#parents === undefined ? this.random() * COMPLETE_MS : COMPLETE_MS;
    this.#parents = parents;
    this.#completeAt = began + wait;
  }

  /** The next search lists everything. */
  forget(): void {
    this.#parents = undefined;
    this.#completeAt = 0;
  }
}
