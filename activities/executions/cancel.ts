import { CancelRunCommand, GetRunCommand, type OmicsClient } from '@aws-sdk/client-omics';
import { classifyAwsError } from '../../aws/errors.js';
import { recordCancelRequest } from '../../store/executions/cancel.js';
import type { CancelRequest } from '../../workflows/messages/executions.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { runCall, withAwsErrors } from './awsCalls.js';
import { loadStartedExecution } from './context.js';

/** Who is said to have requested a cancel where the signal does not say it. */
export const UNNAMED_REQUESTER = 'a Temporal signal';

export function createCancelActivities(dependencies: Pick<Dependencies, 'db' | 'aws' | 'orchestrator'>) {
  const { db, aws } = dependencies;
  return {
    /** Cancels the HealthOmics run. A run that has ended or is ending stays as it is. */
    async cancelRun(executionId: string, request: CancelRequest): Promise<void> {
      const execution = await loadStartedExecution(dependencies, executionId);
      const runId = execution.healthOmics?.runId;
      if (runId === undefined) return;
      // CancelRun must be sent even where the request cannot be recorded.
      await recordCancelRequest(db, executionId, request.requestedBy ?? UNNAMED_REQUESTER, request.reason).catch(
        () => undefined,
      );
      const omics = aws.omics(execution.provider.id, execution.compute.region);
      await withHeartbeat(() =>
        withAwsErrors(dependencies, execution, runCall(execution, 'omics:CancelRun', runId), () =>
          cancelUnlessEnding(omics, runId),
        ),
      );
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
