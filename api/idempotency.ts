import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { sql, type Transaction } from 'kysely';
import type { Db } from '../store/database.js';
import type { Database } from '../store/schema.js';
import { ApiError } from './errors.js';

/**
 * Carries out a creation in a transaction. With an `Idempotency-Key` header its answer is kept in the same transaction, so
 * that a repeated request gets the first one's answer and nothing is made twice; requests with the same key wait for each other.
 */
export async function creating<T extends object>(db: Db, request: FastifyRequest, reply: FastifyReply, create: (transaction: Transaction<Database>) => Promise<T>): Promise<T> {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return db.transaction().execute(create);
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) throw new ApiError(400, 'INVALID_IDEMPOTENCY_KEY', 'Idempotency-Key must have 1 to 255 printable characters and no spaces');
  const scoped = `${request.apiKey.id}/${key}`;
  const hash = createHash('sha256').update(JSON.stringify([request.method, request.url, request.body])).digest('hex');
  return db.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`idempotency/${scoped}`}, 0))`.execute(transaction);
    const known = await transaction.selectFrom('idempotency_keys').selectAll().where('key', '=', scoped).executeTakeFirst();
    if (known !== undefined) {
      if (known.request_hash !== hash) throw new ApiError(422, 'IDEMPOTENCY_KEY_REUSED', 'This Idempotency-Key was used for another request; choose a new one');
      void reply.header('idempotency-replayed', 'true');
      return known.response as T;
    }
    const response = await create(transaction);
    await transaction.insertInto('idempotency_keys').values({ key: scoped, request_hash: hash, status_code: 201, response: JSON.stringify(response) }).execute();
    return response;
  });
}
