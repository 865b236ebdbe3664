import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { parseScopes, type Scope, shownScopes, writeScope } from '../../domain/auth/scopes.js';
import { throwIfInvalid } from '../../domain/errors.js';
import { checkCallerName, normalizeName } from '../../domain/names.js';
import {
  type ApiKeyRow,
  findApiKey,
  insertApiKey,
  listApiKeys,
  releaseExpiredKeyName,
  revokeApiKey,
} from '../../store/auth.js';
import { type Db, newId } from '../../store/database.js';
import { inTransaction } from '../../store/transaction.js';
import { mapUniqueViolation } from '../conflicts.js';
import type { ApiDependencies } from '../dependencies.js';
import { pageForwards } from '../paging.js';
import { ANY_CALLER, type Caller, hashKey, requireScope } from '../plugins/auth.js';
import { requireResource } from '../references.js';
import type { RequestOf } from '../requests.js';
import { checkBody } from '../validation.js';
import { presentApiKey } from './present.js';
import { operations, KEY_DAYS } from './schemas.js';

const KIND = 'API key';
const DAY_MS = 86_400_000;

/** Who the caller is, and API keys. */
export function authRoutes(scope: FastifyInstance, { db }: Pick<ApiDependencies, 'db'>): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const mayRead = requireScope('keys:read');
  const mayWrite = requireScope('keys:write');

  // One installation is one tenant.
  app.get('/v1/auth', { config: ANY_CALLER, schema: operations.whoAmI }, async (request) => ({
    tenantId: 'default',
    scopes: shownScopes(request.caller.scopes),
  }));
  app.post(
    '/v1/api-keys',
    { config: mayWrite, attachValidation: true, schema: operations.createKey },
    (request, reply) => createApiKey(db, request, reply),
  );
  app.get('/v1/api-keys', { config: mayRead, schema: operations.listKeys }, async (request) => {
    const { items, nextPageToken } = await pageForwards('api-keys', request.query, (limit, after) =>
      listApiKeys(db, limit, after),
    );
    return { apiKeys: items.map(presentApiKey), nextPageToken };
  });
  app.get('/v1/api-keys/:id', { config: mayRead, schema: operations.getKey }, async (request) => ({
    apiKey: presentApiKey(await requireResource(KIND, request.params.id, (id) => findApiKey(db, id))),
  }));
  app.post('/v1/api-keys/:id/revoke', { config: mayWrite, schema: operations.revokeKey }, async (request) => ({
    apiKey: presentApiKey(await revoke(db, request, request.params.id, { hide: false })),
  }));
  app.delete('/v1/api-keys/:id', { config: mayWrite, schema: operations.deleteKey }, async (request, reply) => {
    await revoke(db, request, request.params.id, { hide: true });
    return reply.code(204).send(null);
  });
}

async function createApiKey(db: Db, request: RequestOf<typeof operations.createKey>, reply: FastifyReply) {
  checkBody(request, (check) => [check('name', (value) => checkCallerName('name', normalizeName(value)))]);
  const { caller, body } = request;
  const scopes = parseScopes('scopes', body.scopes);
  checkMayGrantScopes(caller, scopes);
  const id = newId();
  const key = `polony_${id.replaceAll('-', '')}_${randomBytes(32).toString('base64url')}`;
  const name = normalizeName(body.name);
  const scopeTexts = [...new Set(scopes.map(writeScope))];
  const newKey = {
    id,
    name,
    hash: hashKey(key),
    scopes: scopeTexts,
    createdBy: caller,
    timeExpires: expiryOf(caller, body.expiresInDays ?? KEY_DAYS.usual),
  };
  const row = await inTransaction(db, async (transaction) => {
    await releaseExpiredKeyName(transaction, name);
    return mapUniqueViolation(KIND, name, insertApiKey(transaction, newKey));
  });
  request.auditDetail = { name, scopes: scopeTexts, timeExpires: row.time_expires.toISOString() };
  return reply.code(201).send({ apiKey: presentApiKey(row), key });
}

/**
 * Checks that a caller has every scope that it gives to a new key.
 * @throws InputError NOT_YOURS
 */
function checkMayGrantScopes(caller: Caller, scopes: readonly Scope[]): void {
  throwIfInvalid(
    scopes.flatMap((scope, index) =>
      caller.access.includes(scope)
        ? []
        : [
            {
              field: `scopes.${index}`,
              rule: 'NOT_YOURS',
              message: `you cannot grant ${writeScope(scope)}, because you do not have it yourself`,
            },
          ],
    ),
  );
}

/** When a new key expires: a key must not outlive the key that creates it. */
function expiryOf(caller: Caller, days: number): Date {
  const wanted = Date.now() + days * DAY_MS;
  return new Date(caller.kind === 'key' ? Math.min(wanted, caller.expires!.getTime()) : wanted);
}

/**
 * Revokes an API key and records its name in the audit log.
 * @param hide whether lists omit the key from now on.
 * @throws ApiError 404
 */
async function revoke(db: Db, request: FastifyRequest, id: string, { hide }: { hide: boolean }): Promise<ApiKeyRow> {
  const row = await requireResource(KIND, id, () => revokeApiKey(db, id, request.caller, hide));
  request.auditDetail = { name: row.name };
  return row;
}
