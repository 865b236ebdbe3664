import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { normalizeName } from '../../../domain/names.js';
import { type Db, newId } from '../../../store/database.js';
import * as store from '../../../store/connections/providers.js';
import { inTransaction } from '../../../store/transaction.js';
import { deleteEvidence } from '../../../store/verification/evidence.js';
import { listProviderParts } from '../../../store/verification/resources.js';
import { checkMayRename, mapUniqueViolation } from '../../conflicts.js';
import { softDelete } from '../../deletion.js';
import type { ApiDependencies } from '../../dependencies.js';
import { ApiError } from '../../errors.js';
import { createIdempotently } from '../../idempotency.js';
import { pageForwards } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import { requireResource } from '../../references.js';
import type { RequestOf } from '../../requests.js';
import { requestVerification } from '../../verification/request.js';
import { verifyDraft } from './draft.js';
import { presentProvider } from './present.js';
import {
  changedCredential,
  checkExternalIdIsOwn,
  checkMayChangeIdentity,
  checkNewProvider,
  checkPartition,
  checkProviderChange,
  checkRoleChange,
  isOtherIdentity,
  newCredential,
  sealSecretAccessKey,
} from './rules.js';
import { operations } from './schemas.js';

/** Providers: an AWS account, and the role or access keys that polony uses in it. */
export function providerRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const mayRead = requireScope('providers:read');
  const mayReadThis = requireScope('providers:read', 'id');
  const mayCreate = requireScope('providers:write');
  const mayChangeThis = requireScope('providers:write', 'id');

  app.post(
    '/v1/providers',
    { config: mayCreate, attachValidation: true, schema: operations.create },
    (request, reply) => createProvider(dependencies, request, reply),
  );
  app.post(
    '/v1/providers/verify-draft',
    { config: mayCreate, attachValidation: true, schema: operations.verifyDraft },
    (request) => verifyDraft(dependencies, request),
  );
  app.get('/v1/providers', { config: mayRead, schema: operations.list }, (request) => listProviders(db, request));
  app.get('/v1/providers/:id', { config: mayReadThis, schema: operations.get }, (request) => getProvider(db, request));
  app.patch(
    '/v1/providers/:id',
    { config: mayChangeThis, attachValidation: true, schema: operations.update },
    (request) => changeProvider(dependencies, request),
  );
  app.delete('/v1/providers/:id', { config: mayChangeThis, schema: operations.delete }, (request, reply) =>
    deleteProvider(db, request, reply),
  );
}

async function createProvider(
  { db, orchestrator, secrets }: ApiDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  checkNewProvider(request);
  const { body } = request;
  const id = newId();
  const fields: store.ProviderFields = {
    name: normalizeName(body.name),
    defaultRegion: body.defaultRegion,
    credential: await newCredential(secrets, id, body),
  };
  const answer = await createIdempotently(db, request, reply, 201, async (transaction) => {
    await checkExternalIdIsOwn(transaction, id, fields.credential);
    const inserted = store.insertProvider(transaction, id, fields);
    return { provider: presentProvider(await mapUniqueViolation('provider', fields.name, inserted)) };
  });
  // A repeated request gets the first answer, whose id is not the one chosen above.
  const { provider } = answer;
  await requestVerification(request.log, orchestrator, [{ kind: 'provider', id: provider.id, name: provider.name }]);
  return answer;
}

async function listProviders(db: Db, request: RequestOf<typeof operations.list>) {
  const { items, nextPageToken } = await pageForwards('providers', request.query, (limit, after) =>
    store.listProviders(db, limit, after, request.caller.access.ids('providers:read')),
  );
  return { providers: items.map(presentProvider), nextPageToken };
}

async function getProvider(db: Db, request: RequestOf<typeof operations.get>) {
  const provider = await requireResource('provider', request.params.id, (id) => store.findProvider(db, id));
  return { provider: presentProvider(provider) };
}

async function changeProvider(
  { db, orchestrator, secrets }: ApiDependencies,
  request: RequestOf<typeof operations.update>,
) {
  const { id } = request.params;
  const current = await requireResource('provider', id, () => store.findProvider(db, id));
  checkProviderChange(request, current.credential_type);
  const { body } = request;
  const secret =
    body.secretAccessKey === undefined
      ? undefined
      : await sealSecretAccessKey(secrets, current.id, body.secretAccessKey);
  const changed = await inTransaction(db, async (transaction) => {
    const old = await requireResource('provider', id, () => store.findProvider(transaction, id, 'update'));
    if (old.credential_type !== current.credential_type)
      throw new ApiError(
        409,
        'CONFLICT',
        'Another request changed the credential type of this provider at the same time. ' +
          'Get the provider again, then repeat your change.',
      );
    const credential = changedCredential(old, body, secret);
    const isOther = isOtherIdentity(old, credential, secret);
    if (isOther) checkMayChangeIdentity(request.caller);
    if (credential.type === 'role') await checkRoleChange(transaction, request.caller, old, credential.roleArn);
    if (isOther) await checkExternalIdIsOwn(transaction, id, credential);
    const fields: store.ProviderFields = {
      name: body.name === undefined ? old.name : normalizeName(body.name),
      defaultRegion: body.defaultRegion ?? old.default_region,
      credential,
    };
    checkMayRename(request.caller, 'providers:write', { old: old.name, new: fields.name });
    if (body.defaultRegion !== undefined || body.roleArn !== undefined)
      await checkPartition(transaction, request.caller, old, fields);
    if (isOther) await deleteEvidence(transaction, id);
    return mapUniqueViolation('provider', fields.name, store.updateProvider(transaction, id, fields, isOther));
  });
  await requestVerification(request.log, orchestrator, await listProviderParts(db, id));
  return { provider: presentProvider(changed) };
}

async function deleteProvider(db: Db, request: RequestOf<typeof operations.delete>, reply: FastifyReply) {
  const { id } = request.params;
  await softDelete(db, request.caller, 'provider', 'providers', id, (transaction) =>
    store.findProvider(transaction, id, 'update'),
  );
  return reply.code(204).send(null);
}
