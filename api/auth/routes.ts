import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  IDENTIFIED_RESOURCES,
  type IdentifiedResource,
  namesResource,
  parseScopes,
  type Scope,
  shownScopes,
  writeScope,
} from '../../domain/auth/scopes.js';
import { checkCallerName } from '../../domain/auth/callerNames.js';
import { throwIfInvalid } from '../../domain/errors.js';
import { normalizeName } from '../../domain/names.js';
import {
  type ApiKeyRow,
  findApiKey,
  insertApiKey,
  listApiKeys,
  listExistingIds,
  lockApiKey,
  type NewApiKey,
  releaseExpiredKeyName,
  retireApiKey,
  revokeApiKey,
} from '../../store/auth.js';
import { type Db, newId } from '../../store/database.js';
import { inTransaction } from '../../store/transaction.js';
import { mapUniqueViolation } from '../conflicts.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { pageForwards } from '../paging.js';
import { ANY_CALLER, type Caller, hashKey, requireScope } from '../plugins/auth.js';
import { requireResource } from '../references.js';
import type { RequestOf } from '../requests.js';
import { checkBody } from '../validation.js';
import { presentApiKey } from './present.js';
import { checkNameOfSuccessor, daysOf, retiredName, warnOfRotation } from './rotation.js';
import { GRACE_HOURS, KEY_DAYS, operations } from './schemas.js';

const KIND = 'API key';
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

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
  app.post('/v1/api-keys/:id/rotate', { config: mayWrite, schema: operations.rotateKey }, (request, reply) =>
    rotateApiKey(db, request, reply),
  );
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
  await checkScopesMatch(db, scopes);
  const name = normalizeName(body.name);
  const scopeTexts = [...new Set(scopes.map(writeScope))];
  const { key, newKey } = makeKey(caller, name, scopeTexts, body.expiresInDays ?? KEY_DAYS.usual);
  const row = await inTransaction(db, async (transaction) => {
    await releaseExpiredKeyName(transaction, name);
    return mapUniqueViolation(KIND, name, insertApiKey(transaction, newKey));
  });
  request.auditDetail = { name, scopes: scopeTexts, timeExpires: row.time_expires.toISOString() };
  return reply.code(201).send({ apiKey: presentApiKey(row), key });
}

function makeKey(caller: Caller, name: string, scopes: string[], days: number): { key: string; newKey: NewApiKey } {
  const id = newId();
  const key = `polony_${id.replaceAll('-', '')}_${randomBytes(32).toString('base64url')}`;
  const timeExpires = expiryOf(caller, days);
  return { key, newKey: { id, name, hash: hashKey(key), scopes, createdBy: caller, timeExpires } };
}

/** Makes a key with the name and the scopes of another one, which ends at once or after a while. */
async function rotateApiKey(db: Db, request: RequestOf<typeof operations.rotateKey>, reply: FastifyReply) {
  const { caller, params } = request;
  const { graceHours = GRACE_HOURS.usual, expiresInDays } = request.body ?? {};
  const { row, key, replaced, days } = await inTransaction(db, async (transaction) => {
    const old = await requireResource(KIND, params.id, (id) => lockApiKey(transaction, id));
    if (old.time_revoked !== null)
      throw new ApiError(
        409,
        'API_KEY_REVOKED',
        `The API key ${old.name} was revoked, so it cannot be rotated. Create a new key`,
      );
    checkNameOfSuccessor(old);
    checkMayGrantScopes(caller, parseScopes('scopes', old.scopes));
    const days = expiresInDays ?? daysOf(old);
    const { key, newKey } = makeKey(caller, old.name, old.scopes, days);
    const ended = await retireApiKey(transaction, old.id, {
      name: retiredName(old),
      timeExpires: new Date(Date.now() + graceHours * HOUR_MS),
    });
    const replaced = graceHours > 0 ? ended : (await revokeApiKey(transaction, old.id, caller, false))!;
    await releaseExpiredKeyName(transaction, old.name);
    return { row: await mapUniqueViolation(KIND, old.name, insertApiKey(transaction, newKey)), key, replaced, days };
  });
  request.auditDetail = { name: row.name, newKey: row.id, graceHours, timeExpires: row.time_expires.toISOString() };
  const warnings = warnOfRotation({ caller, days, row, replaced });
  return reply.code(201).send({ apiKey: presentApiKey(row), key, replaced: presentApiKey(replaced), warnings });
}

/**
 * Checks that every scope for a single resource names one that exists. Otherwise the key would silently lack what its
 * owner wants it to have.
 * @throws InputError SCOPE_MATCHES_NOTHING
 */
async function checkScopesMatch(db: Db, scopes: readonly Scope[]): Promise<void> {
  const named = scopes.filter(namesResource);
  const existing = new Map<IdentifiedResource, Set<string>>();
  for (const resource of new Set(named.map((scope) => scope.resource)))
    existing.set(
      resource,
      await listExistingIds(
        db,
        resource,
        named.filter((scope) => scope.resource === resource).map(({ id }) => id),
      ),
    );
  throwIfInvalid(
    scopes.flatMap((scope, index) =>
      !namesResource(scope) || existing.get(scope.resource)!.has(scope.id)
        ? []
        : [
            {
              field: `scopes.${index}`,
              rule: 'SCOPE_MATCHES_NOTHING',
              message:
                `there is no ${IDENTIFIED_RESOURCES[scope.resource]} with the ID ${scope.id}, ` +
                `so ${writeScope(scope)} would allow nothing. Use the ID of an existing one`,
            },
          ],
    ),
  );
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
