import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type DbOrTransaction, sanitizeJson } from '../database.js';
import type { KnownRun } from './recover.js';

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

/** Records that AWS refused StartRun for certain, unless the execution has its run or another attempt by now. */
export async function markStartRefused(
  db: DbOrTransaction,
  { id, attempt }: { id: string; attempt: number },
): Promise<void> {
  await db
    .updateTable('executions')
    .set({ start_state: 'none', start_request: null, time_updated: new Date() })
    .where('id', '=', id)
    .where('attempt', '=', attempt)
    .where('start_state', '=', 'sent')
    .where('healthomics_run_id', 'is', null)
    .where('status', 'not in', FINAL_STATUSES)
    .execute();
}

/**
 * Records the HealthOmics run that StartRun answered. Nothing changes where the execution has its run already, so that an
 * answer that comes late neither takes back what was seen of the run since, nor replaces the run of a later attempt.
 * @returns whether it was recorded
 */
export async function recordStartedRun(
  db: DbOrTransaction,
  { id, attempt }: { id: string; attempt: number },
  run: KnownRun,
): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({
      status: 'PENDING',
      status_description: `HealthOmics run ${run.runId} was started`,
      start_state: 'started',
      healthomics_run_id: run.runId,
      healthomics_run_uuid: run.uuid,
      healthomics_run_arn: run.arn,
      run_output_uri: run.runOutputUri,
      // The first poll sees what has become of a run that was started earlier.
      healthomics_status: 'PENDING',
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .where('attempt', '=', attempt)
    .where('healthomics_run_id', 'is', null)
    .where('status', 'not in', FINAL_STATUSES)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Records that an automatic execution wrote the marker of its run folder. */
export async function markStartClaimed(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('executions').set({ start_claimed: true }).where('id', '=', id).execute();
}

/** Whether an execution wrote the marker of its run folder, as far as the database knows. */
export async function isStartClaimed(db: DbOrTransaction, id: string): Promise<boolean> {
  const row = await db.selectFrom('executions').select('start_claimed').where('id', '=', id).executeTakeFirst();
  return row?.start_claimed === true;
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
