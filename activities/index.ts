import type { Dependencies } from './dependencies.js';
import { createExecutionActivities } from './executions/index.js';
import { createRunActivities } from './runs/runs.js';
import { createSharingActivities } from './grants/grants.js';
import { createVerificationActivities } from './verification/verify.js';
import { createWebhookActivities } from './webhooks/deliver.js';

export type { Dependencies } from './dependencies.js';

/** All activities, with what they work with. The worker splits them over its task queues by name. */
export function createActivities(dependencies: Dependencies) {
  const executions = createExecutionActivities(dependencies);
  return {
    ...executions.main,
    ...executions.watch,
    ...createRunActivities(dependencies),
    ...createVerificationActivities(dependencies),
    ...createSharingActivities(dependencies),
    ...createWebhookActivities(dependencies.db, dependencies.webhooks),
  };
}

/** The activities as workflows see them. */
export type Activities = ReturnType<typeof createActivities>;
