import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { accountOfRole, checkExternalId, checkRegion, checkRoleArn } from '../../domain/aws.js';
import { refuse } from '../../domain/errors.js';
import { checkName, normalizeName } from '../../domain/names.js';
import { isId } from '../../store/database.js';
import * as store from '../../store/resources.js';
import { inTransaction } from '../../store/transaction.js';
import type { ApiDependencies } from '../app.js';
import { notFound } from '../errors.js';
import { creating } from '../idempotency.js';
import { pageForwards, PageQuery } from '../paging.js';
import { BODY, errors, IdempotencyHeaders, IdParams, NoContent, Provider, ProviderBody, ProviderChange } from '../schemas.js';
import { checkBody, deleting, given, inUse, named } from './common.js';

function showProvider(row: store.Provider) {
  return {
    id: row.id,
    name: row.name,
    type: 'aws',
    defaultRegion: row.default_region,
    credentialType: row.credential_type,
    roleArn: row.role_arn,
    externalId: row.external_id,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

function checkProvider(request: FastifyRequest): void {
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('defaultRegion', (value) => checkRegion('defaultRegion', value)),
    check('roleArn', (value) => checkRoleArn('roleArn', value.trim())),
    check('externalId', (value) => checkExternalId('externalId', value)),
  ]);
}

const normal = (fields: store.ProviderFields): store.ProviderFields => ({ name: normalizeName(fields.name), defaultRegion: fields.defaultRegion, roleArn: fields.roleArn.trim(), externalId: fields.externalId });

/** Providers: an AWS account and the role that polony assumes in it. */
export function providerRoutes(scope: FastifyInstance, { db }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['ProviderService'];
  const answer = (description: string) => Type.Object({ provider: Provider }, { additionalProperties: false, description });

  app.post(
    '/v1/providers',
    { attachValidation: true, schema: { operationId: 'ProviderService_CreateProvider', tags, summary: 'Connect an AWS account', headers: IdempotencyHeaders, body: ProviderBody, response: { 201: answer('Created'), ...errors(409, ...BODY, 422) } } },
    async (request, reply) => {
      checkProvider(request);
      const fields = normal(request.body);
      return creating(db, request, reply, 201, async (transaction) => ({ provider: showProvider(await named('provider', fields.name, store.insertProvider(transaction, fields))) }));
    },
  );
  app.get(
    '/v1/providers',
    { schema: { operationId: 'ProviderService_ListProviders', tags, summary: 'List providers, oldest first', querystring: PageQuery, response: { 200: Type.Object({ providers: Type.Array(Provider), nextPageToken: Type.String() }, { additionalProperties: false, description: 'A page' }), ...errors() } } },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('providers', request.query, (limit, after) => store.listProviders(db, limit, after));
      return { providers: items.map(showProvider), nextPageToken };
    },
  );
  app.get('/v1/providers/:id', { schema: { operationId: 'ProviderService_GetProvider', tags, summary: 'A provider', params: IdParams, response: { 200: answer('The provider'), ...errors(404) } } }, async (request) => {
    const { id } = request.params;
    const provider = isId(id) ? await store.findProvider(db, id) : undefined;
    if (provider === undefined) throw notFound('provider', id);
    return { provider: showProvider(provider) };
  });
  app.patch(
    '/v1/providers/:id',
    { attachValidation: true, schema: { operationId: 'ProviderService_UpdateProvider', tags, summary: 'Change a provider', description: 'What is left out stays. The role may change at any time, its account only while no connection uses the provider.', params: IdParams, body: ProviderChange, response: { 200: answer('Changed'), ...errors(404, 409, ...BODY) } } },
    async (request) => {
      checkProvider(request);
      const { id } = request.params;
      if (!isId(id)) throw notFound('provider', id);
      return inTransaction(db, async (transaction) => {
        const old = await store.findProvider(transaction, id, 'update');
        if (old === undefined) throw notFound('provider', id);
        const fields = normal({ name: old.name, defaultRegion: old.default_region, roleArn: old.role_arn, externalId: old.external_id, ...given(request.body) });
        if (fields.roleArn !== old.role_arn) {
          // Execution roles and buckets are of this account, and executions under way live in it.
          const uses = accountOfRole(fields.roleArn) === accountOfRole(old.role_arn) ? [] : await store.usesOf(transaction, 'providers', id);
          if (uses.length > 0) throw inUse('The role may change but not its AWS account; create a provider for the other account', uses, 'roleArn');
          const same = (await store.executionRolesOf(transaction, id)).find((compute) => compute.execution_role_arn === fields.roleArn);
          if (same !== undefined) refuse([{ field: 'roleArn', rule: 'EXECUTION_ROLE_IS_PROVIDER_ROLE', message: `must not be the execution role of compute connection ${same.name}: HealthOmics needs a separate one` }]);
        }
        return { provider: showProvider(await named('provider', fields.name, store.updateProvider(transaction, id, fields))) };
      });
    },
  );
  app.delete('/v1/providers/:id', { schema: { operationId: 'ProviderService_DeleteProvider', tags, summary: 'Delete a provider that no connection uses', params: IdParams, response: { 204: NoContent, ...errors(404, 409) } } }, async (request, reply) => {
    const { id } = request.params;
    await deleting(db, 'provider', 'providers', id, (transaction) => store.findProvider(transaction, id, 'update'));
    return reply.code(204).send(null);
  });
}
