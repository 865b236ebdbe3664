import type { FastifyInstance } from 'fastify';

/** How long browsers remember that polony is reached over TLS only, in seconds: a year. */
const HSTS_SECONDS = 31_536_000;

/**
 * Headers of every response, also of those to requests that Fastify or Node rejects before any hook.
 * @param publicUrl where clients reach the API. With https, browsers must not use http again (RFC 6797).
 */
export function responseHeaders(requestId: string, publicUrl: string | undefined): Record<string, string> {
  return {
    'x-request-id': requestId,
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    ...(publicUrl?.startsWith('https:') === true && { 'strict-transport-security': `max-age=${HSTS_SECONDS}` }),
  };
}

/**
 * Headers of every response, its log line, and its serialization.
 * @param publicUrl where clients reach the API
 */
export function addResponses(app: FastifyInstance, publicUrl?: string): void {
  // Schemas document responses, and tests check them. They must not drop what a handler returns.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.addHook('onRequest', async (request, reply) => {
    void reply.headers(responseHeaders(request.id, publicUrl));
  });
  app.addHook('onResponse', async (request, reply) => {
    // Neither headers nor the query: they can hold keys.
    const caller = request.caller as typeof request.caller | null;
    request.log.info(
      {
        method: request.method,
        path: request.url.split('?')[0],
        status: reply.statusCode,
        milliseconds: Math.round(reply.elapsedTime),
        caller: caller?.name,
        callerId: caller?.id,
      },
      'request',
    );
  });
}
