import type { FastifyInstance } from 'fastify';

/** Headers of every response, its log line, and its serialization. */
export function addResponses(app: FastifyInstance): void {
  // Schemas document responses, and tests check them. They must not drop what a handler returns.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.addHook('onRequest', async (request, reply) => {
    void reply.headers({
      'x-request-id': request.id,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    });
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
      },
      'request',
    );
  });
}
