import { sql } from 'kysely';
import pRetry from 'p-retry';
import type { Db, DbTransaction } from './database.js';

/** Longest time that a request waits for a row that another transaction has locked. */
const LOCK_TIMEOUT_MS = 10_000;
/** How often a transaction runs again after PostgreSQL ended it. */
const RETRIES = 3;
/** `deadlock_detected` and `serialization_failure` (PostgreSQL, Appendix A). Nothing was written; a repetition succeeds. */
const RETRYABLE_CODES: readonly unknown[] = ['40P01', '40001'];

/**
 * Carries out one change of the API in a transaction. Requests lock rows in the order in which they learn of them, so two of
 * them may deadlock. PostgreSQL then ends one, and this function runs it again.
 * @param change may run several times. Do what has effects outside the transaction after it, not in it.
 */
export async function inTransaction<T>(db: Db, change: (transaction: DbTransaction) => Promise<T>): Promise<T> {
  return pRetry(
    () =>
      db.transaction().execute(async (transaction) => {
        await sql`select set_config('lock_timeout', ${String(LOCK_TIMEOUT_MS)}, true)`.execute(transaction);
        return change(transaction);
      }),
    {
      retries: RETRIES,
      minTimeout: 0,
      shouldRetry: ({ error }) => RETRYABLE_CODES.includes((error as { code?: unknown }).code),
    },
  );
}
