import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { checkExecutionRole, checkHealthOmicsRegion, checkRoleArn, sameAccount } from '../../../domain/aws.js';
import { throwIfInvalid } from '../../../domain/errors.js';
import { checkName, normalizeName } from '../../../domain/names.js';
import { isId } from '../../../store/database.js';
import {
  type ComputeConnectionFields,
  type ComputeConnectionRow,
  findComputeConnection,
  insertComputeConnection,
  listComputeConnections,
  updateComputeConnection,
} from '../../../store/connections/compute.js';
import { findProvider, type ProviderRow } from '../../../store/connections/providers.js';
import { listUses } from '../../../store/connections/uses.js';
import { inTransaction } from '../../../store/transaction.js';
import type { ApiDependencies } from '../../dependencies.js';
import { ApiError, notFoundError } from '../../errors.js';
import { createIdempotently } from '../../idempotency.js';
import { pageForwards, PageQuery } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import {
  BODY,
  ComputeBody,
  ComputeChange,
  ComputeConnection,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
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

function showCompute(row: ComputeConnectionRow) {
  return {
    id: row.id,
    name: row.name,
    type: 'aws_omics',
    providerId: row.provider_id,
    executionRoleArn: row.execution_role_arn,
    region: row.region,
    status: `COMPUTE_CONNECTION_STATUS_${row.status}`,
    statusDescription: row.status_description,
    timeVerified: row.time_verified?.toISOString() ?? null,
    timeUsed: row.time_used?.toISOString() ?? null,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

function checkCompute(request: FastifyRequest): void {
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('executionRoleArn', (value) => checkRoleArn('executionRoleArn', value.trim())),
    check('region', (value) => checkHealthOmicsRegion('region', value)),
  ]);
}

const normal = (fields: ComputeConnectionFields): ComputeConnectionFields => ({
  ...fields,
  providerId: fields.providerId.toLowerCase(),
  name: normalizeName(fields.name),
  executionRoleArn: fields.executionRoleArn.trim(),
});

/** The provider must exist, and the execution role must be one that it can pass. */
async function checkProvider(transaction: Trx, fields: ComputeConnectionFields): Promise<ProviderRow> {
  const provider = await requireReference('provider', 'providerId', fields.providerId, (id) =>
    findProvider(transaction, id, 'share'),
  );
  throwIfInvalid(
    checkExecutionRole('executionRoleArn', fields.executionRoleArn, {
      roleArn: provider.role_arn,
      account: provider.account_id,
    }),
  );
  return provider;
}

/** Compute connections: AWS HealthOmics in an account and region. */
export function computeConnectionRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['ComputeConnectionService'];
  const answer = (description: string) =>
    Type.Object({ computeConnection: ComputeConnection }, { additionalProperties: false, description });

  app.post(
    '/v1/compute-connections',
    {
      config: requireScope('compute:write'),
      attachValidation: true,
      schema: {
        operationId: 'ComputeConnectionService_CreateComputeConnection',
        tags,
        summary: 'Connect HealthOmics',
        headers: IdempotencyHeaders,
        body: ComputeBody,
        response: { 201: answer('Created'), ...errors(409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkCompute(request);
      const fields = normal(request.body);
      const made = await createIdempotently(db, request, reply, 201, async (transaction) => {
        await checkProvider(transaction, fields);
        return {
          computeConnection: showCompute(
            await mapUniqueViolation('compute connection', fields.name, insertComputeConnection(transaction, fields)),
          ),
        };
      });
      await requestVerification(request.log, orchestrator, [
        { kind: 'computeConnection', id: made.computeConnection.id, name: made.computeConnection.name },
      ]);
      return made;
    },
  );
  app.get(
    '/v1/compute-connections',
    {
      config: requireScope('compute:read'),
      schema: {
        operationId: 'ComputeConnectionService_ListComputeConnections',
        tags,
        summary: 'List compute connections, oldest first',
        querystring: PageQuery,
        response: {
          200: Type.Object(
            { computeConnections: Type.Array(ComputeConnection), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('compute-connections', request.query, (limit, after) =>
        listComputeConnections(db, limit, after, request.caller.access.ids('compute:read')),
      );
      return { computeConnections: items.map(showCompute), nextPageToken };
    },
  );
  app.get(
    '/v1/compute-connections/:id',
    {
      config: requireScope('compute:read', 'id'),
      schema: {
        operationId: 'ComputeConnectionService_GetComputeConnection',
        tags,
        summary: 'A compute connection',
        params: IdParams,
        response: { 200: answer('The compute connection'), ...errors(404) },
      },
    },
    async (request) => {
      const { id } = request.params;
      const found = isId(id) ? await findComputeConnection(db, id) : undefined;
      if (found === undefined) throw notFoundError('compute connection', id);
      return { computeConnection: showCompute(found) };
    },
  );
  app.patch(
    '/v1/compute-connections/:id',
    {
      config: requireScope('compute:write', 'id'),
      attachValidation: true,
      schema: {
        operationId: 'ComputeConnectionService_UpdateComputeConnection',
        tags,
        summary: 'Change a compute connection',
        description:
          'What is left out stays. Roles may change at any time within the account; account and region only while nothing uses it.',
        params: IdParams,
        body: ComputeChange,
        response: { 200: answer('Changed'), ...errors(404, 409, ...BODY) },
      },
    },
    async (request) => {
      checkCompute(request);
      const { id } = request.params;
      if (!isId(id)) throw notFoundError('compute connection', id);
      const changed = await inTransaction(db, async (transaction) => {
        const old = await findComputeConnection(transaction, id, 'update');
        if (old === undefined) throw notFoundError('compute connection', id);
        const fields = normal({
          name: old.name,
          providerId: old.provider_id,
          executionRoleArn: old.execution_role_arn,
          region: old.region,
          ...givenFields(request.body),
        });
        // Whoever may change one connection only must not choose whose credentials it works with.
        if (fields.providerId !== old.provider_id && request.caller.access.ids('compute:write') !== 'all') {
          throw new ApiError(
            403,
            'INSUFFICIENT_SCOPE',
            'The provider of a compute connection is changed with the scope compute:write for all of them',
            { required_scope: 'compute:write', field: 'providerId' },
          );
        }
        const provider = await requireReference('provider', 'providerId', fields.providerId, (providerId) =>
          findProvider(transaction, providerId, 'share'),
        );
        // Flows were checked against region and account, and the HealthOmics runs of executions under way live in them.
        const oldProvider =
          fields.providerId === old.provider_id ? provider : await findProvider(transaction, old.provider_id);
        const otherAccount = !sameAccount(provider.account_id, oldProvider?.account_id);
        if (otherAccount || fields.region !== old.region) {
          const uses = await listUses(transaction, 'compute_connections', id);
          if (uses.length > 0)
            throw inUseError(
              request.caller,
              `The ${otherAccount ? 'AWS account' : 'region'} cannot change`,
              uses,
              otherAccount ? 'providerId' : 'region',
            );
        }
        throwIfInvalid(
          checkExecutionRole('executionRoleArn', fields.executionRoleArn, {
            roleArn: provider.role_arn,
            account: provider.account_id,
          }),
        );
        return {
          computeConnection: showCompute(
            await mapUniqueViolation(
              'compute connection',
              fields.name,
              updateComputeConnection(transaction, id, fields),
            ),
          ),
        };
      });
      await requestVerification(request.log, orchestrator, [
        { kind: 'computeConnection', id, name: changed.computeConnection.name },
      ]);
      return changed;
    },
  );
  app.delete(
    '/v1/compute-connections/:id',
    {
      config: requireScope('compute:write', 'id'),
      schema: {
        operationId: 'ComputeConnectionService_DeleteComputeConnection',
        tags,
        summary: 'Delete a compute connection that nothing uses',
        params: IdParams,
        response: { 204: NoContent, ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await softDelete(db, request.caller, 'compute connection', 'compute_connections', id, (transaction) =>
        findComputeConnection(transaction, id, 'update'),
      );
      return reply.code(204).send(null);
    },
  );
}
