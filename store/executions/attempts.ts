import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type Db, type DbOrTransaction, sanitizeText } from '../database.js';

/**
 * Moves a failed HealthOmics run to the earlier attempts, and prepares the execution for the next one.
 * @param attempt the attempt that failed. Nothing changes where the execution has a later one already, or has ended.
 * @returns whether it was moved
 */
export async function beginNextAttempt(
  db: Db,
  id: string,
  attempt: number,
  failed: { failureReason: string; statusMessage?: string; description: string },
): Promise<boolean> {
  return db.transaction().execute(async (transaction) => {
    const row = await transaction
      .selectFrom('executions')
      .selectAll()
      .where('id', '=', id)
      .where('attempt', '=', attempt)
      .where('status', 'not in', FINAL_STATUSES)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined || row.healthomics_run_id === null) return false;
    await transaction
      .insertInto('execution_attempts')
      .values({
        execution_id: id,
        attempt,
        healthomics_run_id: row.healthomics_run_id,
        healthomics_run_uuid: row.healthomics_run_uuid,
        healthomics_run_arn: row.healthomics_run_arn,
        run_output_uri: row.run_output_uri,
        healthomics_status: 'FAILED',
        failure_reason: sanitizeText(failed.failureReason),
        status_message: failed.statusMessage === undefined ? null : sanitizeText(failed.statusMessage),
        time_started: row.time_started,
      })
      .execute();
    await transaction
      .updateTable('executions')
      .set({
        attempt: attempt + 1,
        status: 'INITIALIZED',
        status_description: sanitizeText(failed.description),
        start_state: 'none',
        start_request: null,
        healthomics_run_id: null,
        healthomics_run_uuid: null,
        healthomics_run_arn: null,
        run_output_uri: null,
        healthomics_status: null,
        time_started: null,
        time_updated: new Date(),
      })
      .where('id', '=', id)
      .execute();
    return true;
  });
}

/** The earlier HealthOmics runs of an execution, oldest first. */
export async function listAttempts(db: DbOrTransaction, id: string) {
  return db.selectFrom('execution_attempts').selectAll().where('execution_id', '=', id).orderBy('attempt').execute();
}
