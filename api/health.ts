import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { shareAnswer, withDeadline } from '../observability/deadline.js';
import { isMigrated } from '../store/database.js';
import type { ApiDependencies } from './dependencies.js';
import { responseBody } from './openapi/shared.js';

/** How long a part may take to answer before it counts as unreachable, in milliseconds. */
const CHECK_MS = 3000;
/** How long an answer is reused, in milliseconds. Anybody may ask, and must not keep the database busy. */
const REUSE_MS = 1000;

const parts = { status: Type.String(), database: Type.String(), temporal: Type.String() };
const live = {
  operationId: 'Health_Live',
  tags: ['Health'],
  summary: 'Check whether the process is alive',
  security: [],
  response: { 200: responseBody('The process is alive', { status: Type.String() }) },
};
const ready = {
  operationId: 'Health_Ready',
  tags: ['Health'],
  summary: 'Check whether polony can serve requests, and if not, which part fails',
  security: [],
  response: { 200: responseBody('All parts are ready', parts), 503: responseBody('A part is not ready', parts) },
};

/** Health checks. They need no key. */
export function healthRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const check = shareAnswer(() => Promise.all([checkDatabase(db), checkTemporal(orchestrator)]), REUSE_MS);

  app.get('/healthz', { schema: live }, async () => ({ status: 'ok' }));
  app.get('/readyz', { schema: ready }, async (_request, reply) => {
    const [database, temporal] = await check();
    const isReady = database === 'ok' && temporal === 'ok';
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'not ready', database, temporal });
  });
}

async function checkDatabase(db: ApiDependencies['db']): Promise<string> {
  try {
    return (await withDeadline(isMigrated(db), CHECK_MS)) ? 'ok' : 'not migrated: run polony migrate';
  } catch {
    return 'unreachable';
  }
}

async function checkTemporal(orchestrator: Pick<ApiDependencies['orchestrator'], 'check'>): Promise<string> {
  try {
    await withDeadline(orchestrator.check(), CHECK_MS);
    return 'ok';
  } catch {
    return 'unreachable';
  }
}
