import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import type { Transaction } from 'kysely';
import { Type } from 'typebox';
import { accountOfRole, checkAccountId, checkBucketName, checkExternalId, checkHealthOmicsRegion, checkPrefix, checkRegion, checkRoleArn, normalizePrefix, parseSharedWorkflow, storageUri } from '../../domain/aws.js';
import { type FieldProblem, refuse } from '../../domain/errors.js';
import type { ParameterValue } from '../../domain/execution.js';
import { checkJson, checkName, normalizeName } from '../../domain/names.js';
import { isId } from '../../store/database.js';
import * as store from '../../store/resources.js';
import type { Database } from '../../store/schema.js';
import type { ApiDependencies } from '../app.js';
import { ApiError, notFound } from '../errors.js';
import { creating } from '../idempotency.js';
import { decodePageToken, PageQuery, toPage } from '../paging.js';
import { ComputeBody, ComputeConnection, ERRORS, FlowBody, FlowResource, IdParams, Provider, ProviderBody, StorageBody, StorageConnection, StorageDetails } from '../schemas.js';

type Trx = Transaction<Database>;
interface FlowInput {
  name: string;
  computeConnectionId: string;
  sharedWorkflowId: string;
  workflowOwnerId?: string;
  autoStart?: { storageConnectionIds: string[] };
  parameterNames?: { runDir?: string; runManifest?: string; noProjects?: string };
  parameters?: Record<string, ParameterValue>;
}

const showProvider = (row: store.Provider) => ({ id: row.id, name: row.name, type: 'aws', defaultRegion: row.default_region, credentialType: row.credential_type, roleArn: row.role_arn, externalId: row.external_id, timeCreated: row.time_created.toISOString(), timeUpdated: row.time_updated.toISOString() });
const showStorage = (row: store.StorageConnection) => ({ id: row.id, name: row.name, type: 's3', status: `STORAGE_CONNECTION_STATUS_${row.status}`, uri: storageUri(row.bucket, row.prefix).replace(/\/$/, ''), timeCreated: row.time_created.toISOString(), timeUpdated: row.time_updated.toISOString() });
const showStorageDetails = (row: store.StorageConnection) => ({
  storageConnection: showStorage(row),
  details: { providerId: row.provider_id, region: row.region, bucket: row.bucket, prefix: row.prefix, useForRunUpload: row.use_for_run_upload, useForDataExploration: row.use_for_data_exploration, statusDescription: row.status_description },
});
const showCompute = (row: store.ComputeConnection) => ({ id: row.id, name: row.name, type: 'aws_omics', providerId: row.provider_id, executionRoleArn: row.execution_role_arn, region: row.region, timeCreated: row.time_created.toISOString(), timeUpdated: row.time_updated.toISOString() });
const showFlow = (row: store.Flow) => ({
  id: row.id, name: row.name, computeConnectionId: row.compute_connection_id, sharedWorkflowId: row.shared_workflow_id, workflowOwnerId: row.workflow_owner_id, autoStart: { storageConnectionIds: row.storage_connection_ids },
  parameterNames: row.parameter_names, parameters: row.parameters, timeCreated: row.time_created.toISOString(), timeUpdated: row.time_updated.toISOString(),
});

/** Turns the unique index's refusal into words. */
async function named<T>(kind: string, name: string, write: Promise<T>): Promise<T> {
  try {
    return await write;
  } catch (error) {
    if ((error as { code?: string }).code === '23505') throw new ApiError(409, 'NAME_TAKEN', `There is a ${kind} named ${name} already; names are unique`, { field: 'name' });
    throw error;
  }
}

/** What a body refers to must exist; it is locked, so that nobody deletes it before this is written. */
async function referred<T>(kind: string, field: string, id: string, find: (id: string) => Promise<T | undefined>): Promise<T> {
  const found = isId(id) ? await find(id) : undefined;
  if (found === undefined) refuse([{ field, rule: 'NOT_FOUND', message: `there is no ${kind} ${id}` }]);
  return found as T;
}

