import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import {
  accountOfRole,
  checkAccessKeyId,
  checkExternalId,
  checkRegion,
  checkRoleArn,
  checkSecretAccessKey,
} from '../../../domain/aws.js';
import { throwIfInvalid } from '../../../domain/errors.js';
import { checkName, normalizeName } from '../../../domain/names.js';
import { isId, newId } from '../../../store/database.js';
import { listExecutionRoles } from '../../../store/connections/compute.js';
import {
  findProvider,
  insertProvider,
  listProviders,
  type ProviderFields,
  type ProviderRow,
  updateProvider,
} from '../../../store/connections/providers.js';
import { listUses } from '../../../store/connections/uses.js';
import { deleteEvidence } from '../../../store/verification/evidence.js';
import { listProviderParts } from '../../../store/verification/resources.js';
import { CREDENTIAL_TYPES, type CredentialType } from '../../../domain/iam/permissions.js';
import { providerSecretContext, type SealedSecret } from '../../../store/secrets.js';
import { inTransaction } from '../../../store/transaction.js';
import type { ApiDependencies } from '../../dependencies.js';
import { ApiError, notFoundError } from '../../errors.js';
import { createIdempotently } from '../../idempotency.js';
import { pageForwards, PageQuery } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import {
  BODY,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  Provider,
  ProviderBody,
  ProviderChange,
} from '../../schemas.js';
import { checkBody, softDelete, inUseError, mapUniqueViolation, requestVerification } from '../../common.js';

