import { EventSourceParserStream } from 'eventsource-parser/stream';
import { answeredError, CliError, EXIT, unreachable } from './exit.js';
import type { Profile } from './profiles.js';

/** A server-sent event. */
export interface StreamEvent {
  id?: string;
  event?: string;
  data: string;
}

/** Limits of following streams, in milliseconds. */
export interface WatchTimes {
  /** Longest time without an answer of the API before watching ends. */
  away: number;
  /** Longest silence of a stream before it counts as dead. The API writes a comment every 15 seconds. */
  silence: number;
  /** Pause between two streams. */
  pause: number;
}
const TIMES: WatchTimes = { away: 300_000, silence: 60_000, pause: 2000 };
/** Longest pause that the API may ask for with Retry-After, in seconds. */
const MAX_RETRY_AFTER_SECONDS = 60;

/** How to follow streams. */
interface Following<T> {
  /** What the reader gets of an event; undefined for nothing. An event that it cannot read breaks the connection. */
  parse: (event: StreamEvent) => T | undefined;
  /** The next step, in the error for an API that stays away. */
  whenAway: string;
  times?: WatchTimes;
}

/** Reads the streams at one address, and connects again when one ends. */
class EventFollower<T> {
  #lastEventId: string | undefined;
  /** Since when the API does not answer. A stream may be quiet for days, so silence alone does not count. */
  #awaySince: number | undefined;
  #isReported = false;
  #retryAfterMs = 0;
  #hasEnded = false;
  readonly #times: WatchTimes;

  constructor(
    private readonly api: Profile,
    private readonly path: string,
    private readonly following: Following<T>,
  ) {
    this.#times = following.times ?? TIMES;
  }

  async *events(): AsyncGenerator<T> {
    for (;;) {
      yield* this.#readStream();
      if (this.#hasEnded) return;
      this.#checkAway();
      await new Promise((resolve) => setTimeout(resolve, Math.max(this.#times.pause, this.#retryAfterMs)));
    }
  }

  async *#readStream(): AsyncGenerator<T> {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), this.#times.silence);
    const resetSilence = (): void => {
      this.#awaySince = undefined;
      this.#isReported = false;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), this.#times.silence);
    };
    this.#retryAfterMs = 0;
    try {
      const response = await this.#connect(silence.signal);
      if (response === undefined) return;
      resetSilence();
      for await (const event of parseEvents(response, resetSilence)) {
        const seen = this.following.parse(event);
        this.#lastEventId = event.id ?? this.#lastEventId;
        if (seen !== undefined) yield seen;
      }
    } catch (error) {
      if (error instanceof CliError) throw error;
      this.#noteAway();
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  /** @returns undefined when there is nothing to read now */
  async #connect(signal: AbortSignal): Promise<Response | undefined> {
    const { url, apiKey } = this.api;
    const response = await fetch(`${url}${this.path}`, {
      redirect: 'manual',
      signal,
      headers: { 'x-api-key': apiKey, ...(this.#lastEventId !== undefined && { 'last-event-id': this.#lastEventId }) },
    }).catch((error: unknown) => {
      const failure = unreachable(url, error);
      this.#noteAway(failure instanceof CliError ? failure.message : `${url} does not answer`);
      throw error;
    });
    if (response.status === 204) {
      this.#hasEnded = true;
      return undefined;
    }
    if (response.ok) return response;
    const error = answeredError(response, await response.json().catch(() => undefined), this.api);
    if (response.status < 500 && response.status !== 429) throw error;
    const retryAfter = Number(response.headers.get('retry-after') ?? 0) || 0;
    this.#retryAfterMs = Math.min(MAX_RETRY_AFTER_SECONDS, retryAfter) * 1000;
    this.#noteAway(error.message);
    return undefined;
  }

  /** @param reason told once, until the API answers again; absent for a stream that broke, which happens often */
  #noteAway(reason?: string): void {
    if (reason !== undefined && !this.#isReported) {
      const minutes = Math.ceil(this.#times.away / 60_000);
      process.stderr.write(`${reason}. The command tries again for up to ${minutes} minutes\n`);
      this.#isReported = true;
    }
    this.#awaySince ??= Date.now();
  }

  #checkAway(): void {
    const { away } = this.#times;
    if (this.#awaySince === undefined || Date.now() - this.#awaySince <= away) return;
    throw new CliError(
      `${this.api.url} has not answered for ${Math.round(away / 60_000)} minutes. ${this.following.whenAway}`,
      EXIT.unavailable,
    );
  }
}

function parseEvents(response: Response, onChunk: () => void): AsyncIterable<StreamEvent> {
  const observer = new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      onChunk();
      controller.enqueue(chunk);
    },
  });
  return response
    .body!.pipeThrough(observer as never)
    .pipeThrough(new TextDecoderStream() as never)
    .pipeThrough(new EventSourceParserStream());
}

/**
 * Follows the server-sent events at a path of the API. Connects again when a connection breaks or the API ends a
 * stream, and resumes after the last event. Ends where the API answers 204.
 * @throws CliError when the API rejects the request, or does not answer for five minutes
 */
export function followEvents<T>(api: Profile, path: string, following: Following<T>): AsyncGenerator<T> {
  return new EventFollower(api, path, following).events();
}
