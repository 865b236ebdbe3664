import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { InputError } from '../../domain/errors.js';
import { checkName, normalizeName } from '../../domain/names.js';
import { MOST_SCOPES, parseScopes, shownScopes, writeScope } from '../../domain/auth/scopes.js';
import {
  type ApiKeyRow,
  findApiKey,
  insertApiKey,
  listApiKeys,
  releaseExpiredKeyName,
  revokeApiKey,
} from '../../store/auth.js';
import { type AuditRow, listAudit } from '../../store/audit.js';
import { isId, newId } from '../../store/database.js';
import { inTransaction } from '../../store/transaction.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import { CappedPageQuery, filteredList, pageBothWays, PageQuery, pageForwards } from '../paging.js';
import { ANY_CALLER, hashKey, requireScope } from '../plugins/auth.js';
import { ApiKeyResource, AuditEntryResource, BODY, errors, IdParams, NoContent } from '../schemas.js';
import { checkBody, mapUniqueViolation, parseTimestamp } from '../common.js';

/** How long keys last, in days, as the vendor's do. */
const KEY_DAYS = { least: 1, most: 365, usual: 30 };
const DAY_MS = 86_400_000;

function showKey(row: ApiKeyRow) {
  return {
    id: row.id,
    name: row.name,
    scopes: row.scopes,
    state: row.time_revoked !== null ? 'revoked' : row.time_expires.getTime() <= Date.now() ? 'expired' : 'active',
    createdBy: row.created_by,
    timeCreated: row.time_created.toISOString(),
    timeExpires: row.time_expires.toISOString(),
    timeLastUsed: row.time_used?.toISOString() ?? null,
    timeRevoked: row.time_revoked?.toISOString() ?? null,
    revokedBy: row.revoked_by,
  };
}

function showEntry(row: AuditRow) {
  const detail = { ...row.detail, ...row.outcome_detail };
  return {
    id: row.id,
    time: row.time.toISOString(),
    requestId: row.request_id,
    caller: { kind: row.caller_kind, id: row.caller_id, name: row.caller_name },
    address: row.address,
    action: row.action,
    resourceType: row.resource_type,
    resourceId: row.outcome_resource_id ?? row.resource_id,
    // Without an outcome it was cut off, or is under way.
    timeEnded: row.time_ended?.toISOString() ?? null,
    status: row.status,
    reason: row.reason,
    detail: Object.keys(detail).length === 0 ? null : detail,
  };
}

