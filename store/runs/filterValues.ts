import { sql } from 'kysely';
import type { RUN_FILTER } from '../../domain/runs/filter.js';
import type { Db } from '../database.js';
import { valueOf } from '../filters.js';
import { type FoundValues, listFilterValues } from '../filterValues.js';
import type { Visible } from '../paging.js';
import { RUN_COLUMNS } from './columns.js';

const tables = sql`runs r`;
const INDEXED = {
  name: { tables, column: sql`r.run_name` },
  'instrument.name': { tables, column: sql`r.instrument_name` },
  'instrument.serial_number': { tables, column: sql`r.instrument_name` },
} as const;

/** The values of a keyword that occur among the runs that a caller may see; see {@link listFilterValues}. */
export async function listRunValues(
  db: Db,
  keyword: keyof typeof RUN_FILTER,
  ids: Visible,
  prefix: string,
): Promise<FoundValues> {
  const indexed = Object.hasOwn(INDEXED, keyword) ? INDEXED[keyword as keyof typeof INDEXED] : undefined;
  return listFilterValues(db, { tables, id: sql`r.id`, column: valueOf(RUN_COLUMNS[keyword]), indexed }, ids, prefix);
}
