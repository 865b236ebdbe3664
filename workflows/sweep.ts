import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';

const OPTIONS: ActivityOptions = {
  startToCloseTimeout: '10 minutes',
  heartbeatTimeout: '15 seconds',
  retry: { maximumAttempts: 3 },
  summary: 'Finish what an interrupted process left undone',
};
const { handOver } = proxyActivities<Activities>(OPTIONS);

/**
 * Finishes what an interrupted process left undone. Workers do it by themselves now (`worker/leasedWork.ts`); this
 * workflow ends those of older versions.
 */
export async function sweep(): Promise<{ executions: number }> {
  return handOver();
}
