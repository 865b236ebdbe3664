import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type DbOrTransaction, sanitizeJson } from '../database.js';

/** The requestId of an execution's StartRun: another for each attempt, the same however often that is asked for. */
export function startRunRequestId({ id, attempt }: { id: string; attempt: number }): string {
  return attempt === 1 ? id : `${id}-${attempt}`;
}

export async function markWorkflowStarted(db: DbOrTransaction, id: string): Promise<void> {
  await db
    .updateTable('executions')
    .set({ workflow_started: true })
    .where('id', '=', id)
    .where('workflow_started', '=', false)
    .execute();
}

/**
 * Notes that StartRun is about to be sent, with what.
 * @returns false where it must not be: the execution was closed against it, or has ended.
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
    // Late work of an attempt that is over must not start anything.
    .where('attempt', '=', attempt)
    .where('start_state', 'in', ['none', 'sent'])
    .where('status', 'not in', FINAL_STATUSES)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Closes an execution against StartRun where none is known to have been sent. @returns whether it is closed. */
export async function closeStart(db: DbOrTransaction, id: string): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({ start_state: 'closed' })
    .where('id', '=', id)
    .where('start_state', 'in', ['none', 'closed'])
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
