import { proxyActivities } from '@temporalio/workflow';

const { nothing } = proxyActivities<{ nothing: () => Promise<void> }>({ startToCloseTimeout: '1 minute' });

/** What executions are measured against: a workflow of as many activities that do nothing. */
export async function bare(activities: number): Promise<void> {
  for (let at = 0; at < activities; at++) await nothing();
}
