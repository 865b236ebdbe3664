import type { FastifyReply } from 'fastify';
import { isFinalStatus } from '../../domain/executions/execution.js';
import { markCancelSignalled, recordCancelRequest } from '../../store/executions/cancel.js';
import { findExecution } from '../../store/executions/load.js';
import { markWorkflowStarted } from '../../store/executions/start.js';
import type { ApiDependencies } from '../dependencies.js';
import { withTemporalErrors } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import type { RequestOf } from '../requests.js';
import { endedError, requireExecution, workflowEndedError } from './find.js';
import { presentExecution } from './present.js';
import type { operations } from './schemas.js';

/** Records the request to cancel an execution, and signals its workflow. */
export async function handleCancelExecution(
  { db, orchestrator }: ApiDependencies,
  request: RequestOf<typeof operations.cancel>,
  reply: FastifyReply,
) {
  const { id } = request.params;
  const { reason } = request.body;
  const { caller } = request;
  const recorded = await createIdempotently(db, request, reply, 202, async (transaction) => {
    const execution = await requireExecution(transaction, id);
    if (isFinalStatus(execution.status)) throw endedError(execution.status);
    await recordCancelRequest(transaction, execution.id, caller, reason);
    return { execution: presentExecution(await requireExecution(transaction, id)) };
  });
  const execution = await findExecution(db, recorded.execution.id);
  // The request may be a repeated one, and the execution may have ended since, as the caller wanted.
  if (execution === undefined || isFinalStatus(execution.status)) return recorded;
  const isSignalled = await withTemporalErrors(
    request.log,
    orchestrator.executions.cancel(execution, { requestedBy: caller.name, reason }),
  );
  if (!isSignalled) throw await workflowEndedError(db, execution.id);
  await markWorkflowStarted(db, execution.id);
  await markCancelSignalled(db, execution.id);
  return recorded;
}

/** Makes the workflow of a blocked execution try again now. */
export async function handleRetryExecution(
  { db, orchestrator }: ApiDependencies,
  request: RequestOf<typeof operations.retry>,
  reply: FastifyReply,
) {
  const found = await requireExecution(db, request.params.id);
  if (isFinalStatus(found.status)) throw endedError(found.status);
  const isSignalled = await withTemporalErrors(
    request.log,
    orchestrator.executions.retry(found.id, request.audited!.id),
  );
  if (!isSignalled) {
    const execution = await findExecution(db, found.id);
    if (execution === undefined || execution.workflowStarted) throw await workflowEndedError(db, found.id);
    // The execution was accepted while Temporal was unavailable: to retry is to start its workflow.
    await withTemporalErrors(request.log, orchestrator.executions.start(execution));
    await markWorkflowStarted(db, found.id);
  }
  void reply.code(202);
  return { execution: presentExecution(found) };
}
