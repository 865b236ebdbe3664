import { sql, type Transaction } from 'kysely';
import type { Database } from './schema.js';

/** How long a key is kept at least. */
const KEPT_MS = 24 * 3600 * 1000;

/** The answer that was given to the first request with a key. */
export interface StoredAnswer {
  requestHash: string;
  status: number;
  body: Record<string, unknown>;
}

/**
 * The answer kept for a key, if there is one. Holds the key until the transaction ends, so that requests with the same key
 * wait for each other and the second finds what the first has written.
 */
export async function findStoredAnswer(
  transaction: Transaction<Database>,
  key: string,
): Promise<StoredAnswer | undefined> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`idempotency/${key}`}, 0))`.execute(transaction);
  const row = await transaction
    .selectFrom('idempotency_keys')
    .selectAll()
    .where('key', '=', key)
    .where('time_created', '>', new Date(Date.now() - KEPT_MS))
    .executeTakeFirst();
  return row && { requestHash: row.request_hash, status: row.status_code, body: row.response };
}

/** Keeps an answer, and removes a few keys that have been kept long enough, so that the table does not grow without end. */
export async function storeAnswer(
  transaction: Transaction<Database>,
  key: string,
  answer: StoredAnswer,
): Promise<void> {
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
