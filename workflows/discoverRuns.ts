import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import { trackRetrySignals, BlockableSteps } from './blocking.js';
import type { DiscoverRunsInput } from './messages/runs.js';
import { toSummary } from './messages/summary.js';

const SEARCH: ActivityOptions = { startToCloseTimeout: '30 minutes', heartbeatTimeout: '2 minutes' };
/** The schedule starts the next search soon, so one that keeps failing ends and shows as failed. */
const FEW_ATTEMPTS: ActivityOptions['retry'] = {
  maximumAttempts: 3,
  initialInterval: '1 second',
  nonRetryableErrorTypes: ['Blocked'],
};
// Without retry options here: Temporal merges them with those of each call, and the limit of attempts must not hold for
// probes.
const { discoverRunFolders } = proxyActivities<Activities>(SEARCH);

/**
 * Searches a storage connection for run folders once. While AWS denies the search, the workflow stays open and probes,
 * and the schedule starts no other. So one workflow says what is missing, instead of a failed one every minute.
 */
export async function discoverRuns(
  input: DiscoverRunsInput,
): Promise<{ instruments: number; runFolders: number; started: number }> {
  const steps = new BlockableSteps(
    () => `Searching ${input.storageConnectionName} for runs`,
    trackRetrySignals({ kind: 'storageConnection', id: input.storageConnectionId }),
    input.giveUpDays,
  );
  return steps.run((options, probing) =>
    discoverRunFolders.executeWithOptions(
      {
        ...SEARCH,
        ...(probing
          ? { retry: options.retry, scheduleToCloseTimeout: options.scheduleToCloseTimeout }
          : { retry: FEW_ATTEMPTS }),
        summary: toSummary(`List run folders of ${input.storageConnectionName}`),
      },
      [input],
    ),
  );
}
