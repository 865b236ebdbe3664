import type { Dependencies } from './dependencies.js';
import { createExecutionActivities } from './execution.js';
import { createRunActivities } from './runs.js';
import { createSharingActivities } from './sharing.js';
import { createVerificationActivities } from './verification.js';
import { createWebhookActivities } from './webhooks.js';

export type { Dependencies } from './dependencies.js';

/** All activities, with what they work with. The worker splits them over its task queues by name. */
export function createActivities(dependencies: Dependencies) {
  return {
    ...createExecutionActivities(dependencies),
    ...createRunActivities(dependencies),
    ...createVerificationActivities(dependencies),
    ...createSharingActivities(dependencies),
    ...createWebhookActivities(dependencies.db, dependencies.webhooks),
  };
}

/** The activities as workflows see them. */
export type Activities = ReturnType<typeof createActivities>;
