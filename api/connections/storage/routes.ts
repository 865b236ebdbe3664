import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import {
  checkBucketName,
  checkPrefix,
  checkRegion,
  normalizePrefix,
  storageUri,
  sameAccount,
} from '../../../domain/aws.js';
import { checkName, normalizeName } from '../../../domain/names.js';
import { isId } from '../../../store/database.js';
import { findProvider } from '../../../store/connections/providers.js';
import {
  findOverlappingConnection,
  findStorageConnection,
  hasRuns,
  insertStorageConnection,
  listStorageConnections,
  type StorageConnectionFields,
  type StorageConnectionRow,
  updateStorageConnection,
} from '../../../store/connections/storage.js';
import { listUses } from '../../../store/connections/uses.js';
import { inTransaction } from '../../../store/transaction.js';
import type { ApiDependencies } from '../../dependencies.js';
import { ApiError, withTimeout, withTemporalErrors, loggableError, notFoundError } from '../../errors.js';
import { createIdempotently } from '../../idempotency.js';
import { CappedPageQuery, pageForwards } from '../../paging.js';
import { type Caller, requireScope } from '../../plugins/auth.js';
import {
  BODY,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  StorageBody,
  StorageChange,
  StorageConnection,
  StorageDetails,
} from '../../schemas.js';
import {
  checkBody,
  softDelete,
  givenFields,
  inUseError,
  mapUniqueViolation,
  requireReference,
  type Trx,
  requestVerification,
} from '../../common.js';

/** A storage connection as the vendor's contract has it. */
export function showStorage(row: StorageConnectionRow) {
  return {
    id: row.id,
    name: row.name,
    type: 's3',
    status: `STORAGE_CONNECTION_STATUS_${row.status}`,
    uri: storageUri(row.bucket, row.prefix).replace(/\/$/, ''),
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

function showDetails(row: StorageConnectionRow) {
  return {
    storageConnection: showStorage(row),
    details: {
      providerId: row.provider_id,
      region: row.region,
      bucket: row.bucket,
      prefix: row.prefix,
      useForRunUpload: row.use_for_run_upload,
      useForDataExploration: row.use_for_data_exploration,
      allowPolicyProbe: row.allow_policy_probe,
      runDepth: row.run_depth,
      statusDescription: row.status_description,
      timeVerified: row.time_verified?.toISOString() ?? null,
      timeUsed: row.time_used?.toISOString() ?? null,
    },
  };
}

function checkStorage(request: FastifyRequest): void {
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('region', (value) => checkRegion('region', value)),
    check('bucket', (value) => checkBucketName('bucket', value.trim())),
    check('prefix', (value) => checkPrefix('prefix', normalizePrefix(value))),
  ]);
}

const normal = (fields: StorageConnectionFields): StorageConnectionFields => ({
  ...fields,
  providerId: fields.providerId.toLowerCase(),
  name: normalizeName(fields.name),
  bucket: fields.bucket.trim(),
  prefix: normalizePrefix(fields.prefix),
});

async function checkOverlap(
  transaction: Trx,
  { access }: Caller,
  fields: StorageConnectionFields,
  exceptId?: string,
): Promise<void> {
  if (!fields.useForRunUpload) return;
  const other = await findOverlappingConnection(transaction, fields.bucket, fields.prefix, exceptId);
  if (other === undefined) return;
  if (!access.covers('storage:read', other.id))
    throw new ApiError(
      409,
      'PREFIX_OVERLAPS',
      'Another storage connection, which this key may not see, is used for run upload in a folder above or below this one already; runs would be found twice',
      { field: 'prefix' },
    );
  throw new ApiError(
    409,
    'PREFIX_OVERLAPS',
    `Storage connection ${other.name} (${other.id}) is used for run upload in ${storageUri(other.bucket, other.prefix)} already; runs would be found twice. Choose a prefix outside it`,
    {
      field: 'prefix',
      storageConnectionId: other.id,
    },
  );
}

