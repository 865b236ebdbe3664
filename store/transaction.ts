import { sql, type Transaction } from 'kysely';
import type { Db } from './database.js';
import type { Database } from './schema.js';

/** Longest time that a request waits for a row that another holds. */
const LOCK_TIMEOUT_MS = 10_000;
/** Of PostgreSQL (Appendix A): deadlock detected, serialization failure. Nothing was written, and the same again succeeds. */
const TRY_AGAIN = new Set(['40P01', '40001']);

/**
 * Carries out one change of the API in a transaction. Rows that refer to each other are locked in the order in which a request
 * comes to know them, so two requests may rarely wait for each other in a circle: PostgreSQL ends one, and it is tried again here.
 * @param change may run several times; effects outside the transaction belong behind it.
 */
export async function inTransaction<T>(db: Db, change: (transaction: Transaction<Database>) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction().execute(async (transaction) => {
        await sql`select set_config('lock_timeout', ${String(LOCK_TIMEOUT_MS)}, true)`.execute(transaction);
        return change(transaction);
      });
    } catch (error) {
      if (attempt >= 4 || !TRY_AGAIN.has((error as { code?: string }).code ?? '')) throw error;
    }
  }
}
