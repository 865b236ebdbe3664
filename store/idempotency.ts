import { sql } from 'kysely';
import type { DbTransaction } from './database.js';

/** For how long a repeated request gets the first answer again. */
const KEPT_MS = 24 * 3600 * 1000;

/** The answer to the first request with an idempotency key. */
export interface StoredAnswer {
  requestHash: string;
  status: number;
  body: Record<string, unknown>;
}

/**
 * The stored answer of a key, or undefined. Locks the key until the transaction ends: requests with the same key wait for
 * each other, and the second one finds the answer to the first.
 */
export async function findStoredAnswer(transaction: DbTransaction, key: string): Promise<StoredAnswer | undefined> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`idempotency/${key}`}, 0))`.execute(transaction);
  const row = await transaction
    .selectFrom('idempotency_keys')
    .selectAll()
    .where('key', '=', key)
    .where('time_created', '>', new Date(Date.now() - KEPT_MS))
    .executeTakeFirst();
  return row && { requestHash: row.request_hash, status: row.status_code, body: row.response };
}

/** Stores an answer. Deletes a few expired keys on the way, so that the table does not grow without end. */
export async function storeAnswer(transaction: DbTransaction, key: string, answer: StoredAnswer): Promise<void> {
  const expired = new Date(Date.now() - KEPT_MS);
  await sql`
    delete from idempotency_keys where key in (
      select key from idempotency_keys where time_created <= ${expired} order by time_created limit 20 for update skip locked
    )`.execute(transaction);
  await transaction.deleteFrom('idempotency_keys').where('key', '=', key).execute();
  await transaction
    .insertInto('idempotency_keys')
    .values({
      key,
      request_hash: answer.requestHash,
      status_code: answer.status,
      response: JSON.stringify(answer.body),
    })
    .execute();
}
