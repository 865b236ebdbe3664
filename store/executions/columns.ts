import { sql } from 'kysely';
import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import type { EXECUTION_FILTER } from '../../domain/executions/filter.js';
import type { FilterColumns } from '../filters.js';

/** Whether an execution `e` waits for a person. What blocked one that has ended stays in its row. */
export const isExecutionBlocked = sql<boolean>`(e.blocked is not null and e.status not in (${sql.join(
  FINAL_STATUSES.map((status) => sql.lit(status)),
)}))`;

/**
 * The keywords of executions, in a query of executions `e` with flow `f` and run `r`, as the indexes have them (migrations
 * 0025 and 0029).
 */
export const EXECUTION_COLUMNS: FilterColumns<typeof EXECUTION_FILTER> = {
  name: sql`e.name`,
  id: { id: sql`e.id`, text: sql`e.id::text` },
  status: sql`e.status`,
  blocked: isExecutionBlocked,
  platform: sql`'aws_omics'`,
  'output.kind': sql`case when e.status = 'COMPLETED' then 'fastq' end`,
  time_created: sql`e.time_created`,
  time_started: sql`e.time_started`,
  time_completed: sql`e.time_completed`,
  time_updated: sql`e.time_updated`,
  'input.run.id': { id: sql`e.run_id`, text: sql`r.id::text` },
  'input.run.name': sql`r.run_name`,
  'input.run.instrument_name': sql`r.instrument_name`,
  'input.execution.id': null,
  'input.execution.name': null,
  'flow.name': sql`f.name`,
  'workflow.name': sql`coalesce(e.workflow_name, 'bases2fastq')`,
  started_by: sql`e.started_by`,
};
