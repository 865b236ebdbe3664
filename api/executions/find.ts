import { isFinalStatus } from '../../domain/executions/execution.js';
import { noteLogIds } from '../../observability/logContext.js';
import { type DbOrTransaction, isId } from '../../store/database.js';
import { type ListedExecution, findListedExecution } from '../../store/executions/load.js';
import { executionWorkflowId } from '../../workflows/messages/executions.js';
import { ApiError, notFoundError } from '../errors.js';

/** @throws ApiError 404 */
export async function requireExecution(db: DbOrTransaction, id: string): Promise<ListedExecution> {
  const execution = isId(id) ? await findListedExecution(db, id) : undefined;
  if (execution === undefined) throw notFoundError('execution', id);
  noteLogIds({
    executionId: id,
    runId: execution.run.id,
    ...(execution.healthOmics !== null && { healthOmicsRunId: execution.healthOmics.runId }),
  });
  return execution;
}

/** The 409 of an execution that has ended with this status. */
export function endedError(status: string): ApiError {
  return new ApiError(
    409,
    'EXECUTION_ENDED',
    `The execution has already ended as ${status}. To run it again, relaunch it (polony executions relaunch, or ` +
      'POST …/relaunch)',
    { status: `EXECUTION_STATUS_${status}` },
  );
}

/**
 * Why a message could not be sent to the workflow of an execution, although the store did not know of its end: the
 * workflow is writing its end at this moment, or somebody terminated it in Temporal.
 */
export async function workflowEndedError(db: DbOrTransaction, id: string): Promise<ApiError> {
  const { status } = await requireExecution(db, id);
  if (isFinalStatus(status)) return endedError(status);
  return new ApiError(
    409,
    'WORKFLOW_ENDED',
    `The workflow ${executionWorkflowId(id)} of the execution is not running. Somebody may have terminated it: ` +
      'look at its history in Temporal',
  );
}
