import { CancelRunCommand, GetRunCommand, type OmicsClient } from '@aws-sdk/client-omics';
import { classifyAwsError } from '../../aws/errors.js';
import { Context } from '@temporalio/activity';
import { recordUnauthenticatedCancel } from '../../store/executions/cancel.js';
import { findExecution } from '../../store/executions/load.js';
import type { CancelRequest } from '../../workflows/messages/executions.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { runCall, withAwsErrors } from './awsCalls.js';
import { loadStartedExecution } from './startedExecution.js';

/** Who requested to cancel an execution, as the database knows it. The workflow shows it. */
export interface ConfirmedCancel {
  /** Absent where the execution had ended before the request. */
  cancelledBy?: string;
}

/**
 * Records why a workflow cancels an execution. The API records a request before it signals the workflow. So a request
 * that is not recorded came through Temporal, whatever it says about its sender.
 */
export async function recordCancelOf(
  db: Dependencies['db'],
  executionId: string,
  request: CancelRequest,
): Promise<ConfirmedCancel> {
  const { workflowExecution } = Context.current().info;
  await recordUnauthenticatedCancel(db, executionId, {
    reason: request.reason,
    claimedBy: request.requestedBy,
    origin: { workflowId: workflowExecution?.workflowId ?? '', workflowRunId: workflowExecution?.runId ?? '' },
  });
  const cancelledBy = (await findExecution(db, executionId))?.cancel?.requestedBy;
  return cancelledBy === undefined ? {} : { cancelledBy };
}

export function createCancelActivities(dependencies: Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'secrets'>) {
  const { db, aws } = dependencies;
  return {
    /**
     * Cancels the HealthOmics run. A run that has ended or is ending stays as it is.
     * @param attempt the one that the workflow is at; absent in histories from before it was passed.
     */
    async cancelRun(executionId: string, request: CancelRequest, attempt?: number): Promise<ConfirmedCancel | void> {
      const execution = await loadStartedExecution(dependencies, executionId, attempt);
      const runId = execution.healthOmics?.runId;
      if (runId === undefined) return;
      // As for requests of the API: what cannot be recorded is not done. Temporal repeats this activity.
      const confirmed = await recordCancelOf(db, executionId, request);
      const omics = aws.omics(execution.provider.id, execution.compute.region);
      await withHeartbeat(() =>
        withAwsErrors(dependencies, execution, runCall(execution, 'omics:CancelRun', runId), () =>
          cancelUnlessEnding(omics, runId),
        ),
      );
      return confirmed;
    },
  };
}

async function cancelUnlessEnding(omics: OmicsClient, runId: string): Promise<void> {
  try {
    await omics.send(new CancelRunCommand({ id: runId }));
  } catch (error) {
    const { kind } = classifyAwsError(error);
    // A deleted run needs no cancel.
    if (kind === 'not-found') return;
    // AWS does not document its answer for a run that has ended or is ending. So the run's status decides.
    if (kind !== 'conflict' && kind !== 'invalid') throw error;
    const { status } = await omics.send(new GetRunCommand({ id: runId }));
    if (status === 'PENDING' || status === 'STARTING' || status === 'RUNNING') throw error;
  }
}
