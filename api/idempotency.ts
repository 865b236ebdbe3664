import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Transaction } from 'kysely';
import type { Db } from '../store/database.js';
import { storeAnswer, findStoredAnswer } from '../store/idempotency.js';
import type { Database } from '../store/schema.js';
import { inTransaction } from '../store/transaction.js';
import { ApiError } from './errors.js';

/** JSON with the members of objects in order, so that the same body written in another order is the same request. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([one], [other]) => (one < other ? -1 : 1)))
      : member,
  );
}

/**
 * Carries out a creation in a transaction and sets the answer's status. With an `Idempotency-Key` header its answer is kept in
 * the same transaction, so that a repeated request gets the first one's answer (with `Idempotency-Replayed: true`) and nothing
 * is made twice; requests with the same key wait for each other. Errors are not kept: what failed may be tried again.
 * @throws ApiError 400 INVALID_IDEMPOTENCY_KEY, 422 IDEMPOTENCY_KEY_REUSED.
 */
export async function createIdempotently<T extends object>(
  db: Db,
  request: FastifyRequest,
  reply: FastifyReply,
  status: 201 | 202,
  create: (transaction: Transaction<Database>) => Promise<T>,
): Promise<T> {
  void reply.code(status);
  const key = request.headers['idempotency-key'];
  if (key === undefined) return inTransaction(db, create);
  if (typeof key !== 'string' || !/^[\x20-\x7e]{1,255}$/.test(key))
    throw new ApiError(400, 'INVALID_IDEMPOTENCY_KEY', 'Idempotency-Key must have 1 to 255 printable ASCII characters');
  // Keys of one client say nothing to another, whatever characters are in either.
  const scoped = `${encodeURIComponent(request.caller.id)}/${key}`;
  const requestHash = createHash('sha256')
    .update(canonical([request.method, request.url.split('?')[0], request.body ?? null]))
    .digest('hex');
  return inTransaction(db, async (transaction) => {
    const kept = await findStoredAnswer(transaction, scoped);
    if (kept !== undefined) {
      if (kept.requestHash !== requestHash)
        throw new ApiError(
          422,
          'IDEMPOTENCY_KEY_REUSED',
          'This Idempotency-Key was used for another request; choose a new one',
        );
      void reply.code(kept.status).header('idempotency-replayed', 'true');
      return kept.body as T;
    }
    const body = await create(transaction);
    await storeAnswer(transaction, scoped, { requestHash, status, body: body as Record<string, unknown> });
    return body;
  });
}
