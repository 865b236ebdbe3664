import type { RecordedStep } from '../../domain/executions/steps.js';
import type { DbOrTransaction } from '../database.js';

/** When an execution entered its steps. Triggers write the rows (migration 0025). */
export async function loadSteps(db: DbOrTransaction, executionId: string): Promise<RecordedStep[]> {
  const rows = await db
    .selectFrom('execution_steps')
    .select(['attempt', 'step', 'time_started'])
    .where('execution_id', '=', executionId)
    .execute();
  return rows.map(({ attempt, step, time_started: timeStarted }) => ({ attempt, step, timeStarted }));
}
