import { EventSourceParserStream } from 'eventsource-parser/stream';
import type { Schema } from '../../client/index.js';
import { type ExecutionStatus, isFinalStatus } from '../../domain/executions/execution.js';
import { answeredError, CliError, EXIT, type Exit } from './exit.js';
import type { Profile } from './profiles.js';

/** An event of an execution's stream. */
export interface WatchedExecution {
  execution: Schema<'Execution'>;
  details: Schema<'ExecutionDetails'>;
}

/** Limits of watching, in milliseconds. */
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

const statusOf = (apiStatus: string): ExecutionStatus => apiStatus.replace(/^EXECUTION_STATUS_/, '') as ExecutionStatus;

/** Whether an execution with this status of the API can no longer change. */
export function isFinalApiStatus(apiStatus: string): boolean {
  return isFinalStatus(statusOf(apiStatus));
}

/** The exit code for an execution that has ended with this status of the API. */
export function exitCodeOf(apiStatus: string): Exit {
  const status = statusOf(apiStatus);
  if (status === 'FAILED') return EXIT.executionFailed;
  return status === 'CANCELED' ? EXIT.executionCanceled : EXIT.ok;
}

/** Reads the streams of one execution and connects again when one ends. */
class ExecutionWatch {
  #lastEventId: string | undefined;
  /** Since when the API does not answer. A stream may be quiet for days, so silence alone does not count. */
  #awaySince: number | undefined;
  #retryAfterMs = 0;
  #hasEnded = false;

  constructor(
    private readonly api: Profile,
    private readonly id: string,
    private readonly times: WatchTimes,
  ) {}

  async *events(): AsyncGenerator<WatchedExecution> {
    while (!this.#hasEnded) {
      yield* this.#readStream();
      if (this.#hasEnded) return;
      this.#checkAway();
      await new Promise((resolve) => setTimeout(resolve, Math.max(this.times.pause, this.#retryAfterMs)));
    }
  }

  async *#readStream(): AsyncGenerator<WatchedExecution> {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), this.times.silence);
    const resetSilence = (): void => {
      this.#awaySince = undefined;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), this.times.silence);
    };
    this.#retryAfterMs = 0;
    try {
      const response = await this.#connect(silence.signal);
      if (response === undefined) return;
      resetSilence();
      for await (const event of parseEvents(response, resetSilence)) {
        const seen = JSON.parse(event.data) as WatchedExecution;
        this.#lastEventId = event.id;
        // Before the event is delivered: the reader may stop reading with it.
        this.#hasEnded = isFinalApiStatus(seen.execution.status);
        yield seen;
        if (this.#hasEnded) return;
      }
    } catch (error) {
      if (error instanceof CliError) throw error;
      this.#awaySince ??= Date.now();
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  /** @returns undefined when there is nothing to read now */
  async #connect(signal: AbortSignal): Promise<Response | undefined> {
    const { url, apiKey } = this.api;
    const response = await fetch(`${url}/v1/executions/${encodeURIComponent(this.id)}/events`, {
      redirect: 'manual',
      signal,
      headers: { 'x-api-key': apiKey, ...(this.#lastEventId !== undefined && { 'last-event-id': this.#lastEventId }) },
    });
    if (response.status === 204) {
      this.#hasEnded = true;
      return undefined;
    }
    if (response.ok) return response;
    const error = answeredError(response, await response.json().catch(() => undefined));
    if (response.status < 500 && response.status !== 429) throw error;
    const retryAfter = Number(response.headers.get('retry-after') ?? 0) || 0;
    this.#retryAfterMs = Math.min(MAX_RETRY_AFTER_SECONDS, retryAfter) * 1000;
    this.#awaySince ??= Date.now();
    return undefined;
  }

  #checkAway(): void {
    const { away } = this.times;
    if (this.#awaySince === undefined || Date.now() - this.#awaySince <= away) return;
    throw new CliError(
      `${this.api.url} has not answered for ${Math.round(away / 60_000)} minutes. ` +
        'The execution continues; run the command again to watch it',
      EXIT.unavailable,
    );
  }
}

function parseEvents(response: Response, onChunk: () => void): AsyncIterable<{ id?: string; data: string }> {
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
 * Yields an execution now and at each change, until it ends. Connects again when a connection breaks or the API ends a
 * stream.
 * @throws CliError when the caller may not see the execution, or the API does not answer for five minutes
 */
export function watchExecution(api: Profile, id: string, times: WatchTimes = TIMES): AsyncGenerator<WatchedExecution> {
  return new ExecutionWatch(api, id, times).events();
}