/** Storage connections: buckets that instruments upload to. */
export function storageConnectionRoutes(
  scope: FastifyInstance,
  { db, orchestrator, discoverSeconds }: ApiDependencies,
): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['StorageConnectionService'];
  const detailed = (description: string) =>
    Type.Object(
      { storageConnection: StorageConnection, details: StorageDetails },
      { additionalProperties: false, description },
    );

  async function storageConnection(id: string): Promise<StorageConnectionRow> {
    const found = isId(id) ? await findStorageConnection(db, id) : undefined;
    if (found === undefined) throw notFoundError('storage connection', id);
    return found;
  }

  /** Sets or ends the search for runs as the connection now says. When Temporal is away the sweep makes it good, so the change stands. */
  async function schedule(id: string): Promise<void> {
    try {
      const connection = await findStorageConnection(db, id);
      if (connection?.use_for_run_upload === true)
        await withTimeout(
          orchestrator.ensureDiscovery(
            { storageConnectionId: id, storageConnectionName: connection.name },
            discoverSeconds,
          ),
        );
      else await withTimeout(orchestrator.removeDiscovery(id));
    } catch (error) {
      scope.log.warn(
        { error: loggableError(error), storageConnectionId: id },
        'the schedule could not be set; the sweep will',
      );
    }
  }

  app.post(
    '/v1/storage-connections',
    {
      config: requireScope('storage:write'),
      attachValidation: true,
      schema: {
        operationId: 'StorageConnectionService_CreateStorageConnection',
        tags,
        summary: 'Connect a bucket',
        headers: IdempotencyHeaders,
        body: StorageBody,
        response: { 201: detailed('Created'), ...errors(409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkStorage(request);
      const fields = normal({
        ...request.body,
        prefix: request.body.prefix ?? '',
        allowPolicyProbe: request.body.allowPolicyProbe ?? false,
      });
      const answer = await createIdempotently(db, request, reply, 201, async (transaction) => {
        await requireReference('provider', 'providerId', fields.providerId, (id) =>
          findProvider(transaction, id, 'share'),
        );
        await checkOverlap(transaction, request.caller, fields);
        return showDetails(
          await mapUniqueViolation('storage connection', fields.name, insertStorageConnection(transaction, fields)),
        );
      });
      await schedule(answer.storageConnection.id);
      await requestVerification(request.log, orchestrator, [
        { kind: 'storageConnection', id: answer.storageConnection.id, name: answer.storageConnection.name },
      ]);
      return answer;
    },
  );
  app.get(
    '/v1/storage-connections',
    {
      config: requireScope('storage:read'),
      schema: {
        operationId: 'StorageConnectionService_ListStorageConnections',
        tags,
        summary: 'List storage connections, oldest first',
        querystring: CappedPageQuery,
        response: {
          200: Type.Object(
            { storageConnections: Type.Array(StorageConnection), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('storage-connections', request.query, (limit, after) =>
        listStorageConnections(db, limit, after, request.caller.access.ids('storage:read')),
      );
      return { storageConnections: items.map(showStorage), nextPageToken };
    },
  );
  app.get(
    '/v1/storage-connections/:id',
    {
      config: requireScope('storage:read', 'id'),
      schema: {
        operationId: 'StorageConnectionService_GetStorageConnection',
        tags,
        summary: 'A storage connection',
        params: IdParams,
        response: {
          200: Type.Object(
            { storageConnection: StorageConnection },
            { additionalProperties: false, description: 'The storage connection' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => ({ storageConnection: showStorage(await storageConnection(request.params.id)) }),
  );
  app.get(
    '/v1/storage-connections/:id/details',
    {
      config: requireScope('storage:read', 'id'),
      schema: {
        operationId: 'StorageConnectionService_GetStorageConnectionDetails',
        tags,
        summary: 'A storage connection with its settings',
        params: IdParams,
        response: { 200: detailed('The storage connection'), ...errors(404) },
      },
    },
    async (request) => showDetails(await storageConnection(request.params.id)),
  );
  app.patch(
    '/v1/storage-connections/:id',
    {
      config: requireScope('storage:write', 'id'),
      attachValidation: true,
      schema: {
        operationId: 'StorageConnectionService_UpdateStorageConnection',
        tags,
        summary: 'Change a storage connection',
        description:
          'What is left out stays. Where it lies (provider, region, bucket, prefix) cannot change once it has runs.',
        params: IdParams,
        body: StorageChange,
        response: { 200: detailed('Changed'), ...errors(404, 409, ...BODY) },
      },
    },
    async (request) => {
      checkStorage(request);
      const { id } = request.params;
      if (!isId(id)) throw notFoundError('storage connection', id);
      const changed = await inTransaction(db, async (transaction) => {
        const old = await findStorageConnection(transaction, id, 'update');
        if (old === undefined) throw notFoundError('storage connection', id);
        const before = {
          name: old.name,
          providerId: old.provider_id,
          region: old.region,
          bucket: old.bucket,
          prefix: old.prefix,
          useForRunUpload: old.use_for_run_upload,
          useForDataExploration: old.use_for_data_exploration,
          allowPolicyProbe: old.allow_policy_probe,
          runDepth: old.run_depth,
        };
        const fields = normal({ ...before, ...givenFields(request.body) });
        const moved = (['providerId', 'region', 'bucket', 'prefix'] as const).filter(
          (field) => fields[field] !== before[field],
        );
        // Whoever may change one connection only must not choose what of the bucket it shows.
        if (moved.length > 0 && request.caller.access.ids('storage:write') !== 'all') {
          throw new ApiError(
            403,
            'INSUFFICIENT_SCOPE',
            `Where a storage connection lies (${moved.join(', ')}) is changed with the scope storage:write for all of them`,
            { required_scope: 'storage:write' },
          );
        }
        const provider = await requireReference('provider', 'providerId', fields.providerId, (providerId) =>
          findProvider(transaction, providerId, 'share'),
        );
        if (moved.length > 0 && (await hasRuns(transaction, id))) {
          throw new ApiError(
            409,
            'HAS_RUNS',
            `The storage connection has runs, so its ${moved.join(', ')} cannot change; create another one`,
            { field: moved[0] },
          );
        }
        const uses = await listUses(transaction, 'storage_connections', id);
        const grants = uses.filter((use) => use.kind === 'access grant');
        const shared = moved.filter((field) => field !== 'providerId');
        if (grants.length > 0 && shared.length > 0)
          throw inUseError(
            request.caller,
            `The ${shared.join(', ')} cannot change while access is granted to the bucket`,
            grants,
            shared[0],
          );
        const flows = uses.filter((use) => use.kind === 'flow');
        if (flows.length > 0) {
          // Flows were checked against these; they would start in the wrong place, or never.
          if (fields.region !== before.region)
            throw inUseError(request.caller, 'The region cannot change', flows, 'region');
          const oldProvider =
            fields.providerId === before.providerId ? provider : await findProvider(transaction, before.providerId);
          if (!sameAccount(provider.account_id, oldProvider?.account_id))
            throw inUseError(request.caller, 'The AWS account cannot change', flows, 'providerId');
          if (!fields.useForRunUpload && before.useForRunUpload)
            throw inUseError(request.caller, 'Run upload cannot be switched off', flows, 'useForRunUpload');
        }
        await checkOverlap(transaction, request.caller, fields, id);
        return mapUniqueViolation('storage connection', fields.name, updateStorageConnection(transaction, id, fields));
      });
      await schedule(id);
      await requestVerification(request.log, orchestrator, [{ kind: 'storageConnection', id, name: changed.name }]);
      return showDetails(changed);
    },
  );
  app.delete(
    '/v1/storage-connections/:id',
    {
      config: requireScope('storage:write', 'id'),
      schema: {
        operationId: 'StorageConnectionService_DeleteStorageConnection',
        tags,
        summary: 'Delete a storage connection',
        description: 'The bucket and what is in it stay.',
        params: IdParams,
        response: { 204: NoContent, ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await softDelete(db, request.caller, 'storage connection', 'storage_connections', id, (transaction) =>
        findStorageConnection(transaction, id, 'update'),
      );
      await schedule(id);
      return reply.code(204).send(null);
    },
  );
  app.post(
    '/v1/storage-connections/:id/discover',
    {
      config: requireScope('storage:write', 'id'),
      schema: {
        operationId: 'StorageConnectionService_DiscoverRuns',
        tags,
        summary: 'Search for new runs now',
        params: IdParams,
        response: { 202: detailed('The search begins'), ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const found = await storageConnection(request.params.id);
      if (!found.use_for_run_upload)
        throw new ApiError(
          409,
          'NOT_USED_FOR_RUN_UPLOAD',
          'The storage connection is not used for run upload, so it is not searched',
        );
      await withTemporalErrors(
        request.log,
        orchestrator.ensureDiscovery(
          { storageConnectionId: found.id, storageConnectionName: found.name },
          discoverSeconds,
          false,
        ),
      );
      await withTemporalErrors(request.log, orchestrator.discoverNow(found.id));
      return reply.code(202).send(showDetails(found));
    },
  );
}
