import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from '../errors.js';

/**
 * Limits the requests of every caller. Requests without a caller, as for public documentation, count for their address.
 * @param requestsPerMinute 0 for no limit
 * @param isExempt requests that do not count
 */
export async function addRateLimit(
  app: FastifyInstance,
  requestsPerMinute: number,
  isExempt: (request: FastifyRequest) => boolean,
): Promise<void> {
  if (requestsPerMinute === 0) return;
  await app.register(rateLimit, {
    global: true,
    // The caller is known then: authentication runs in onRequest.
    hook: 'preParsing',
    max: requestsPerMinute,
    timeWindow: 60_000,
    cache: 10_000,
    allowList: isExempt,
    keyGenerator: (request) => (request.caller as FastifyRequest['caller'] | null)?.id ?? request.ip,
    errorResponseBuilder: (_request, { max, ttl }) =>
      new ApiError(
        429,
        'RATE_LIMITED',
        `You sent ${max} requests within a minute, the most that one caller may send. ` +
          `Try again in ${Math.ceil(ttl / 1000)} seconds`,
      ),
  });
}
