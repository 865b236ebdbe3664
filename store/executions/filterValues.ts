import { sql } from 'kysely';
import type { EXECUTION_FILTER } from '../../domain/executions/filter.js';
import type { Db } from '../database.js';
import { valueOf } from '../filters.js';
import { type FoundValues, listFilterValues } from '../filterValues.js';
import type { Visible } from '../paging.js';
import { EXECUTION_COLUMNS } from './columns.js';

const INDEXED = {
  name: { tables: sql`executions e`, column: sql`e.name` },
  started_by: { tables: sql`executions e`, column: sql`e.started_by` },
  'flow.name': {
    tables: sql`flows f`,
    column: sql`f.name`,
    condition: sql<boolean>`exists (select from executions e where e.flow_id = f.id)`,
  },
  'input.run.name': {
    tables: sql`runs r`,
    column: sql`r.run_name`,
    condition: sql<boolean>`exists (select from executions e where e.run_id = r.id)`,
  },
} as const;

/** The values of a keyword that occur among the executions that a caller may see; see {@link listFilterValues}. */
export async function listExecutionValues(
  db: Db,
  keyword: keyof typeof EXECUTION_FILTER,
  ids: Visible,
  prefix: string,
): Promise<FoundValues> {
  const tables = sql`executions e join flows f on f.id = e.flow_id join runs r on r.id = e.run_id`;
  const indexed = Object.hasOwn(INDEXED, keyword) ? INDEXED[keyword as keyof typeof INDEXED] : undefined;
  return listFilterValues(
    db,
    { tables, id: sql`e.id`, column: valueOf(EXECUTION_COLUMNS[keyword]), indexed },
    ids,
    prefix,
  );
}
