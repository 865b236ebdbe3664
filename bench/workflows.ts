import { proxyActivities } from '@temporalio/workflow';

const { nothing } = proxyActivities<{ nothing: () => Promise<void> }>({ startToCloseTimeout: '1 day' });

/** The reference for executions: a workflow with the same number of activities, which do nothing. */
export async function bare(activities: number): Promise<void> {
  for (let at = 0; at < activities; at++) await nothing();
}
