import type { Dependencies } from './dependencies.js';
import { createRetryActivities } from './audit/retries.js';
import { createExecutionActivities } from './executions/index.js';
import { createGrantActivities } from './grants/index.js';
import { createRunActivities } from './runs/index.js';
import { createVerificationActivities } from './verification/index.js';
import { createWebhookActivities } from './webhooks/deliver.js';

export type { Dependencies } from './dependencies.js';

/** All activities, grouped by the task queue that they run on (see `taskQueues`). */
export function createActivities(dependencies: Dependencies) {
  const executions = createExecutionActivities(dependencies);
  return {
    main: {
      ...executions.main,
      ...createRunActivities(dependencies),
      ...createVerificationActivities(dependencies),
      ...createGrantActivities(dependencies),
      ...createRetryActivities(dependencies),
    },
    watch: executions.watch,
    webhooks: createWebhookActivities(dependencies.db, dependencies.webhooks),
  };
}

type ActivitiesByQueue = ReturnType<typeof createActivities>;

/** The activities as workflows see them: by name, whichever task queue they run on. */
export type Activities = ActivitiesByQueue['main'] & ActivitiesByQueue['watch'] & ActivitiesByQueue['webhooks'];
