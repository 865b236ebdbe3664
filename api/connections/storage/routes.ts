import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import * as store from '../../../store/connections/storage.js';
import type { Db } from '../../../store/database.js';
import { inTransaction } from '../../../store/transaction.js';
import { checkMayRename, mapUniqueViolation } from '../../conflicts.js';
import { softDelete } from '../../deletion.js';
import type { ApiDependencies } from '../../dependencies.js';
import { createIdempotently } from '../../idempotency.js';
import { pageForwards } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import { requireResource } from '../../references.js';
import type { RequestOf } from '../../requests.js';
import { givenFields } from '../../validation.js';
import { requestVerification } from '../../verification/request.js';
import { announceToSearch, startDiscovery } from './discovery.js';
import { requireProvider } from '../requireProvider.js';
import { listIgnoredFolders } from './ignoredFolders.js';
import { presentStorageConnection, presentStorageConnectionDetails } from './present.js';
import {
  checkMayMove,
  checkOverlap,
  checkStorageBody,
  checkStorageChange,
  checkStorageRegion,
  normalizeStorageFields,
  requireStorageConnection,
  storageFieldsOf,
} from './rules.js';
import { operations } from './schemas.js';

const KIND = 'storage connection';

/** Storage connections: buckets that instruments upload runs to. */
export function storageConnectionRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const mayRead = requireScope('storage:read');
  const mayReadThis = requireScope('storage:read', 'id');
  const mayCreate = requireScope('storage:write');
  const mayChangeThis = requireScope('storage:write', 'id');

  app.post(
    '/v1/storage-connections',
    { config: mayCreate, attachValidation: true, schema: operations.create },
    (request, reply) => createStorageConnection(dependencies, request, reply),
  );
  app.get('/v1/storage-connections', { config: mayRead, schema: operations.list }, (request) =>
    listStorageConnections(db, request),
  );
  app.get('/v1/storage-connections/:id', { config: mayReadThis, schema: operations.get }, async (request) => ({
    storageConnection: presentStorageConnection(await requireStorageConnection(db, request.params.id)),
  }));
  app.get(
    '/v1/storage-connections/:id/details',
    { config: mayReadThis, schema: operations.getDetails },
    async (request) => presentStorageConnectionDetails(await requireStorageConnection(db, request.params.id)),
  );
  app.patch(
    '/v1/storage-connections/:id',
    { config: mayChangeThis, attachValidation: true, schema: operations.update },
    (request) => changeStorageConnection(dependencies, request),
  );
  app.delete('/v1/storage-connections/:id', { config: mayChangeThis, schema: operations.delete }, (request, reply) =>
    deleteStorageConnection(dependencies, request, reply),
  );
  app.post(
    '/v1/storage-connections/:id/discover',
    { config: mayChangeThis, schema: operations.discover },
    (request, reply) => discoverRuns(dependencies, request, reply),
  );
  app.get(
    '/v1/storage-connections/:id/ignored-folders',
    { config: mayReadThis, schema: operations.listIgnored },
    (request) => listIgnoredFolders(dependencies, request),
  );
}

async function createStorageConnection(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  checkStorageBody(request);
  const { db, orchestrator } = dependencies;
  const { caller, body } = request;
  const fields = normalizeStorageFields({
    ...body,
    prefix: body.prefix ?? '',
    allowPolicyProbe: body.allowPolicyProbe ?? false,
  });
  const answer = await createIdempotently(db, request, reply, 201, async (transaction) => {
    checkStorageRegion(caller, await requireProvider(transaction, fields.providerId), fields.region);
    await checkOverlap(transaction, caller, fields);
    const row = await mapUniqueViolation(KIND, fields.name, store.insertStorageConnection(transaction, fields));
    return presentStorageConnectionDetails(row);
  });
  const { id, name } = answer.storageConnection;
  await announceToSearch(request.log, dependencies, id);
  await requestVerification(request.log, orchestrator, [{ kind: 'storageConnection', id, name }]);
  return answer;
}

async function listStorageConnections(db: Db, request: RequestOf<typeof operations.list>) {
  const { items, nextPageToken } = await pageForwards('storage-connections', request.query, (limit, after) =>
    store.listStorageConnections(db, limit, after, request.caller.access.ids('storage:read')),
  );
  return { storageConnections: items.map(presentStorageConnection), nextPageToken };
}

async function changeStorageConnection(dependencies: ApiDependencies, request: RequestOf<typeof operations.update>) {
  checkStorageBody(request);
  const { db, orchestrator } = dependencies;
  const { caller, body } = request;
  const { id } = request.params;
  const changed = await inTransaction(db, async (transaction) => {
    const old = await requireResource(KIND, id, () => store.findStorageConnection(transaction, id, 'update'));
    const fields = normalizeStorageFields({ ...storageFieldsOf(old), ...givenFields(body) });
    checkMayRename(caller, 'storage:write', { old: old.name, new: fields.name });
    checkMayMove(caller, old, fields);
    const provider = await requireProvider(transaction, fields.providerId);
    checkStorageRegion(caller, provider, fields.region);
    await checkStorageChange(transaction, caller, old, fields, provider);
    await checkOverlap(transaction, caller, fields, id);
    return mapUniqueViolation(KIND, fields.name, store.updateStorageConnection(transaction, id, fields));
  });
  await announceToSearch(request.log, dependencies, id);
  await requestVerification(request.log, orchestrator, [{ kind: 'storageConnection', id, name: changed.name }]);
  return presentStorageConnectionDetails(changed);
}

async function deleteStorageConnection(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.delete>,
  reply: FastifyReply,
) {
  const { id } = request.params;
  await softDelete(dependencies.db, request.caller, KIND, 'storage_connections', id, (transaction) =>
    store.findStorageConnection(transaction, id, 'update'),
  );
  await announceToSearch(request.log, dependencies, id);
  return reply.code(204).send(null);
}

async function discoverRuns(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.discover>,
  reply: FastifyReply,
) {
  const connection = await requireStorageConnection(dependencies.db, request.params.id);
  await startDiscovery(request.log, dependencies, connection);
  return reply.code(202).send(presentStorageConnectionDetails(connection));
}
