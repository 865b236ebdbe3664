import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';
import { contextQuery, type ExecutionContext, toContext } from './load.js';

/** Notes who asked for a cancel first; a later request changes nothing. */
export async function recordCancelRequest(
  db: Db,
  id: string,
  requestedBy: string,
  reason: string | undefined,
): Promise<void> {
  await db
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
    .execute();
}

/** Notes that the workflow has been told of the cancel. */
export async function markCancelSignalled(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('executions').set({ cancel_signalled: true }).where('id', '=', id).execute();
}

/** Executions whose cancel was accepted and of which the workflow has not been told, because a process died or Temporal was away. */
export async function listCancelsToSignal(db: DbOrTransaction, requestedBefore: Date): Promise<ExecutionContext[]> {
  const rows = await contextQuery(db)
    .where('e.cancel_requested_by', 'is not', null)
    .where('e.cancel_signalled', '=', false)
    .where('e.time_cancel_requested', '<', requestedBefore)
    .where('e.status', 'not in', FINAL_STATUSES)
    .orderBy('e.id')
    .limit(500)
    .execute();
  return rows.map(toContext);
}
