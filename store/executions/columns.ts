import { sql } from 'kysely';
import type { EXECUTION_FILTER } from '../../domain/filter.js';
import type { FilterColumns } from '../filters.js';

/** The keywords of executions, in a query of executions `e` with flow `f` and run `r`. */
export const EXECUTION_COLUMNS: FilterColumns<typeof EXECUTION_FILTER> = {
  name: sql`e.name`,
  id: sql`e.id::text`,
  status: sql`e.status`,
  platform: sql`'aws_omics'`,
  'output.kind': sql`case when e.status = 'COMPLETED' then 'fastq' end`,
  time_created: sql`e.time_created`,
  time_started: sql`e.time_started`,
  time_completed: sql`e.time_completed`,
  time_updated: sql`e.time_updated`,
  'input.run.id': sql`e.run_id::text`,
  'input.run.name': sql`r.run_name`,
  'input.run.instrument_name': sql`r.instrument_name`,
  'input.execution.id': null,
  'input.execution.name': null,
  'flow.name': sql`f.name`,
  'workflow.name': sql`coalesce(e.workflow_name, 'bases2fastq')`,
  started_by: sql`e.started_by`,
};