const KeyBody = Type.Object(
  {
    name: Type.String({ description: 'Unique among the keys that work, 1 to 128 characters' }),
    scopes: Type.Array(Type.String(), {
      minItems: 1,
      maxItems: MOST_SCOPES,
      description:
        'resource:action, resource:action:id, storage:action:id/prefix/, resource:* or *; none that the caller does not have',
    }),
    expiresInDays: Type.Optional(
      Type.Integer({
        minimum: KEY_DAYS.least,
        maximum: KEY_DAYS.most,
        description: `${KEY_DAYS.usual} where it is left out`,
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [{ name: 'lims', scopes: ['runs:read', 'executions:read', 'executions:create'], expiresInDays: 90 }],
  },
);

const AuditQuery = Type.Object(
  {
    ...PageQuery.properties,
    callerId: Type.Optional(Type.String({ maxLength: 500 })),
    action: Type.Optional(
      Type.String({ maxLength: 200, description: 'An operationId, such as ExecutionService_CancelExecution' }),
    ),
    resourceId: Type.Optional(Type.String({ maxLength: 500 })),
    requestId: Type.Optional(Type.String({ maxLength: 128 })),
    since: Type.Optional(Type.String({ format: 'date-time', description: 'Of this time and later' })),
    until: Type.Optional(Type.String({ format: 'date-time', description: 'Before this time' })),
  },
  { additionalProperties: false },
);

/** Who a caller is, API keys, and the audit log. */
export function accessRoutes(scope: FastifyInstance, { db }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['AuthService'];
  const answer = (description: string) =>
    Type.Object({ apiKey: ApiKeyResource }, { additionalProperties: false, description });

  // One installation is one tenant.
  app.get(
    '/v1/auth',
    {
      config: ANY_CALLER,
      schema: {
        operationId: 'AuthService_GetAuth',
        tags,
        summary: 'Who the API key is',
        response: {
          200: Type.Object(
            { tenantId: Type.String(), scopes: Type.Array(Type.String()) },
            { additionalProperties: false, description: 'The key is valid' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => ({ tenantId: 'default', scopes: shownScopes(request.caller.scopes) }),
  );

  app.post(
    '/v1/api-keys',
    {
      config: requireScope('keys:write'),
      attachValidation: true,
      schema: {
        operationId: 'AuthService_CreateApiKey',
        tags,
        summary: 'Make an API key',
        description:
          'The key itself is in this answer only; its SHA-256 is what is kept, so there is no Idempotency-Key: when an answer is lost, revoke the key and make another. A key made with a key ends with that at the latest.',
        body: KeyBody,
        response: {
          201: Type.Object(
            { apiKey: ApiKeyResource, key: Type.String({ description: 'The key; nothing shows it again' }) },
            { additionalProperties: false, description: 'Created' },
          ),
          ...errors(409, ...BODY),
        },
      },
    },
    async (request, reply) => {
      checkBody(request, (check) => [check('name', (value) => checkName('name', normalizeName(value)))]);
      const { caller, body } = request;
      const scopes = parseScopes('scopes', body.scopes);
      const foreign = scopes
        .map((each, index) => ({ each, index }))
        .filter(({ each }) => !caller.access.includes(each));
      if (foreign.length > 0)
        throw new InputError(
          foreign.map(({ each, index }) => ({
            field: `scopes.${index}`,
            rule: 'NOT_YOURS',
            message: `${writeScope(each)} is more than your own key may do`,
          })),
        );
      const wanted = Date.now() + (body.expiresInDays ?? KEY_DAYS.usual) * DAY_MS;
      const ends = caller.kind === 'key' ? Math.min(wanted, caller.expires!.getTime()) : wanted;
      const id = newId();
      const key = `polony_${id.replaceAll('-', '')}_${randomBytes(32).toString('base64url')}`;
      const name = normalizeName(body.name);
      const texts = [...new Set(scopes.map(writeScope))];
      const row = await inTransaction(db, async (transaction) => {
        await releaseExpiredKeyName(transaction, name);
        return mapUniqueViolation(
          'API key',
          name,
          insertApiKey(transaction, {
            id,
            name,
            hash: hashKey(key),
            scopes: texts,
            createdBy: caller.name,
            timeExpires: new Date(ends),
          }),
        );
      });
      request.auditDetail = { name, scopes: texts, timeExpires: row.time_expires.toISOString() };
      return reply.code(201).send({ apiKey: showKey(row), key });
    },
  );
  app.get(
    '/v1/api-keys',
    {
      config: requireScope('keys:read'),
      schema: {
        operationId: 'AuthService_ListApiKeys',
        tags,
        summary: 'List API keys, oldest first',
        querystring: CappedPageQuery,
        response: {
          200: Type.Object(
            { apiKeys: Type.Array(ApiKeyResource), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('api-keys', request.query, (limit, after) =>
        listApiKeys(db, limit, after),
      );
      return { apiKeys: items.map(showKey), nextPageToken };
    },
  );
  app.get(
    '/v1/api-keys/:id',
    {
      config: requireScope('keys:read'),
      schema: {
        operationId: 'AuthService_GetApiKey',
        tags,
        summary: 'An API key',
        params: IdParams,
        response: { 200: answer('The API key'), ...errors(404) },
      },
    },
    async (request) => {
      const { id } = request.params;
      const row = isId(id) ? await findApiKey(db, id) : undefined;
      if (row === undefined) throw notFoundError('API key', id);
      return { apiKey: showKey(row) };
    },
  );

  async function revoke(id: string, by: string, forget: boolean): Promise<ApiKeyRow> {
    const row = isId(id) ? await revokeApiKey(db, id, by, forget) : undefined;
    if (row === undefined) throw notFoundError('API key', id);
    return row;
  }
  app.post(
    '/v1/api-keys/:id/revoke',
    {
      config: requireScope('keys:write'),
      schema: {
        operationId: 'AuthService_RevokeApiKey',
        tags,
        summary: 'End an API key at once',
        description: 'It stays in the list. Repeated, nothing changes.',
        params: IdParams,
        response: { 200: answer('It does not work any more'), ...errors(404) },
      },
    },
    async (request) => {
      const row = await revoke(request.params.id, request.caller.name, false);
      request.auditDetail = { name: row.name };
      return { apiKey: showKey(row) };
    },
  );
  app.delete(
    '/v1/api-keys/:id',
    {
      config: requireScope('keys:write'),
      schema: {
        operationId: 'AuthService_DeleteApiKey',
        tags,
        summary: 'End an API key at once and leave it out of the list',
        params: IdParams,
        response: { 204: NoContent, ...errors(404) },
      },
    },
    async (request, reply) => {
      const row = await revoke(request.params.id, request.caller.name, true);
      request.auditDetail = { name: row.name };
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/v1/audit-log',
    {
      config: requireScope('audit:read'),
      schema: {
        operationId: 'AuditService_ListAuditLog',
        tags: ['AuditService'],
        summary: 'Who did what, newest first',
        description:
          'All that changes something, what hands out credentials or download URLs, and what was denied for want of a scope. Entries are added only; one without `timeEnded` was cut off before its outcome was written.',
        querystring: AuditQuery,
        response: {
          200: Type.Object(
            { entries: Type.Array(AuditEntryResource), nextPageToken: Type.String(), previousPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { since, until, callerId, action, resourceId, requestId, ...page } = request.query;
      const times = {
        since: since === undefined ? undefined : parseTimestamp(since),
        until: until === undefined ? undefined : parseTimestamp(until),
      };
      if (times.since !== undefined && times.until !== undefined && times.since > times.until)
        throw new ApiError(400, 'INVALID_FIELD', 'since: must not be later than until', {
          field: 'since',
          rule: 'ORDER',
        });
      const filter = { callerId, action, resourceId, requestId, ...times };
      const { items, ...tokens } = await pageBothWays(
        filteredList('audit-log', { callerId, action, resourceId, requestId, since, until }),
        page,
        (slice) => listAudit(db, filter, slice),
      );
      return { entries: items.map(showEntry), ...tokens };
    },
  );
}
