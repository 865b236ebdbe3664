import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { type AuditFilter, listAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { filteredList, pageBothWays } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { parseTimestamp } from '../validation.js';
import { sendAuditExport } from './export.js';
import { presentAuditEntry } from './present.js';
import { operations } from './schemas.js';

/** The audit log: who did what. */
export function auditRoutes(scope: FastifyInstance, { db }: Pick<ApiDependencies, 'db'>): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  app.get('/v1/audit-log', { config: requireScope('audit:read'), schema: operations.list }, (request) =>
    listAuditLog(db, request),
  );
  app.get(
    '/v1/audit-log/export',
    { config: requireScope('audit:read'), schema: operations.export },
    async (request, reply) => reply.send((await sendAuditExport(db, reply, readFilter(request.query))) as never),
  );
}

/** The conditions of a search. @throws ApiError 400 for times in the wrong order */
function readFilter(query: RequestOf<typeof operations.export>['query']): AuditFilter {
  const { since, until, callerId, action, resourceId, requestId } = query;
  const times = {
    since: since === undefined ? undefined : parseTimestamp(since),
    until: until === undefined ? undefined : parseTimestamp(until),
  };
  if (times.since !== undefined && times.until !== undefined && times.since > times.until)
    throw new ApiError(400, 'INVALID_FIELD', 'since: must not be later than until', { field: 'since', rule: 'ORDER' });
  return { callerId, action, resourceId, requestId, ...times };
}

async function listAuditLog(db: Db, request: RequestOf<typeof operations.list>) {
  const { pageSize, pageToken, ...search } = request.query;
  const filter = readFilter(search);
  const { items, ...tokens } = await pageBothWays(filteredList('audit-log', search), { pageSize, pageToken }, (slice) =>
    listAudit(db, filter, slice),
  );
  return { entries: items.map(presentAuditEntry), ...tokens };
}
