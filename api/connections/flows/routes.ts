import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import * as store from '../../../store/connections/flows.js';
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
import { requestVerification } from '../../verification/request.js';
import { changedFlowFields, newFlowFields } from './fields.js';
import { presentFlow } from './present.js';
import { checkFlowBody, checkFlowChange, checkFlowReferences } from './rules.js';
import { operations } from './schemas.js';

/** Flows: the shared Bases2Fastq workflow on a compute connection, and the runs that start it automatically. */
export function flowRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const mayRead = requireScope('flows:read');
  const mayReadThis = requireScope('flows:read', 'id');
  const mayCreate = requireScope('flows:write');
  const mayChangeThis = requireScope('flows:write', 'id');

  app.post('/v1/flows', { config: mayCreate, attachValidation: true, schema: operations.create }, (request, reply) =>
    createFlow(dependencies, request, reply),
  );
  app.get('/v1/flows', { config: mayRead, schema: operations.list }, (request) => listFlows(db, request));
  app.get('/v1/flows/:id', { config: mayReadThis, schema: operations.get }, (request) => getFlow(db, request));
  app.patch('/v1/flows/:id', { config: mayChangeThis, attachValidation: true, schema: operations.update }, (request) =>
    changeFlow(dependencies, request),
  );
  app.delete('/v1/flows/:id', { config: mayChangeThis, schema: operations.delete }, (request, reply) =>
    deleteFlow(db, request, reply),
  );
}

async function createFlow(
  { db, orchestrator }: ApiDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  checkFlowBody(request, false);
  const fields = newFlowFields(request.body);
  const answer = await createIdempotently(db, request, reply, 201, async (transaction) => {
    await checkFlowReferences(transaction, request.caller, fields);
    const row = await mapUniqueViolation('flow', fields.name, store.writeFlow(transaction, fields));
    return { flow: presentFlow(row) };
  });
  const { id, name } = answer.flow;
  await requestVerification(request.log, orchestrator, [{ kind: 'flow', id, name }]);
  return answer;
}

async function listFlows(db: Db, request: RequestOf<typeof operations.list>) {
  const { items, nextPageToken } = await pageForwards('flows', request.query, (limit, after) =>
    store.listFlows(db, limit, after, request.caller.access.ids('flows:read')),
  );
  return { flows: items.map(presentFlow), nextPageToken };
}

async function getFlow(db: Db, request: RequestOf<typeof operations.get>) {
  const flow = await requireResource('flow', request.params.id, (id) => store.findFlow(db, id));
  return { flow: presentFlow(flow) };
}

async function changeFlow({ db, orchestrator }: ApiDependencies, request: RequestOf<typeof operations.update>) {
  checkFlowBody(request, true);
  const { caller, body } = request;
  const { id } = request.params;
  const changed = await inTransaction(db, async (transaction) => {
    const old = await requireResource('flow', id, () => store.findFlow(transaction, id, 'update'));
    const fields = changedFlowFields(old, body);
    checkMayRename(caller, 'flows:write', { old: old.name, new: fields.name });
    await checkFlowChange(transaction, caller, old, fields);
    return mapUniqueViolation('flow', fields.name, store.writeFlow(transaction, fields, id));
  });
  await requestVerification(request.log, orchestrator, [{ kind: 'flow', id, name: changed.name }]);
  return { flow: presentFlow(changed) };
}

async function deleteFlow(db: Db, request: RequestOf<typeof operations.delete>, reply: FastifyReply) {
  const { id } = request.params;
  await softDelete(db, request.caller, 'flow', 'flows', id, (transaction) => store.findFlow(transaction, id, 'update'));
  return reply.code(204).send(null);
}
