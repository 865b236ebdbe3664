import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Db, DbTransaction } from '../store/database.js';
import { storeAnswer, findStoredAnswer } from '../store/idempotency.js';
import { inTransaction } from '../store/transaction.js';
import { ApiError } from './errors.js';

/** JSON with sorted members, so that the same body in another order is the same request. */
function toCanonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([one], [other]) => (one < other ? -1 : 1)))
      : member,
  );
}

function hashRequest({ method, url, body }: FastifyRequest): string {
  return createHash('sha256')
    .update(toCanonicalJson([method, url.split('?')[0], body ?? null]))
    .digest('hex');
}

/** The key of a request as the store keeps it; undefined without one. Keys of different callers never collide. */
function parseKey(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || !/^[\x20-\x7e]{1,255}$/.test(key))
    throw new ApiError(400, 'INVALID_IDEMPOTENCY_KEY', 'Idempotency-Key must have 1 to 255 printable ASCII characters');
  return `${encodeURIComponent(request.caller.id)}/${key}`;
}

/**
 * Runs a creation in a transaction and sets the status of the response. With an `Idempotency-Key` header, the same
 * transaction stores the response, so that a repeated request gets the first response (with `Idempotency-Replayed:
 * true`) and creates nothing. Requests with the same key wait for each other. Errors are not stored, so a failed
 * request can be tried again.
 * @throws ApiError 400 INVALID_IDEMPOTENCY_KEY, 422 IDEMPOTENCY_KEY_REUSED
 */
export async function createIdempotently<T extends object>(
  db: Db,
  request: FastifyRequest,
  reply: FastifyReply,
  status: 201 | 202,
  create: (transaction: DbTransaction) => Promise<T>,
): Promise<T> {
  void reply.code(status);
  const key = parseKey(request);
  if (key === undefined) return inTransaction(db, create);
  const requestHash = hashRequest(request);
  return inTransaction(db, async (transaction) => {
    const stored = await findStoredAnswer(transaction, key);
    if (stored === undefined) {
      const body = await create(transaction);
      await storeAnswer(transaction, key, { requestHash, status, body: body as Record<string, unknown> });
      return body;
    }
    if (stored.requestHash !== requestHash)
      throw new ApiError(
        422,
        'IDEMPOTENCY_KEY_REUSED',
        'This Idempotency-Key was used for a different request. Send a new key with every new request',
      );
    void reply.code(stored.status).header('idempotency-replayed', 'true');
    return stored.body as T;
  });
}
