import { activityInfo } from '@temporalio/activity';
import { appendAudit, hasAuditEntry, isEntryOfRequest, TEMPORAL_CALLER } from '../../store/audit.js';
import type { RetryTarget } from '../../workflows/messages/retry.js';
import type { Dependencies } from '../dependencies.js';

/** What the audit log calls a retry: as the route of the API, where there is one. */
const ACTIONS = {
  execution: { action: 'ExecutionService_RetryExecution', resourceType: 'executions' },
  run: { action: 'RunService_RetryRun', resourceType: 'runs' },
  storageConnection: { action: 'discoverRuns.retry', resourceType: 'storage' },
} as const;

/** The activity that records the signal `retry`. */
export function createRetryActivities({ db }: Pick<Dependencies, 'db'>) {
  return {
    /**
     * Records in the audit log that somebody sent the signal `retry` through Temporal. A signal of the API has an entry
     * already. The activity can be repeated.
     * @param auditId the entry of the request of the API that the signal claims to come from
     */
    async recordRetry({ kind, id }: RetryTarget, auditId?: string): Promise<void> {
      const { action, resourceType } = ACTIONS[kind];
      if (auditId !== undefined && (await isEntryOfRequest(db, { id: auditId, action, resourceId: id }))) return;
      const { activityId, workflowExecution } = activityInfo();
      const { workflowId = '', runId: workflowRunId = '' } = workflowExecution ?? {};
      const own = { requestId: `${workflowRunId}/${activityId}`, action, resourceId: id };
      if (await hasAuditEntry(db, { ...own, callerKind: TEMPORAL_CALLER.kind })) return;
      await appendAudit(db, { ...own, caller: TEMPORAL_CALLER, resourceType, detail: { workflowId, workflowRunId } });
    },
  };
}
