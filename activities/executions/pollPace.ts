import { type EventSource, hasRecentEvents } from '../../store/events.js';
import type { Dependencies } from '../dependencies.js';

/** A run that changed within this time is polled more often than others, unless it runs: that takes long. */
const RECENT_CHANGE_MS = 120_000;
const POLL_AFTER_CHANGE_MS = 10_000;
/** By how much polls are rarer where events arrive. */
const EVENTS_FACTOR = 10;
/** How long it is known whether events arrive from a source, before the database is asked again. */
const EVENTS_KNOWN_MS = 60_000;

/** How often runs are polled. Where events arrive, polls are only a safety net. */
export class PollPace {
  readonly #arrivals = new Map<EventSource, { knownUntil: number; arrive: boolean }>();

  constructor(private readonly dependencies: Pick<Dependencies, 'db' | 'settings'>) {}

  /**
   * @param changedAt when the run last changed, in milliseconds since 1970.
   * @param isRunning whether HealthOmics runs its tasks. Bases2Fastq takes many minutes.
   * @returns milliseconds until the next poll.
   */
  async nextPause(source: EventSource, changedAt: number, isRunning: boolean): Promise<number> {
    const usual = this.dependencies.settings.runPollSeconds * 1000;
    if (await this.#doEventsArrive(source)) return usual * EVENTS_FACTOR;
    const hasChangedRecently = !isRunning && Date.now() - changedAt < RECENT_CHANGE_MS;
    return hasChangedRecently ? Math.min(usual, POLL_AFTER_CHANGE_MS) : usual;
  }

  async #doEventsArrive(source: EventSource): Promise<boolean> {
    const known = this.#arrivals.get(source);
    if (known !== undefined && known.knownUntil >= Date.now()) return known.arrive;
    const arrive = await hasRecentEvents(this.dependencies.db, source).catch(() => false);
    this.#arrivals.set(source, { knownUntil: Date.now() + EVENTS_KNOWN_MS, arrive });
    return arrive;
  }
}
