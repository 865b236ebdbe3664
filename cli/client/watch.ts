import { EventSourceParserStream } from 'eventsource-parser/stream';
import type { Schema } from '../../client/index.js';
import { answeredError, CliError, EXIT, type Exit } from './exit.js';
import type { Profile } from './profiles.js';

/** What a stream of an execution tells. */
export interface WatchedExecution {
  execution: Schema<'Execution'>;
  details: Schema<'ExecutionDetails'>;
}

/** In milliseconds. */
export interface WatchTimes {
  /** Longest that the API may stay away before watching is given up. */
  away: number;
  /** Longest silence of a stream before it is taken for dead: the API writes a comment every 15 seconds. */
  silence: number;
  /** Between two streams. */
  pause: number;
}
const TIMES: WatchTimes = { away: 300_000, silence: 60_000, pause: 2000 };

/**
 * An execution now and at each change, until it has ended; connections that break, and those that the API ends, are made anew.
 * @throws CliError where it may not be seen, or the API stays away for five minutes.
 */
export async function* watchExecution(
  { url, apiKey }: Profile,
  id: string,
  { away, silence, pause }: WatchTimes = TIMES,
): AsyncGenerator<WatchedExecution> {
  let last: string | undefined;
  // Counted from the first failure, not from the last word: a stream may be quiet for days.
  let awaySince: number | undefined;
  for (;;) {
    let wait = pause;
    const dead = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const heard = (): void => {
      awaySince = undefined;
      clearTimeout(timer);
      timer = setTimeout(() => dead.abort(), silence);
    };
    try {
      timer = setTimeout(() => dead.abort(), silence);
      const response = await fetch(`${url}/v1/executions/${encodeURIComponent(id)}/events`, {
        redirect: 'manual',
        signal: dead.signal,
        headers: { 'x-api-key': apiKey, ...(last !== undefined && { 'last-event-id': last }) },
      });
      if (response.status === 204) return;
      if (!response.ok) {
        const error = answeredError(response, await response.json().catch(() => undefined));
        if (response.status < 500 && response.status !== 429) throw error;
        wait = Math.max(pause, Math.min(60, Number(response.headers.get('retry-after') ?? 0) || 0) * 1000);
        awaySince ??= Date.now();
      } else {
        const chunks = new TransformStream<Uint8Array, Uint8Array>({
          transform: (chunk, controller) => {
            heard();
            controller.enqueue(chunk);
          },
        });
        heard();
        const events = response
          .body!.pipeThrough(chunks as never)
          .pipeThrough(new TextDecoderStream() as never)
          .pipeThrough(new EventSourceParserStream()) as unknown as AsyncIterable<{ id?: string; data: string }>;
        for await (const event of events) {
          const seen = JSON.parse(event.data) as WatchedExecution;
          last = event.id;
          yield seen;
          if (hasEnded(seen.execution.status)) return;
        }
      }
    } catch (error) {
      if (error instanceof CliError) throw error;
      awaySince ??= Date.now();
    } finally {
      clearTimeout(timer);
      dead.abort();
    }
    if (awaySince !== undefined && Date.now() - awaySince > away)
      throw new CliError(
        `${url} has not answered for ${Math.round(away / 60_000)} minutes; the execution goes on without being watched`,
        EXIT.unavailable,
      );
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** Whether an execution will not change any more. */
export function hasEnded(status: string): boolean {
  return /_(COMPLETED|FAILED|CANCELED)$/.test(status);
}

/** The exit code of who has watched an execution to its end. */
export function exitOf(status: string): Exit {
  return status.endsWith('_FAILED')
    ? EXIT.executionFailed
    : status.endsWith('_CANCELED')
      ? EXIT.executionCanceled
      : EXIT.ok;
}