function showProvider(row: ProviderRow) {
  return {
    id: row.id,
    name: row.name,
    type: 'aws',
    defaultRegion: row.default_region,
    credentialType: row.credential_type,
    roleArn: row.role_arn,
    externalId: row.external_id,
    accessKeyId: row.access_key_id,
    accountId: row.account_id,
    sessionSeconds: row.session_seconds,
    status: `PROVIDER_STATUS_${row.status}`,
    statusDescription: row.status_description,
    timeVerified: row.time_verified?.toISOString() ?? null,
    timeUsed: row.time_used?.toISOString() ?? null,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

const FIELDS_OF = { role: ['roleArn', 'externalId'], accessKeys: ['accessKeyId', 'secretAccessKey'] } as const;
const OTHER = { role: 'accessKeys', accessKeys: 'role' } as const;

/** @param type of the credential as it will be. @param required what must be given. */
function checkProvider(
  request: FastifyRequest,
  type: (body: Partial<Body>) => CredentialType | undefined,
  required: (type: CredentialType, body: Partial<Body>) => readonly (keyof Body)[],
): void {
  checkBody(request, (check, body) => {
    const known = type(body);
    return [
      check('name', (value) => checkName('name', normalizeName(value))),
      check('defaultRegion', (value) => checkRegion('defaultRegion', value)),
      check('roleArn', (value) => checkRoleArn('roleArn', value.trim())),
      check('externalId', (value) => checkExternalId('externalId', value)),
      check('accessKeyId', (value) => checkAccessKeyId('accessKeyId', value.trim())),
      check('secretAccessKey', (value) => checkSecretAccessKey('secretAccessKey', value.trim())),
      known === undefined || !CREDENTIAL_TYPES.includes(known)
        ? []
        : [
            ...required(known, body)
              .filter((field) => body[field] === undefined)
              .map((field) => ({
                field,
                rule: 'REQUIRED',
                message:
                  field === 'externalId'
                    ? 'is needed for a role: choose one of your own, or take the one that GET /v1/iam-documents offers'
                    : `is needed for the credential type ${known}`,
              })),
            ...FIELDS_OF[OTHER[known]]
              .filter((field) => body[field] !== undefined)
              .map((field) => ({
                field,
                rule: 'CREDENTIAL_TYPE',
                message: `belongs to the credential type ${OTHER[known]}, this is ${known}`,
              })),
          ],
    ];
  });
}

type Body = Static<typeof ProviderBody>;

/** Providers: an AWS account, and the role or access keys by which polony enters it. */
export function providerRoutes(scope: FastifyInstance, { db, orchestrator, secrets }: ApiDependencies): void {
  async function seal(id: string, secretAccessKey: string): Promise<SealedSecret> {
    if (secrets.currentKeyId === undefined)
      throw new ApiError(
        409,
        'ENCRYPTION_KEYS_MISSING',
        'Access keys cannot be kept: whoever runs polony must set POLONY_ENCRYPTION_KEYS for API and workers first. A role needs no secret',
        { field: 'secretAccessKey' },
      );
    return secrets.seal(secretAccessKey.trim(), providerSecretContext(id));
  }

  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['ProviderService'];
  const answer = (description: string) =>
    Type.Object({ provider: Provider }, { additionalProperties: false, description });

  app.post(
    '/v1/providers',
    {
      config: requireScope('providers:write'),
      attachValidation: true,
      schema: {
        operationId: 'ProviderService_CreateProvider',
        tags,
        summary: 'Connect an AWS account',
        headers: IdempotencyHeaders,
        body: ProviderBody,
        response: { 201: answer('Created'), ...errors(409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkProvider(
        request,
        (body) =>
          body.credentialType === 'accessKeys' || body.credentialType === 'role' ? body.credentialType : undefined,
        (type) => FIELDS_OF[type],
      );
      const { body } = request;
      const id = newId();
      const fields: ProviderFields = {
        name: normalizeName(body.name),
        defaultRegion: body.defaultRegion,
        credential:
          body.credentialType === 'role'
            ? { type: 'role', roleArn: body.roleArn!.trim(), externalId: body.externalId! }
            : {
                type: 'accessKeys',
                accessKeyId: body.accessKeyId!.trim(),
                secret: await seal(id, body.secretAccessKey!),
              },
      };
      const made = await createIdempotently(db, request, reply, 201, async (transaction) => ({
        provider: showProvider(
          await mapUniqueViolation('provider', fields.name, insertProvider(transaction, id, fields)),
        ),
      }));
      await requestVerification(request.log, orchestrator, [
        { kind: 'provider', id: made.provider.id, name: made.provider.name },
      ]);
      return made;
    },
  );
  app.get(
    '/v1/providers',
    {
      config: requireScope('providers:read'),
      schema: {
        operationId: 'ProviderService_ListProviders',
        tags,
        summary: 'List providers, oldest first',
        querystring: PageQuery,
        response: {
          200: Type.Object(
            { providers: Type.Array(Provider), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('providers', request.query, (limit, after) =>
        listProviders(db, limit, after, request.caller.access.ids('providers:read')),
      );
      return { providers: items.map(showProvider), nextPageToken };
    },
  );
  app.get(
    '/v1/providers/:id',
    {
      config: requireScope('providers:read', 'id'),
      schema: {
        operationId: 'ProviderService_GetProvider',
        tags,
        summary: 'A provider',
        params: IdParams,
        response: { 200: answer('The provider'), ...errors(404) },
      },
    },
    async (request) => {
      const { id } = request.params;
      const provider = isId(id) ? await findProvider(db, id) : undefined;
      if (provider === undefined) throw notFoundError('provider', id);
      return { provider: showProvider(provider) };
    },
  );
  app.patch(
    '/v1/providers/:id',
    {
      config: requireScope('providers:write', 'id'),
      attachValidation: true,
      schema: {
        operationId: 'ProviderService_UpdateProvider',
        tags,
        summary: 'Change a provider',
        description:
          'What is left out stays. The role may change at any time, its account only while no connection uses the provider. Access keys are rotated by giving both anew: sessions of the old ones are used until the new ones are known everywhere, half a minute at most, so deactivate the old key after that.',
        params: IdParams,
        body: ProviderChange,
        response: { 200: answer('Changed'), ...errors(404, 409, ...BODY) },
      },
    },
    async (request) => {
      const { id } = request.params;
      const current = isId(id) ? await findProvider(db, id) : undefined;
      if (current === undefined) throw notFoundError('provider', id);
      checkProvider(
        request,
        (body) => body.credentialType ?? current.credential_type,
        // A secret belongs to its key, so both are given together; another type needs all that it has.
        (type, body) =>
          type === 'accessKeys'
            ? type !== current.credential_type || body.accessKeyId !== undefined || body.secretAccessKey !== undefined
              ? FIELDS_OF.accessKeys
              : []
            : type !== current.credential_type
              ? FIELDS_OF.role
              : [],
      );
      const { body } = request;
      const secret = body.secretAccessKey === undefined ? undefined : await seal(id, body.secretAccessKey);
      const changed = await inTransaction(db, async (transaction) => {
        const old = await findProvider(transaction, id, 'update');
        if (old === undefined) throw notFoundError('provider', id);
        if (old.credential_type !== current.credential_type)
          throw new ApiError(409, 'CONFLICT', 'The provider was changed at the same moment; look at it and try again');
        let credential: ProviderFields['credential'];
        if ((body.credentialType ?? old.credential_type) === 'role')
          credential = {
            type: 'role',
            roleArn: body.roleArn?.trim() ?? old.role_arn!,
            externalId: body.externalId ?? old.external_id!,
          };
        else
          credential = {
            type: 'accessKeys',
            accessKeyId: body.accessKeyId?.trim() ?? old.access_key_id!,
            secret: secret ?? { sealed: old.secret_sealed!, keyId: old.secret_key_id! },
          };
        if (credential.type === 'role' && credential.roleArn !== old.role_arn) {
          const { roleArn } = credential;
          // Execution roles and buckets are of this account, and executions under way live in it.
          const uses =
            old.account_id === null || accountOfRole(roleArn) === old.account_id
              ? []
              : await listUses(transaction, 'providers', id);
          if (uses.length > 0)
            throw inUseError(
              request.caller,
              'The role may change but not its AWS account; create a provider for the other account',
              uses,
              'roleArn',
            );
          const same = (await listExecutionRoles(transaction, id)).find(
            (compute) => compute.execution_role_arn === roleArn,
          );
          if (same !== undefined)
            throwIfInvalid([
              {
                field: 'roleArn',
                rule: 'EXECUTION_ROLE_IS_PROVIDER_ROLE',
                message: `must not be the execution role of compute connection ${same.name}: HealthOmics needs a separate one`,
              },
            ]);
        }
        const other =
          credential.type === 'role'
            ? credential.roleArn !== old.role_arn || credential.externalId !== old.external_id
            : secret !== undefined;
        const fields: ProviderFields = {
          name: body.name === undefined ? old.name : normalizeName(body.name),
          defaultRegion: body.defaultRegion ?? old.default_region,
          credential,
        };
        if (other) await deleteEvidence(transaction, id);
        return {
          provider: showProvider(
            await mapUniqueViolation('provider', fields.name, updateProvider(transaction, id, fields, other)),
          ),
        };
      });
      await requestVerification(request.log, orchestrator, await listProviderParts(db, id));
      return changed;
    },
  );
  app.delete(
    '/v1/providers/:id',
    {
      config: requireScope('providers:write', 'id'),
      schema: {
        operationId: 'ProviderService_DeleteProvider',
        tags,
        summary: 'Delete a provider that no connection uses',
        params: IdParams,
        response: { 204: NoContent, ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await softDelete(db, request.caller, 'provider', 'providers', id, (transaction) =>
        findProvider(transaction, id, 'update'),
      );
      return reply.code(204).send(null);
    },
  );
}
