import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { DiscoverRunsInput } from './messages.js';

const OPTIONS: ActivityOptions = {
  startToCloseTimeout: '30 minutes',
  heartbeatTimeout: '2 minutes',
  // The schedule asks again soon, so a pass that keeps failing ends and shows as failed.
  retry: { maximumAttempts: 3, initialInterval: '1 second', nonRetryableErrorTypes: ['Blocked'] },
};
const { discoverRunFolders } = proxyActivities<Activities>(OPTIONS);

/** One pass over a storage connection's run folders. */
export async function discoverRuns(input: DiscoverRunsInput): Promise<{ instruments: number; runFolders: number; started: number }> {
  return discoverRunFolders.executeWithOptions({ ...OPTIONS, summary: `List run folders of ${input.storageConnectionName}` }, [input]);
}
