import { errorMessage } from '../../domain/errors.js';
import { doWithin } from '../../observability/deadline.js';
import { counted } from '../../observability/metrics.js';
import { tracing } from '../../observability/tracing.js';
import { type SweepDependencies, Sweeper, type Warn } from './sweep.js';

const LONGEST_MS = 600_000;
/** How soon a sweep that failed is repeated, twice; then the next regular one follows. */
const RETRY_MS = [1000, 5000];

/** Sweeps again and again, without Temporal. One worker does it for all, besides the first sweep of each process. */
export class Sweeps {
  readonly #sweeper: Sweeper;
  readonly #intervalMs: number;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;
  #failures = 0;

  /** @param isMine whether this process has the lease */
  constructor(
    dependencies: SweepDependencies,
    everySeconds: number,
    private readonly isMine: () => boolean,
    private readonly warn: Warn,
  ) {
    this.#intervalMs = everySeconds * 1000;
    this.#sweeper = new Sweeper(dependencies, warn);
  }

  /** Begins at a random moment of the interval, because workers often start together. */
  start(): void {
    this.#wait(Math.random() * this.#intervalMs);
  }

  /** Ends a sweep that is under way before its next step. The next one does the rest. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The worker stops'));
    clearTimeout(this.#timer);
    await this.#sweeping;
  }

  #wait(milliseconds: number): void {
    if (this.#stopping.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#sweeping = this.#sweep().finally(() => {
        const retry = this.#failures === 0 ? undefined : RETRY_MS[this.#failures - 1];
        this.#wait(retry === undefined ? this.#intervalMs : Math.min(retry, this.#intervalMs));
      });
    }, milliseconds);
  }

  async #sweep(): Promise<void> {
    // The first sweep of a process does more: the database that it was started with may be an older one.
    if (!this.#sweeper.isFirst && !this.isMine()) {
      this.#failures = 0;
      return;
    }
    try {
      const sweep = (): Promise<unknown> =>
        doWithin(LONGEST_MS, this.#stopping.signal, (ending) => this.#sweeper.sweep(ending));
      await (tracing()?.traceWork('sweep', sweep) ?? sweep());
      this.#failures = 0;
      counted.sweeps.inc({ outcome: 'done' });
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      this.#failures = this.#failures > RETRY_MS.length ? 1 : this.#failures + 1;
      counted.sweeps.inc({ outcome: 'failed' });
      const type = (error as { type?: unknown }).type;
      this.warn('The sweep failed; the next one tries again', { type, error: errorMessage(error) });
    }
  }
}
