import { proxyActivities } from '@temporalio/workflow';

interface EmptyActivities {
  nothing: () => Promise<void>;
  stayOpen: () => Promise<void>;
}
const { nothing, stayOpen } = proxyActivities<EmptyActivities>({ startToCloseTimeout: '1 day' });

/** The reference for executions: a workflow with the same number of activities, which do nothing. */
export async function bare(activities: number): Promise<void> {
  for (let at = 0; at < activities; at++) await nothing();
}

/** What a watched run is for Temporal: an open workflow with an open activity. */
export async function open(): Promise<void> {
  await stayOpen();
}
