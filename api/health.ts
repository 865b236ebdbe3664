import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { isMigrated } from '../store/database.js';
import type { ApiDependencies } from './dependencies.js';
import { withTimeout } from './errors.js';

/** Longest time that a part has to answer before it counts as out of reach. */
const CHECK_MS = 3000;

/** Health, which needs no key. */
export function healthRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const state = (description: string) =>
    Type.Object(
      { status: Type.String(), database: Type.String(), temporal: Type.String() },
      { additionalProperties: false, description },
    );

  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'Health_Live',
        tags: ['Health'],
        summary: 'Whether the process is alive',
        security: [],
        response: {
          200: Type.Object({ status: Type.String() }, { additionalProperties: false, description: 'It is' }),
        },
      },
    },
    async () => ({ status: 'ok' }),
  );
  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'Health_Ready',
        tags: ['Health'],
        summary: 'Whether requests can be served, and if not, which part is to blame',
        security: [],
        response: { 200: state('All parts are ready'), 503: state('A part is not ready') },
      },
    },
    async (_request, reply) => {
      const [database, temporal] = await Promise.all([
        withTimeout(isMigrated(db), CHECK_MS).then(
          (migrated) => (migrated ? 'ok' : 'not migrated: run polony migrate'),
          () => 'unreachable',
        ),
        withTimeout(orchestrator.check(), CHECK_MS).then(
          () => 'ok',
          () => 'unreachable',
        ),
      ]);
      const ready = database === 'ok' && temporal === 'ok';
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not ready', database, temporal });
    },
  );
}
