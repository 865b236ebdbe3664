import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { beginAudit, endAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { loggableError } from '../../domain/errors.js';

/** The entry of a request in the audit log, which its response completes. */
export interface Audited {
  id: string;
  reason?: string;
  /** Of the resource that the request created. */
  resourceId?: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    audited: Audited | null;
    /** More details for the entry of this request. Never put a secret here. */
    auditDetail: object | null;
  }
}

/** How many fields of a body an entry names, and the longest name. The fields of an invalid body can be anything. */
const MOST_FIELDS = 100;
const FIELD_CHARACTERS = 100;

/**
 * Records every request that changes or issues something in the audit log. The entry is written before the effect: if
 * it cannot be written, the request fails. The outcome is added before the response is sent. Call it after {@link
 * addAuth}.
 */
export function addAudit(app: FastifyInstance, db: Db, auditsReads = false): void {
  app.decorateRequest('audited', null);
  app.decorateRequest('auditDetail', null);
  app.addHook('preHandler', async (request) => {
    if (isAudited(request, auditsReads)) request.audited = { id: await beginEntry(db, request) };
  });
  app.addHook('preSerialization', async (request, reply, body: unknown) => {
    if (request.audited !== null && reply.statusCode === 201) request.audited.resourceId = findId(body);
    return body;
  });
  app.addHook('onSend', async (request, reply, payload: unknown) => {
    await endEntry(db, request, reply);
    return payload;
  });
}

function isAudited(request: FastifyRequest, auditsReads: boolean): boolean {
  const needs = request.routeOptions.config?.needs;
  // Without a caller, the route itself knows what to record.
  if (needs === undefined || needs.isPublic === true || request.is404) return false;
  const audit = typeof needs.audit === 'function' ? needs.audit(request) : needs.audit;
  if (auditsReads) return true;
  return audit ?? (request.method !== 'GET' && request.method !== 'HEAD');
}

async function beginEntry(db: Db, request: FastifyRequest): Promise<string> {
  const { config, schema, url } = request.routeOptions;
  const { permission, id: parameter } = config.needs!;
  const id = parameter === undefined ? undefined : (request.params as Record<string, string | undefined>)[parameter];
  const fields = listFields(request.body);
  return beginAudit(db, {
    caller: request.caller,
    action: schema?.operationId ?? `${request.method} ${url}`,
    requestId: request.id,
    address: request.ip,
    ...(permission !== undefined && { resourceType: permission.split(':')[0] }),
    ...(id !== undefined && { resourceId: id }),
    ...(fields.length > 0 && { detail: { fields } }),
  });
}

/** The names of the fields of a body. Not their values: some are secrets, and all can be large. */
function listFields(body: unknown): string[] {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return [];
  return Object.keys(body)
    .slice(0, MOST_FIELDS)
    .map((name) => name.slice(0, FIELD_CHARACTERS));
}

async function endEntry(db: Db, request: FastifyRequest, { statusCode }: FastifyReply): Promise<void> {
  const audited = request.audited as Audited | null | undefined;
  if (audited === null || audited === undefined) return;
  try {
    await endAudit(db, audited.id, {
      status: statusCode,
      ...(audited.reason !== undefined && { reason: audited.reason }),
      ...(audited.resourceId !== undefined && { resourceId: audited.resourceId }),
      ...(request.auditDetail !== null && { detail: request.auditDetail }),
    });
  } catch (error) {
    // The change is done, and the entry says that it began.
    request.log.error(
      { error: loggableError(error), audit: audited.id },
      'Writing the outcome of a request to the audit log failed',
    );
  }
}

/** The id in a response such as `{ flow: { id } }`. */
function findId(body: unknown): string | undefined {
  const [resource] = typeof body === 'object' && body !== null ? Object.values(body as Record<string, unknown>) : [];
  const { id } = (typeof resource === 'object' && resource !== null ? resource : {}) as { id?: unknown };
  return typeof id === 'string' ? id : undefined;
}
