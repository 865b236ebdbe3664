import type { Schema } from '../../client/index.js';
import { type ExecutionStatus, isFinalStatus } from '../../domain/executions/execution.js';
import { EXIT, type Exit } from './exit.js';
import { followEvents, type WatchTimes } from './events.js';
import type { Profile } from './profiles.js';

/** An event of an execution's stream. */
export interface WatchedExecution {
  execution: Schema<'Execution'>;
  details: Schema<'ExecutionDetails'>;
}

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

/**
 * Yields an execution now and at each change, until it ends. Connects again when a connection breaks or the API ends a
 * stream.
 * @throws CliError when the caller may not see the execution, or the API does not answer for five minutes
 */
export async function* watchExecution(api: Profile, id: string, times?: WatchTimes): AsyncGenerator<WatchedExecution> {
  const events = followEvents(api, `/v1/executions/${encodeURIComponent(id)}/events`, {
    parse: ({ data }) => JSON.parse(data) as WatchedExecution,
    whenAway: 'The execution continues; run the command again to watch it',
    ...(times !== undefined && { times }),
  });
  for await (const seen of events) {
    yield seen;
    if (isFinalApiStatus(seen.execution.status)) return;
  }
}
