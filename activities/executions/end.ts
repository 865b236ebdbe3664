import { updateExecution } from '../../store/executions/update.js';
import { leaveStartQueue } from '../../store/executions/pacing.js';
import type { FinalStatus } from '../../domain/executions/execution.js';
import type { CancelRequest } from '../../workflows/messages/executions.js';
import type { Dependencies } from '../dependencies.js';
import { recordCancelOf } from './cancel.js';

/** How an execution ended. */
export interface ExecutionEnd {
  status: FinalStatus;
  description: string;
  /** Of a failure; `Failed` where it is absent. */
  errorType?: string;
  /** The request to cancel, where there was one. */
  cancel?: CancelRequest;
}

export function createEndActivities({ db }: Pick<Dependencies, 'db'>) {
  return {
    /** Records how an execution ended, where no results say it. */
    async recordEnd(executionId: string, end: ExecutionEnd): Promise<void> {
      const { status, description, errorType, cancel } = end;
      await leaveStartQueue(db, executionId);
      if (cancel !== undefined) await recordCancelOf(db, executionId, cancel);
      await updateExecution(db, executionId, {
        status,
        statusDescription: description,
        blocked: null,
        timeCompleted: new Date(),
        ...(status === 'FAILED' && { error: { type: errorType ?? 'Failed', message: description } }),
      });
    },
  };
}