/** Providers, storage connections, compute connections and flows. */
export function resourceRoutes(scope: FastifyInstance, { db, orchestrator, discoverSeconds }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();

  async function deleting(kind: string, table: store.ResourceTable, id: string, find: (transaction: Trx) => Promise<unknown>): Promise<void> {
    if (!isId(id)) throw notFound(kind, id);
    await db.transaction().execute(async (transaction) => {
      if ((await find(transaction)) === undefined) throw notFound(kind, id);
      const uses = await store.usesOf(transaction, table, id);
      if (uses.length > 0) throw new ApiError(409, 'IN_USE', `The ${kind} is in use by ${uses.map((use) => `${use.kind} ${use.name} (${use.id})`).join(', ')}; delete or end that first`, { usedBy: uses });
      await store.markDeleted(transaction, table, id);
    });
  }

  async function schedule(connection: store.StorageConnection): Promise<void> {
    try {
      if (connection.use_for_run_upload) await orchestrator.ensureDiscovery({ storageConnectionId: connection.id, storageConnectionName: connection.name }, discoverSeconds);
      else await orchestrator.removeDiscovery(connection.id);
    } catch (error) {
      // The sweep makes it good.
      scope.log.warn({ err: error, storageConnectionId: connection.id }, 'the schedule could not be set');
    }
  }

  // Providers
  function checkProvider(body: { name: string; defaultRegion: string; roleArn: string; externalId: string }): store.ProviderFields {
    const fields = { name: normalizeName(body.name), defaultRegion: body.defaultRegion, roleArn: body.roleArn.trim(), externalId: body.externalId };
    refuse([...checkName('name', fields.name), ...checkRegion('defaultRegion', fields.defaultRegion), ...checkRoleArn('roleArn', fields.roleArn), ...checkExternalId('externalId', fields.externalId)]);
    return fields;
  }
  const providerAnswer = Type.Object({ provider: Provider });
  app.post('/v1/providers', { schema: { operationId: 'CreateProvider', tags: ['providers'], summary: 'Connect an AWS account', body: ProviderBody, response: { 201: providerAnswer, ...ERRORS } } }, async (request, reply) => {
    const fields = checkProvider(request.body);
    const answer = await creating(db, request, reply, async (transaction) => ({ provider: showProvider(await named('provider', fields.name, store.insertProvider(transaction, fields))) }));
    return reply.code(201).send(answer);
  });
  app.get('/v1/providers', { schema: { operationId: 'ListProviders', tags: ['providers'], summary: 'List providers', querystring: PageQuery, response: { 200: Type.Object({ providers: Type.Array(Provider), nextPageToken: Type.String() }), ...ERRORS } } }, async (request) => {
    const size = request.query.pageSize ?? 100;
    const { items, nextPageToken } = toPage('providers', await store.listProviders(db, size + 1, decodePageToken('providers', request.query.pageToken)?.id), size);
    return { providers: items.map(showProvider), nextPageToken };
  });
  app.get('/v1/providers/:id', { schema: { operationId: 'GetProvider', tags: ['providers'], summary: 'A provider', params: IdParams, response: { 200: providerAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    const provider = isId(id) ? await store.findProvider(db, id) : undefined;
    if (provider === undefined) throw notFound('provider', id);
    return { provider: showProvider(provider) };
  });
  app.patch('/v1/providers/:id', { schema: { operationId: 'UpdateProvider', tags: ['providers'], summary: 'Change a provider', params: IdParams, body: Type.Partial(ProviderBody), response: { 200: providerAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    if (!isId(id)) throw notFound('provider', id);
    return db.transaction().execute(async (transaction) => {
      const old = await store.findProvider(transaction, id, 'update');
      if (old === undefined) throw notFound('provider', id);
      const fields = checkProvider({ name: old.name, defaultRegion: old.default_region, roleArn: old.role_arn, externalId: old.external_id, ...request.body });
      if (accountOfRole(fields.roleArn) !== accountOfRole(old.role_arn) && (await store.usesOf(transaction, 'providers', id)).length > 0) {
        throw new ApiError(409, 'IN_USE', 'A provider that is in use can change its role but not its AWS account; create a new provider for the other account', { field: 'roleArn' });
      }
      return { provider: showProvider(await named('provider', fields.name, store.updateProvider(transaction, id, fields))) };
    });
  });
  app.delete('/v1/providers/:id', { schema: { operationId: 'DeleteProvider', tags: ['providers'], summary: 'Delete a provider', params: IdParams, response: { 204: Type.Null(), ...ERRORS } } }, async (request, reply) => {
    await deleting('provider', 'providers', request.params.id, (transaction) => store.findProvider(transaction, request.params.id, 'update'));
    return reply.code(204).send(null);
  });

  // Storage connections
  function checkStorage(body: store.StorageConnectionFields): store.StorageConnectionFields {
    const fields = { ...body, name: normalizeName(body.name), bucket: body.bucket.trim(), prefix: normalizePrefix(body.prefix) };
    refuse([...checkName('name', fields.name), ...checkRegion('region', fields.region), ...checkBucketName('bucket', fields.bucket), ...checkPrefix('prefix', fields.prefix)]);
    return fields;
  }
  async function checkOverlap(transaction: Trx, fields: store.StorageConnectionFields, exceptId?: string): Promise<void> {
    if (!fields.useForRunUpload) return;
    const other = await store.overlappingConnection(transaction, fields.bucket, fields.prefix, exceptId);
    if (other !== undefined) throw new ApiError(409, 'PREFIX_OVERLAPS', `Storage connection ${other.name} (${other.id}) is used for run upload in s3://${other.bucket}/${other.prefix} already; runs would be found twice. Choose a prefix outside it.`, { field: 'prefix', storageConnectionId: other.id });
  }
  const storageDetailsAnswer = Type.Object({ storageConnection: StorageConnection, details: StorageDetails });
  app.post('/v1/storage-connections', { schema: { operationId: 'CreateStorageConnection', tags: ['storage connections'], summary: 'Connect a bucket', body: StorageBody, response: { 201: storageDetailsAnswer, ...ERRORS } } }, async (request, reply) => {
    const fields = checkStorage({ ...request.body, prefix: request.body.prefix ?? '' });
    const answer = await creating(db, request, reply, async (transaction) => {
      await referred('provider', 'providerId', fields.providerId, (id) => store.findProvider(transaction, id, 'share'));
      await checkOverlap(transaction, fields);
      return showStorageDetails(await named('storage connection', fields.name, store.insertStorageConnection(transaction, fields)));
    });
    const written = await store.findStorageConnection(db, answer.storageConnection.id);
    if (written !== undefined) await schedule(written);
    return reply.code(201).send(answer);
  });
  app.get('/v1/storage-connections', { schema: { operationId: 'StorageConnectionService_ListStorageConnections', tags: ['storage connections'], summary: 'List storage connections', querystring: PageQuery, response: { 200: Type.Object({ storageConnections: Type.Array(StorageConnection), nextPageToken: Type.String() }), ...ERRORS } } }, async (request) => {
    const size = request.query.pageSize ?? 100;
    const { items, nextPageToken } = toPage('storage-connections', await store.listStorageConnections(db, size + 1, decodePageToken('storage-connections', request.query.pageToken)?.id), size);
    return { storageConnections: items.map(showStorage), nextPageToken };
  });
  async function storageConnection(id: string): Promise<store.StorageConnection> {
    const found = isId(id) ? await store.findStorageConnection(db, id) : undefined;
    if (found === undefined) throw notFound('storage connection', id);
    return found;
  }
  app.get('/v1/storage-connections/:id', { schema: { operationId: 'StorageConnectionService_GetStorageConnection', tags: ['storage connections'], summary: 'A storage connection', params: IdParams, response: { 200: Type.Object({ storageConnection: StorageConnection }), ...ERRORS } } }, async (request) => ({
    storageConnection: showStorage(await storageConnection(request.params.id)),
  }));
  app.get('/v1/storage-connections/:id/details', { schema: { operationId: 'GetStorageConnectionDetails', tags: ['storage connections'], summary: 'A storage connection with its settings', params: IdParams, response: { 200: storageDetailsAnswer, ...ERRORS } } }, async (request) => showStorageDetails(await storageConnection(request.params.id)));
  app.patch('/v1/storage-connections/:id', { schema: { operationId: 'UpdateStorageConnection', tags: ['storage connections'], summary: 'Change a storage connection', params: IdParams, body: Type.Partial(StorageBody), response: { 200: storageDetailsAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    if (!isId(id)) throw notFound('storage connection', id);
    const changed = await db.transaction().execute(async (transaction) => {
      const old = await store.findStorageConnection(transaction, id, 'update');
      if (old === undefined) throw notFound('storage connection', id);
      const before = { name: old.name, providerId: old.provider_id, region: old.region, bucket: old.bucket, prefix: old.prefix, useForRunUpload: old.use_for_run_upload, useForDataExploration: old.use_for_data_exploration };
      const given = Object.fromEntries(Object.entries(request.body).filter(([, value]) => value !== undefined));
      const fields = checkStorage({ ...before, ...given });
      await referred('provider', 'providerId', fields.providerId, (providerId) => store.findProvider(transaction, providerId, 'share'));
      const moved = (['providerId', 'region', 'bucket', 'prefix'] as const).filter((field) => fields[field] !== before[field]);
      if (moved.length > 0) {
        if (await store.hasRuns(transaction, id)) throw new ApiError(409, 'HAS_RUNS', `The storage connection has runs, so its ${moved.join(', ')} cannot change; create another one`, { field: moved[0] });
        const uses = (await store.usesOf(transaction, 'storage_connections', id)).filter((use) => use.kind === 'flow');
        if (uses.length > 0) throw new ApiError(409, 'IN_USE', `Flow ${uses[0]!.name} starts for this storage connection; its ${moved.join(', ')} cannot change`, { usedBy: uses });
      }
      await checkOverlap(transaction, fields, id);
      return named('storage connection', fields.name, store.updateStorageConnection(transaction, id, fields));
    });
    await schedule(changed);
    return showStorageDetails(changed);
  });
  app.delete('/v1/storage-connections/:id', { schema: { operationId: 'DeleteStorageConnection', tags: ['storage connections'], summary: 'Delete a storage connection; the bucket stays', params: IdParams, response: { 204: Type.Null(), ...ERRORS } } }, async (request, reply) => {
    const { id } = request.params;
    await deleting('storage connection', 'storage_connections', id, (transaction) => store.findStorageConnection(transaction, id, 'update'));
    await orchestrator.removeDiscovery(id).catch((error: unknown) => scope.log.warn({ err: error }, 'the schedule could not be removed'));
    return reply.code(204).send(null);
  });
  app.post('/v1/storage-connections/:id/discover', { schema: { operationId: 'DiscoverRuns', tags: ['storage connections'], summary: 'Search for new runs now', params: IdParams, response: { 202: storageDetailsAnswer, ...ERRORS } } }, async (request, reply) => {
    const found = await storageConnection(request.params.id);
    if (!found.use_for_run_upload) throw new ApiError(409, 'NOT_USED_FOR_RUN_UPLOAD', 'The storage connection is not used for run upload, so it is not searched');
    await orchestrator.ensureDiscovery({ storageConnectionId: found.id, storageConnectionName: found.name }, discoverSeconds);
    await orchestrator.discoverNow(found.id);
    return reply.code(202).send(showStorageDetails(found));
  });

  // Compute connections
  async function checkCompute(transaction: Trx, body: store.ComputeConnectionFields): Promise<store.ComputeConnectionFields> {
    const fields = { ...body, name: normalizeName(body.name), executionRoleArn: body.executionRoleArn.trim() };
    refuse([...checkName('name', fields.name), ...checkRoleArn('executionRoleArn', fields.executionRoleArn), ...checkHealthOmicsRegion('region', fields.region)]);
    const provider = await referred('provider', 'providerId', fields.providerId, (id) => store.findProvider(transaction, id, 'share'));
    const problems: FieldProblem[] = [];
    if (accountOfRole(provider.role_arn) !== accountOfRole(fields.executionRoleArn)) problems.push({ field: 'executionRoleArn', rule: 'SAME_ACCOUNT', message: `must be a role of the provider's account ${accountOfRole(provider.role_arn)}: a role cannot be passed across accounts` });
    if (provider.role_arn === fields.executionRoleArn) problems.push({ field: 'executionRoleArn', rule: 'SEPARATE_ROLE', message: "must be a role of its own, separate from the provider's" });
    refuse(problems);
    return fields;
  }
  const computeAnswer = Type.Object({ computeConnection: ComputeConnection });
  app.post('/v1/compute-connections', { schema: { operationId: 'CreateComputeConnection', tags: ['compute connections'], summary: 'Connect HealthOmics', body: ComputeBody, response: { 201: computeAnswer, ...ERRORS } } }, async (request, reply) => {
    const answer = await creating(db, request, reply, async (transaction) => {
      const fields = await checkCompute(transaction, request.body);
      return { computeConnection: showCompute(await named('compute connection', fields.name, store.insertComputeConnection(transaction, fields))) };
    });
    return reply.code(201).send(answer);
  });
  app.get('/v1/compute-connections', { schema: { operationId: 'ListComputeConnections', tags: ['compute connections'], summary: 'List compute connections', querystring: PageQuery, response: { 200: Type.Object({ computeConnections: Type.Array(ComputeConnection), nextPageToken: Type.String() }), ...ERRORS } } }, async (request) => {
    const size = request.query.pageSize ?? 100;
    const { items, nextPageToken } = toPage('compute-connections', await store.listComputeConnections(db, size + 1, decodePageToken('compute-connections', request.query.pageToken)?.id), size);
    return { computeConnections: items.map(showCompute), nextPageToken };
  });
  app.get('/v1/compute-connections/:id', { schema: { operationId: 'GetComputeConnection', tags: ['compute connections'], summary: 'A compute connection', params: IdParams, response: { 200: computeAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    const found = isId(id) ? await store.findComputeConnection(db, id) : undefined;
    if (found === undefined) throw notFound('compute connection', id);
    return { computeConnection: showCompute(found) };
  });
  app.patch('/v1/compute-connections/:id', { schema: { operationId: 'UpdateComputeConnection', tags: ['compute connections'], summary: 'Change a compute connection', params: IdParams, body: Type.Partial(ComputeBody), response: { 200: computeAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    if (!isId(id)) throw notFound('compute connection', id);
    return db.transaction().execute(async (transaction) => {
      const old = await store.findComputeConnection(transaction, id, 'update');
      if (old === undefined) throw notFound('compute connection', id);
      const given = Object.fromEntries(Object.entries(request.body).filter(([, value]) => value !== undefined));
      const fields = await checkCompute(transaction, { name: old.name, providerId: old.provider_id, executionRoleArn: old.execution_role_arn, region: old.region, ...given });
      const uses = await store.usesOf(transaction, 'compute_connections', id);
      if (uses.length > 0 && (fields.region !== old.region || fields.providerId !== old.provider_id)) throw new ApiError(409, 'IN_USE', `The compute connection is in use by ${uses[0]!.kind} ${uses[0]!.name}; its region and provider cannot change`, { usedBy: uses });
      return { computeConnection: showCompute(await named('compute connection', fields.name, store.updateComputeConnection(transaction, id, fields))) };
    });
  });
  app.delete('/v1/compute-connections/:id', { schema: { operationId: 'DeleteComputeConnection', tags: ['compute connections'], summary: 'Delete a compute connection', params: IdParams, response: { 204: Type.Null(), ...ERRORS } } }, async (request, reply) => {
    await deleting('compute connection', 'compute_connections', request.params.id, (transaction) => store.findComputeConnection(transaction, request.params.id, 'update'));
    return reply.code(204).send(null);
  });

  // Flows
  async function checkFlow(transaction: Trx, body: FlowInput): Promise<store.FlowFields> {
    const problems: FieldProblem[] = [];
    const name = normalizeName(body.name);
    problems.push(...checkName('name', name), ...checkJson('parameters', body.parameters ?? {}));
    const shared = parseSharedWorkflow(body.sharedWorkflowId);
    if (shared === undefined) problems.push({ field: 'sharedWorkflowId', rule: 'SHARED_WORKFLOW_ID', message: "must be the share's Resource ID (digits) or the workflow's ARN, as the HealthOmics console shows it" });
    const ownerId = body.workflowOwnerId?.trim() ?? shared?.ownerId;
    if (ownerId === undefined) problems.push({ field: 'workflowOwnerId', rule: 'REQUIRED', message: 'must be the account that shares the workflow' });
    else problems.push(...checkAccountId('workflowOwnerId', ownerId));
    if (shared?.ownerId !== undefined && ownerId !== shared.ownerId) problems.push({ field: 'workflowOwnerId', rule: 'SAME_OWNER', message: `differs from the account ${shared.ownerId} in the ARN` });
    refuse(problems);
    const compute = await referred('compute connection', 'computeConnectionId', body.computeConnectionId, (id) => store.findComputeConnection(transaction, id, 'share'));
    const provider = await store.findProvider(transaction, compute.provider_id);
    if (shared?.region !== undefined && shared.region !== compute.region) problems.push({ field: 'sharedWorkflowId', rule: 'SAME_REGION', message: `the workflow is shared in ${shared.region} and the compute connection is in ${compute.region}; a share works in its own region only` });
    const storageConnectionIds = body.autoStart?.storageConnectionIds ?? [];
    for (const [at, id] of storageConnectionIds.entries()) {
      const field = `autoStart.storageConnectionIds.${at}`;
      const storage = await referred('storage connection', field, id, (storageId) => store.findStorageConnection(transaction, storageId, 'share'));
      if (storage.region !== compute.region) problems.push({ field, rule: 'SAME_REGION', message: `storage connection ${storage.name} is in ${storage.region} and the compute connection is in ${compute.region}; the workflow runs in the bucket's region only` });
      const storageProvider = await store.findProvider(transaction, storage.provider_id);
      if (accountOfRole(storageProvider?.role_arn ?? '') !== accountOfRole(provider?.role_arn ?? '')) problems.push({ field, rule: 'SAME_ACCOUNT', message: `storage connection ${storage.name} is in another AWS account than the compute connection` });
      if (!storage.use_for_run_upload) problems.push({ field, rule: 'USED_FOR_RUN_UPLOAD', message: `storage connection ${storage.name} is not used for run upload, so no run would ever start the flow` });
    }
    refuse(problems);
    return { name, computeConnectionId: compute.id, sharedWorkflowId: shared!.id, workflowOwnerId: ownerId!, parameterNames: body.parameterNames ?? {}, parameters: body.parameters ?? {}, storageConnectionIds };
  }
  const flowAnswer = Type.Object({ flow: FlowResource });
  app.post('/v1/flows', { schema: { operationId: 'CreateFlow', tags: ['flows'], summary: 'Add a Bases2Fastq flow', body: FlowBody, response: { 201: flowAnswer, ...ERRORS } } }, async (request, reply) => {
    const answer = await creating(db, request, reply, async (transaction) => {
      const fields = await checkFlow(transaction, request.body);
      return { flow: showFlow(await named('flow', fields.name, store.writeFlow(transaction, fields))) };
    });
    return reply.code(201).send(answer);
  });
  app.get('/v1/flows', { schema: { operationId: 'ListFlows', tags: ['flows'], summary: 'List flows', querystring: PageQuery, response: { 200: Type.Object({ flows: Type.Array(FlowResource), nextPageToken: Type.String() }), ...ERRORS } } }, async (request) => {
    const size = request.query.pageSize ?? 100;
    const { items, nextPageToken } = toPage('flows', await store.listFlows(db, size + 1, decodePageToken('flows', request.query.pageToken)?.id), size);
    return { flows: items.map(showFlow), nextPageToken };
  });
  app.get('/v1/flows/:id', { schema: { operationId: 'GetFlow', tags: ['flows'], summary: 'A flow', params: IdParams, response: { 200: flowAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    const found = isId(id) ? await store.findFlow(db, id) : undefined;
    if (found === undefined) throw notFound('flow', id);
    return { flow: showFlow(found) };
  });
  app.patch('/v1/flows/:id', { schema: { operationId: 'UpdateFlow', tags: ['flows'], summary: 'Change a flow; executions that have started keep what they started with', params: IdParams, body: Type.Partial(FlowBody), response: { 200: flowAnswer, ...ERRORS } } }, async (request) => {
    const { id } = request.params;
    if (!isId(id)) throw notFound('flow', id);
    return db.transaction().execute(async (transaction) => {
      const old = await store.findFlow(transaction, id, 'update');
      if (old === undefined) throw notFound('flow', id);
      const given = Object.fromEntries(Object.entries(request.body).filter(([, value]) => value !== undefined)) as Partial<FlowInput>;
      const fields = await checkFlow(transaction, {
        name: old.name, computeConnectionId: old.compute_connection_id, sharedWorkflowId: old.shared_workflow_id, workflowOwnerId: old.workflow_owner_id,
        autoStart: { storageConnectionIds: old.storage_connection_ids }, parameterNames: old.parameter_names, parameters: old.parameters, ...given,
      });
      return { flow: showFlow(await named('flow', fields.name, store.writeFlow(transaction, fields, id))) };
    });
  });
  app.delete('/v1/flows/:id', { schema: { operationId: 'DeleteFlow', tags: ['flows'], summary: 'Delete a flow', params: IdParams, response: { 204: Type.Null(), ...ERRORS } } }, async (request, reply) => {
    await deleting('flow', 'flows', request.params.id, (transaction) => store.findFlow(transaction, request.params.id, 'update'));
    return reply.code(204).send(null);
  });
}
