import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type DbOrTransaction, sanitizeJson } from '../database.js';

/**
 * The requestId of an execution's StartRun. Each attempt has its own, so repeated calls of an attempt start one run.
 */
export function startRunRequestId({ id, attempt }: { id: string; attempt: number }): string {
  return attempt === 1 ? id : `${id}-${attempt}`;
}

/** Records that the workflow of an execution exists in Temporal. */
export async function markWorkflowStarted(db: DbOrTransaction, id: string): Promise<void> {
  await db
    .updateTable('executions')
    .set({ workflow_started: true })
    .where('id', '=', id)
    .where('workflow_started', '=', false)
    .execute();
}

/**
 * Records that StartRun is about to be sent, with its request.
 * @returns false where you must not send it: the execution is closed for StartRun, has ended, or is at another attempt
 */
export async function markStartSent(
  db: DbOrTransaction,
  { id, attempt }: { id: string; attempt: number },
  request: Record<string, unknown>,
): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({
      start_state: 'sent',
      start_request: sanitizeJson(request),
      status_description: 'Starting the HealthOmics run',
      time_updated: new Date(),
    })
    .where('id', '=', id)
    // A late activity of an earlier attempt must not start anything.
    .where('attempt', '=', attempt)
    .where('start_state', 'in', ['none', 'sent'])
    .where('status', 'not in', FINAL_STATUSES)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Closes an execution for StartRun, unless one was sent. @returns whether it is closed */
export async function closeStart(db: DbOrTransaction, id: string): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({ start_state: 'closed' })
    .where('id', '=', id)
    .where('start_state', 'in', ['none', 'closed'])
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
