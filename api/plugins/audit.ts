import type { FastifyInstance } from 'fastify';
import { beginAudit, endAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { loggableError } from '../errors.js';

/** An entry of the audit log that a request has begun. */
export interface Audited {
  id: string;
  reason?: string;
  /** Of what the request has made. */
  resourceId?: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    audited: Audited | null;
    /** More for the entry of this request; never a secret. */
    auditDetail: object | null;
  }
}

/** How many fields of a body are named in an entry, and with how many characters of their names: those of a refused body may be anything. */
const MOST_FIELDS = 100;
const FIELD_CHARACTERS = 100;

/** The id in an answer such as `{ flow: { id } }`. */
function idIn(answer: unknown): string | undefined {
  const [resource] =
    typeof answer === 'object' && answer !== null ? Object.values(answer as Record<string, unknown>) : [];
  const { id } = (typeof resource === 'object' && resource !== null ? resource : {}) as { id?: unknown };
  return typeof id === 'string' ? id : undefined;
}

/**
 * Writes every request that changes something or hands something out to the audit log: before its effect, so that nothing
 * happens unwritten (where it cannot be written, the request is refused), and its outcome before it is answered. After {@link addAuth}.
 */
export function addAudit(app: FastifyInstance, db: Db): void {
  app.decorateRequest('audited', null);
  app.decorateRequest('auditDetail', null);
  app.addHook('preHandler', async (request) => {
    const { config, schema } = request.routeOptions;
    const need = config?.needs;
    if (need === undefined || request.is404) return;
    const said = typeof need.audit === 'function' ? need.audit(request) : need.audit;
    if (!(said ?? (request.method !== 'GET' && request.method !== 'HEAD'))) return;
    const id = need.id === undefined ? undefined : (request.params as Record<string, string | undefined>)[need.id];
    const body = request.body;
    // Names only: some of the fields are secrets, and all may be large.
    const fields =
      typeof body === 'object' && body !== null && !Array.isArray(body)
        ? Object.keys(body)
            .slice(0, MOST_FIELDS)
            .map((name) => name.slice(0, FIELD_CHARACTERS))
        : [];
    const action = schema?.operationId ?? `${request.method} ${request.routeOptions.url}`;
    request.audited = {
      id: await beginAudit(db, {
        caller: request.caller,
        action,
        requestId: request.id,
        address: request.ip,
        ...(need.permission !== undefined && { resourceType: need.permission.split(':')[0] }),
        ...(id !== undefined && { resourceId: id }),
        ...(fields.length > 0 && { detail: { fields } }),
      }),
    };
  });
  app.addHook('preSerialization', async (request, reply, answer: unknown) => {
    if (request.audited !== null && reply.statusCode === 201) request.audited.resourceId = idIn(answer);
    return answer;
  });
  app.addHook('onSend', async (request, reply, payload: unknown) => {
    const audited = request.audited as Audited | null | undefined;
    if (audited === null || audited === undefined) return payload;
    try {
      await endAudit(db, audited.id, {
        status: reply.statusCode,
        ...(audited.reason !== undefined && { reason: audited.reason }),
        ...(audited.resourceId !== undefined && { resourceId: audited.resourceId }),
        ...(request.auditDetail !== null && { detail: request.auditDetail }),
      });
    } catch (error) {
      // What was done stands, and that it was begun is written.
      request.log.error(
        { error: loggableError(error), audit: audited.id },
        'the outcome could not be written to the audit log',
      );
    }
    return payload;
  });
}
