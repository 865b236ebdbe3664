import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { parseEvent } from '../../domain/events/event.js';
import type { ApiDependencies } from '../dependencies.js';
import { requireScope } from '../plugins/auth.js';
import { EventHandler } from './handle.js';
import { operations } from './schemas.js';

/**
 * Events of EventBridge, which an API destination sends. The response is the same for every event, so that nobody can
 * learn from it what polony knows.
 */
export function eventRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const handler = new EventHandler(dependencies);

  app.post(
    '/v1/events',
    {
      config: requireScope('events:write', undefined, { audit: false }),
      bodyLimit: 256 * 1024,
      schema: operations.take,
    },
    async (request, reply) => {
      const event = parseEvent(request.body);
      if (event !== undefined) await handler.handle(request.log, event);
      void reply.code(202);
      return { accepted: true };
    },
  );
}
