import type { Selectable } from 'kysely';
import type { Db } from '../database.js';
import type { Visible } from '../paging.js';
import type { InstrumentsTable } from '../schema.js';

export type InstrumentRow = Selectable<InstrumentsTable>;

/** Instruments by serial number, behind one. */
export async function listInstruments(
  db: Db,
  limit: number,
  after?: string,
  serials: Visible = 'all',
): Promise<InstrumentRow[]> {
  let query = db.selectFrom('instruments').selectAll().limit(limit);
  if (serials !== 'all') query = query.where('serial_number', 'in', serials.length === 0 ? [''] : serials);
  if (after !== undefined) query = query.where('serial_number', '>', after);
  return query.orderBy('serial_number').execute();
}
