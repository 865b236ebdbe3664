import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { appendAudit, TEMPORAL_CALLER } from '../audit.js';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';
import { executionQuery, type ExecutionContext, toExecutionContext } from './load.js';

/**
 * Records who requested to cancel an execution first. A later request changes nothing.
 * @returns whether this request is the first one
 */
export async function recordCancelRequest(
  db: DbOrTransaction,
  id: string,
  requestedBy: string,
  reason: string | undefined,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('executions')
    .set({
      cancel_requested_by: sanitizeText(requestedBy),
      cancel_reason: reason === undefined ? null : sanitizeText(reason),
      time_cancel_requested: new Date(),
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .where('cancel_requested_by', 'is', null)
    .where('status', 'not in', FINAL_STATUSES)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** A request to cancel an execution that did not come from the API. */
interface UnauthenticatedCancel {
  reason?: string;
  /** Who the message says that it is from. Anybody can write anything there. */
  claimedBy?: string;
  /** For the audit log: the workflow that received the message, and what was done to it. */
  origin: Readonly<Record<string, string>>;
}

/**
 * Records that a workflow cancels an execution although nobody requested it from the API, and writes that to the audit
 * log. Nothing changes where a request is recorded already, so it can be repeated, and nobody can take a request over.
 */
export async function recordUnauthenticatedCancel(
  db: Db,
  id: string,
  { reason, claimedBy, origin }: UnauthenticatedCancel,
): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    if (!(await recordCancelRequest(transaction, id, TEMPORAL_CALLER.name, reason))) return;
    await appendAudit(transaction, {
      caller: TEMPORAL_CALLER,
      action: 'ExecutionService_CancelExecution',
      requestId: origin.workflowRunId ?? origin.workflowId ?? id,
      resourceType: 'executions',
      resourceId: id,
      detail: {
        ...origin,
        ...(reason !== undefined && { reason }),
        ...(claimedBy !== undefined && { claimedBy }),
      },
    });
  });
}

/** Records that the workflow has received the cancel request. */
export async function markCancelSignalled(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('executions').set({ cancel_signalled: true }).where('id', '=', id).execute();
}

/**
 * Executions whose workflow did not receive an accepted cancel request, because a process died or Temporal was not
 * reachable.
 */
export async function listCancelsToSignal(db: DbOrTransaction, requestedBefore: Date): Promise<ExecutionContext[]> {
  const rows = await executionQuery(db)
    .where('e.cancel_requested_by', 'is not', null)
    .where('e.cancel_signalled', '=', false)
    .where('e.time_cancel_requested', '<', requestedBefore)
    .where('e.status', 'not in', FINAL_STATUSES)
    .orderBy('e.id')
    .limit(500)
    .execute();
  return rows.map(toExecutionContext);
}
