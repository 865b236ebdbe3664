import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';

const { handOver } = proxyActivities<Activities>({
  startToCloseTimeout: '10 minutes',
  heartbeatTimeout: '15 seconds',
  retry: { maximumAttempts: 3 },
});

/** Finishes what an interrupted process left undone; see the activity `handOver`. */
export async function sweep(): Promise<{ executions: number; storageConnections: number }> {
  return handOver();
}
