import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import { trackRetrySignals, BlockableSteps } from './blocking.js';
import type { DiscoverRunsInput } from './messages/runs.js';
import { toSummary } from './messages/summary.js';

const PASS: ActivityOptions = { startToCloseTimeout: '30 minutes', heartbeatTimeout: '2 minutes' };
/** The schedule asks again soon, so a pass that keeps failing ends and shows as failed. */
const FEW: ActivityOptions['retry'] = {
  maximumAttempts: 3,
  initialInterval: '1 second',
  nonRetryableErrorTypes: ['Blocked'],
};
// Without retry options of its own: those of a call are laid over them, and a probe must not be bounded by the few tries of a first pass.
const { discoverRunFolders } = proxyActivities<Activities>(PASS);

/**
 * One pass over a storage connection's run folders. A pass that is blocked stays and probes, and the schedule starts no other
 * meanwhile: one workflow that says what lacks, instead of a failed one a minute.
 */
export async function discoverRuns(
  input: DiscoverRunsInput,
): Promise<{ instruments: number; runFolders: number; started: number }> {
  const steps = new BlockableSteps(
    () => `Searching ${input.storageConnectionName} for runs`,
    trackRetrySignals(),
    input.giveUpDays,
  );
  return steps.run((options, probing) =>
    discoverRunFolders.executeWithOptions(
      {
        ...PASS,
        ...(probing
          ? { retry: options.retry, scheduleToCloseTimeout: options.scheduleToCloseTimeout }
          : { retry: FEW }),
        summary: toSummary(`List run folders of ${input.storageConnectionName}`),
      },
      [input],
    ),
  );
}
