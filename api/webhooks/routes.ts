import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { listWebhooks } from '../../store/webhooks/endpoints.js';
import type { ApiDependencies } from '../dependencies.js';
import { pageForwards } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { handleListDeliveries, handleReplayWebhook, handleTestWebhook } from './deliveries.js';
import { requireWebhook } from './find.js';
import { presentWebhook } from './present.js';
import { operations } from './schemas.js';
import { handleCreateWebhook, handleDeleteWebhook, handleRotateSecret, handleUpdateWebhook } from './write.js';

/** Webhooks: where polony sends events. */
export function webhookRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const create = { config: requireScope('webhooks:write'), attachValidation: true };
  const readOne = { config: requireScope('webhooks:read', 'id') };
  const writeOne = { config: requireScope('webhooks:write', 'id') };

  app.post('/v1/webhooks', { ...create, schema: operations.create }, (request, reply) =>
    handleCreateWebhook(dependencies, request, reply),
  );
  app.get('/v1/webhooks', { config: requireScope('webhooks:read'), schema: operations.list }, (request) =>
    handleListWebhooks(dependencies, request),
  );
  app.get('/v1/webhooks/:id', { ...readOne, schema: operations.get }, async (request) => ({
    webhook: presentWebhook(await requireWebhook(db, request.params.id)),
  }));
  app.patch('/v1/webhooks/:id', { ...writeOne, attachValidation: true, schema: operations.update }, (request) =>
    handleUpdateWebhook(dependencies, request),
  );
  app.delete('/v1/webhooks/:id', { ...writeOne, schema: operations.delete }, (request, reply) =>
    handleDeleteWebhook(dependencies, request, reply),
  );
  app.post('/v1/webhooks/:id/rotate-secret', { ...writeOne, schema: operations.rotateSecret }, (request) =>
    handleRotateSecret(dependencies, request),
  );
  app.post('/v1/webhooks/:id/test', { ...writeOne, schema: operations.test }, (request, reply) =>
    handleTestWebhook(dependencies, request, reply),
  );
  app.get('/v1/webhooks/:id/deliveries', { ...readOne, schema: operations.listDeliveries }, (request) =>
    handleListDeliveries(dependencies, request),
  );
  app.post('/v1/webhooks/:id/replay', { ...writeOne, schema: operations.replay }, (request, reply) =>
    handleReplayWebhook(dependencies, request, reply),
  );
}

async function handleListWebhooks({ db }: ApiDependencies, { query, caller }: RequestOf<typeof operations.list>) {
  const ids = caller.access.ids('webhooks:read');
  const { items, nextPageToken } = await pageForwards('webhooks', query, (limit, after) =>
    listWebhooks(db, limit, after, ids),
  );
  return { webhooks: items.map(presentWebhook), nextPageToken };
}
