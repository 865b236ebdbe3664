import type { Logger } from 'pino';
import { Leases, RENEW_MS } from '../activities/leases.js';
import { Searches } from '../activities/runs/searches.js';
import { Sweeps } from '../activities/runs/sweeps.js';
import type { Dependencies } from '../activities/index.js';
import { errorMessage } from '../domain/errors.js';
import { withDeadline } from '../observability/deadline.js';
import type { WorkerConfig } from '../domain/settings.js';
import type { Orchestrator } from '../temporal/client.js';

const SEARCHES = 'searches';
const SWEEP = 'sweep';
/** How long a worker that stops waits for what is under way. All of it can be repeated. */
const STOP_MS = 5000;
/** How long the first searches wait until the schedules of older versions are removed. */
const REMOVE_MS = 30_000;

/**
 * What one worker does for all, without Temporal: the searches for new runs, and the sweep. Leases in the database say
 * which worker. When one dies, another takes over within a minute.
 */
export class LeasedWork {
  readonly #leases: Leases;
  readonly #searches: Searches;
  readonly #sweeps: Sweeps;
  /** Set while it works. */
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #hasRemovedSchedules = false;
  #isAway = false;

  constructor(
    dependencies: Dependencies & { leaseDb: Dependencies['db'] },
    private readonly orchestrator: Orchestrator,
    { discoverSeconds, sweepSeconds }: Pick<WorkerConfig, 'discoverSeconds' | 'sweepSeconds'>,
    private readonly logger: Logger,
  ) {
    const { db, aws, leaseDb } = dependencies;
    const warn = (message: string, fields: Record<string, unknown>): void => logger.warn(fields, message);
    this.#leases = new Leases(leaseDb);
    const isSearcher = (): boolean => this.#leases.isHeld(SEARCHES);
    this.#searches = new Searches({ db, aws, orchestrator }, discoverSeconds, isSearcher, warn);
    this.#sweeps = new Sweeps(dependencies, sweepSeconds, () => this.#leases.isHeld(SWEEP), warn);
  }

  /** Needs the database and Temporal. */
  start(): void {
    if (this.#stopping !== undefined) return;
    this.#renew();
    this.#timer = setInterval(() => this.#renew(), RENEW_MS);
    this.#sweeps.start();
  }

  /** A storage connection has changed. */
  refreshSearches(): void {
    this.#searches.refresh();
  }

  /** Ends what is under way, and gives the leases back, so that another worker goes on at once. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, STOP_MS)));
    await Promise.race([Promise.all([this.#searches.stop(), this.#sweeps.stop(), this.#settled()]), late]);
    clearTimeout(timer);
    await this.#leases.close().catch((error: unknown) => {
      this.logger.warn({ error: errorMessage(error) }, 'leases could not be given back; they expire soon');
    });
  }

  async #settled(): Promise<void> {
    await this.#renewing;
    await this.#following;
  }

  /** The next renewal does not wait for what follows this one. */
  #renew(): void {
    this.#renewing ??= this.#renewLeases().finally(() => {
      this.#renewing = undefined;
      this.#following ??= this.#follow().finally(() => (this.#following = undefined));
    });
  }

  async #renewLeases(): Promise<void> {
    try {
      await this.#leases.take([SEARCHES, SWEEP]);
      if (this.#isAway) this.logger.info('leases can be renewed again');
      this.#isAway = false;
    } catch (error) {
      if (!this.#isAway)
        this.logger.warn({ error: errorMessage(error) }, 'leases cannot be renewed: no searches, no sweeps for now');
      this.#isAway = true;
    }
  }

  async #follow(): Promise<void> {
    if (this.#leases.isHeld(SEARCHES)) await this.#removeSchedules();
    await this.#searches.renewed();
  }

  /** Older versions searched and swept by schedules. What cannot be removed now is removed when it starts something. */
  async #removeSchedules(): Promise<void> {
    if (this.#hasRemovedSchedules) return;
    this.#hasRemovedSchedules = true;
    try {
      await withDeadline(this.orchestrator.schedules.removeOld(), REMOVE_MS);
    } catch (error) {
      this.logger.warn({ error: errorMessage(error) }, 'schedules of an older version could not be removed yet');
    }
  }
}
