import { EventSourceParserStream } from 'eventsource-parser/stream';
import type { Schema } from '../../client/index.js';
import { answeredError, CliError, EXIT, type Exit, unreachable } from './exit.js';
import type { Profile } from './profiles.js';

/** What a stream of an execution tells. */
export interface WatchedExecution {
  execution: Schema<'Execution'>;
  details: Schema<'ExecutionDetails'>;
}

/** Longest time without an answer before watching is given up, in milliseconds. */
const AWAY_MS = 300_000;

/**
 * An execution now and at each change, until it has ended; connections that break are made anew.
 * @throws CliError where it may not be seen, or the API stays away for five minutes.
 */
export async function* watchExecution({ url, apiKey }: Profile, id: string): AsyncGenerator<WatchedExecution> {
  let last: string | undefined;
  for (let heard = Date.now(); ; ) {
    try {
      const response = await fetch(`${url}/v1/executions/${encodeURIComponent(id)}/events`, { headers: { 'x-api-key': apiKey, ...(last !== undefined && { 'last-event-id': last }) } });
      if (response.status === 204) return;
      if (!response.ok) {
        const error = answeredError(response.status, await response.json().catch(() => undefined));
        if (error.exit !== EXIT.unavailable) throw error;
      } else {
        heard = Date.now();
        const events = response.body!.pipeThrough(new TextDecoderStream() as never).pipeThrough(new EventSourceParserStream()) as unknown as AsyncIterable<{ id?: string; data: string }>;
        for await (const event of events) {
          heard = Date.now();
          last = event.id;
          const seen = JSON.parse(event.data) as WatchedExecution;
          yield seen;
          if (hasEnded(seen.execution.status)) return;
        }
      }
    } catch (error) {
      if (error instanceof CliError || Date.now() - heard > AWAY_MS) throw unreachable(url, error);
    }
    if (Date.now() - heard > AWAY_MS) throw new CliError(`${url} has not answered for five minutes; the execution goes on without being watched`, EXIT.unavailable);
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

/** Whether an execution will not change any more. */
export function hasEnded(status: string): boolean {
  return /_(COMPLETED|FAILED|CANCELED)$/.test(status);
}

/** The exit code of who has watched an execution to its end. */
export function exitOf(status: string): Exit {
  return status.endsWith('_FAILED') ? EXIT.executionFailed : status.endsWith('_CANCELED') ? EXIT.executionCanceled : EXIT.ok;
}
