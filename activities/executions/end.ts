import { counted } from '../../observability/metrics.js';
import { updateExecution } from '../../store/executions/update.js';
import { leaveStartQueue } from '../../store/executions/pacing.js';
import type { FinalStatus } from '../../domain/executions/execution.js';
import type { CancelRequest } from '../../workflows/messages/executions.js';
import type { StepDependencies } from './context.js';
import { type ConfirmedCancel, recordCancelOf } from './cancel.js';
import { recordEndInBucket } from './records.js';

/** How an execution ended. */
export interface ExecutionEnd {
  status: FinalStatus;
  description: string;
  /** Of a failure; `Failed` where it is absent. */
  errorType?: string;
  /** The request to cancel, where there was one. */
  cancel?: CancelRequest;
}

export function createEndActivities(dependencies: StepDependencies) {
  const { db } = dependencies;
  return {
    /** Records how an execution ended, where no results say it. */
    async recordEnd(executionId: string, end: ExecutionEnd): Promise<ConfirmedCancel | void> {
      const { status, description, errorType, cancel } = end;
      await leaveStartQueue(db, executionId);
      const confirmed = cancel === undefined ? undefined : await recordCancelOf(db, executionId, cancel);
      await updateExecution(db, executionId, {
        status,
        statusDescription: description,
        blocked: null,
        timeCompleted: new Date(),
        ...(status === 'FAILED' && { error: { type: errorType ?? 'Failed', message: description } }),
      });
      counted.executionsEnded.inc({ status });
      await recordEndInBucket(dependencies, executionId);
      return confirmed;
    },
  };
}
