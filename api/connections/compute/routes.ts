import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import * as store from '../../../store/connections/compute.js';
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
import { requireProvider } from '../requireProvider.js';
import { presentComputeConnection } from './present.js';
import {
  checkComputeBody,
  checkExecutionRoleOf,
  checkMayChangeCompute,
  checkMove,
  normalizeComputeFields,
} from './rules.js';
import { operations } from './schemas.js';

const KIND = 'compute connection';

/** Compute connections: AWS HealthOmics in an account and region. */
export function computeConnectionRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const mayRead = requireScope('compute:read');
  const mayReadThis = requireScope('compute:read', 'id');
  const mayCreate = requireScope('compute:write');
  const mayChangeThis = requireScope('compute:write', 'id');

  app.post(
    '/v1/compute-connections',
    { config: mayCreate, attachValidation: true, schema: operations.create },
    (request, reply) => createComputeConnection(dependencies, request, reply),
  );
  app.get('/v1/compute-connections', { config: mayRead, schema: operations.list }, (request) =>
    listComputeConnections(db, request),
  );
  app.get('/v1/compute-connections/:id', { config: mayReadThis, schema: operations.get }, (request) =>
    getComputeConnection(db, request),
  );
  app.patch(
    '/v1/compute-connections/:id',
    { config: mayChangeThis, attachValidation: true, schema: operations.update },
    (request) => changeComputeConnection(dependencies, request),
  );
  app.delete('/v1/compute-connections/:id', { config: mayChangeThis, schema: operations.delete }, (request, reply) =>
    deleteComputeConnection(db, request, reply),
  );
}

async function createComputeConnection(
  { db, orchestrator }: ApiDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  checkComputeBody(request);
  const { caller } = request;
  const fields = normalizeComputeFields(request.body);
  const answer = await createIdempotently(db, request, reply, 201, async (transaction) => {
    const provider = await requireProvider(transaction, fields.providerId);
    checkExecutionRoleOf(caller, provider, fields.executionRoleArn);
    const row = await mapUniqueViolation(KIND, fields.name, store.insertComputeConnection(transaction, fields));
    return { computeConnection: presentComputeConnection(row) };
  });
  const { id, name } = answer.computeConnection;
  await requestVerification(request.log, orchestrator, [{ kind: 'computeConnection', id, name }]);
  return answer;
}

async function listComputeConnections(db: Db, request: RequestOf<typeof operations.list>) {
  const { items, nextPageToken } = await pageForwards('compute-connections', request.query, (limit, after) =>
    store.listComputeConnections(db, limit, after, request.caller.access.ids('compute:read')),
  );
  return { computeConnections: items.map(presentComputeConnection), nextPageToken };
}

async function getComputeConnection(db: Db, request: RequestOf<typeof operations.get>) {
  const row = await requireResource(KIND, request.params.id, (id) => store.findComputeConnection(db, id));
  return { computeConnection: presentComputeConnection(row) };
}

async function changeComputeConnection(
  { db, orchestrator }: ApiDependencies,
  request: RequestOf<typeof operations.update>,
) {
  checkComputeBody(request);
  const { caller, body } = request;
  const { id } = request.params;
  const changed = await inTransaction(db, async (transaction) => {
    const old = await requireResource(KIND, id, () => store.findComputeConnection(transaction, id, 'update'));
    const fields = normalizeComputeFields({
      name: old.name,
      providerId: old.provider_id,
      executionRoleArn: old.execution_role_arn,
      region: old.region,
      ...givenFields(body),
    });
    checkMayRename(caller, 'compute:write', { old: old.name, new: fields.name });
    checkMayChangeCompute(caller, old, fields);
    const provider = await requireProvider(transaction, fields.providerId);
    await checkMove(transaction, caller, old, fields, provider);
    checkExecutionRoleOf(caller, provider, fields.executionRoleArn);
    return mapUniqueViolation(KIND, fields.name, store.updateComputeConnection(transaction, id, fields));
  });
  await requestVerification(request.log, orchestrator, [{ kind: 'computeConnection', id, name: changed.name }]);
  return { computeConnection: presentComputeConnection(changed) };
}

async function deleteComputeConnection(db: Db, request: RequestOf<typeof operations.delete>, reply: FastifyReply) {
  const { id } = request.params;
  await softDelete(db, request.caller, KIND, 'compute_connections', id, (transaction) =>
    store.findComputeConnection(transaction, id, 'update'),
  );
  return reply.code(204).send(null);
}
