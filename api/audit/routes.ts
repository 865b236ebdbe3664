import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { listAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { filteredList, pageBothWays } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { parseTimestamp } from '../validation.js';
import { presentAuditEntry } from './present.js';
import { operations } from './schemas.js';

/** The audit log: who did what. */
export function auditRoutes(scope: FastifyInstance, { db }: Pick<ApiDependencies, 'db'>): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  app.get('/v1/audit-log', { config: requireScope('audit:read'), schema: operations.list }, (request) =>
    listAuditLog(db, request),
  );
}

async function listAuditLog(db: Db, request: RequestOf<typeof operations.list>) {
  const { since, until, callerId, action, resourceId, requestId, ...page } = request.query;
  const times = {
    since: since === undefined ? undefined : parseTimestamp(since),
    until: until === undefined ? undefined : parseTimestamp(until),
  };
  if (times.since !== undefined && times.until !== undefined && times.since > times.until)
    throw new ApiError(400, 'INVALID_FIELD', 'since: must not be later than until', { field: 'since', rule: 'ORDER' });
  const filter = { callerId, action, resourceId, requestId };
  const { items, ...tokens } = await pageBothWays(
    filteredList('audit-log', { ...filter, since, until }),
    page,
    (slice) => listAudit(db, { ...filter, ...times }, slice),
  );
  return { entries: items.map(presentAuditEntry), ...tokens };
}
