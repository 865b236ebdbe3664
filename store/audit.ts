import { type Selectable, sql } from 'kysely';
import { type DbOrTransaction, isId, newId, sanitizeText, sanitizeJson } from './database.js';
import type { Slice } from './paging.js';
import type { AuditLogTable } from './schema.js';

/** Who performs an action. */
export interface AuditCaller {
  /**
   * `root` for the key of the installation, `system` for polony itself, `temporal` for whoever sent a workflow a message
   * past the API, and `anonymous` for a request without a valid key.
   */
  kind: 'root' | 'key' | 'person' | 'system' | 'temporal' | 'anonymous';
  id: string;
  name: string;
}

/** Whoever sent a workflow a message past the API, or started it. Temporal does not tell who it was. */
export const TEMPORAL_CALLER: AuditCaller = {
  kind: 'temporal',
  id: 'temporal',
  name: 'via Temporal, not authenticated',
};

/** An action that is about to begin. */
export interface AuditEntry {
  caller: AuditCaller;
  /** The operation id of the OpenAPI document, or the name that an activity gives the action. */
  action: string;
  requestId: string;
  resourceType?: string;
  resourceId?: string;
  /** The client's address. */
  address?: string;
  /** More about the action. Never a secret. */
  detail?: object;
}

/** How an action ended. */
export interface AuditOutcome {
  /** HTTP status of the response. */
  status?: number;
  /** Reason of an error, for programs. */
  reason?: string;
  /** Id of the resource that the action created. */
  resourceId?: string;
  detail?: object;
}

/** Texts from outside, other than `detail`, have at most 500 characters. */
const shorten = (text: string): string => sanitizeText(text).slice(0, 500);
/** An id in lower case. Requests may spell it in capitals, and a search by resource finds those, too. */
const normalizeResourceId = (id: string): string => (isId(id) ? id.toLowerCase() : shorten(id));

/**
 * Records an action before it begins. An entry without outcome was cut off.
 * @returns the id of the entry, for {@link endAudit}
 */
export async function beginAudit(db: DbOrTransaction, entry: AuditEntry): Promise<string> {
  const id = newId();
  await db
    .insertInto('audit_log')
    .values({
      id,
      request_id: shorten(entry.requestId),
      caller_kind: entry.caller.kind,
      caller_id: shorten(entry.caller.id),
      caller_name: shorten(entry.caller.name),
      // A header of a trusted proxy may set it, so it is text from outside.
      address: entry.address === undefined ? null : shorten(entry.address),
      action: entry.action,
      resource_type: entry.resourceType ?? null,
      resource_id: entry.resourceId === undefined ? null : normalizeResourceId(entry.resourceId),
      detail: entry.detail === undefined ? null : sanitizeJson(entry.detail),
    })
    .execute();
  return id;
}

/** Records how an action ended. Nothing changes where the outcome is recorded already. */
export async function endAudit(db: DbOrTransaction, id: string, outcome: AuditOutcome): Promise<void> {
  await db
    .insertInto('audit_outcomes')
    .values({
      audit_id: id,
      status: outcome.status ?? null,
      reason: outcome.reason ?? null,
      resource_id: outcome.resourceId === undefined ? null : normalizeResourceId(outcome.resourceId),
      detail: outcome.detail === undefined ? null : sanitizeJson(outcome.detail),
    })
    .onConflict((conflict) => conflict.column('audit_id').doNothing())
    .execute();
}

/**
 * Records an action and its outcome. In a transaction, PostgreSQL commits them with the action itself or not at all.
 */
export async function appendAudit(db: DbOrTransaction, entry: AuditEntry, outcome: AuditOutcome = {}): Promise<string> {
  const id = await beginAudit(db, entry);
  await endAudit(db, id, outcome);
  return id;
}

/** Whether an entry is of a request to the API that the API did not refuse. */
export async function isEntryOfRequest(
  db: DbOrTransaction,
  { id, action, resourceId }: { id: string; action: string; resourceId: string },
): Promise<boolean> {
  if (!isId(id)) return false;
  const found = await db
    .selectFrom('audit_log')
    .leftJoin('audit_outcomes', 'audit_outcomes.audit_id', 'audit_log.id')
    .select('audit_log.id')
    .where('audit_log.id', '=', id)
    .where('action', '=', action)
    .where('audit_log.resource_id', '=', normalizeResourceId(resourceId))
    .where('caller_kind', 'not in', ['temporal', 'anonymous'])
    .where((where) => where.or([where('status', 'is', null), where('status', '<', 400)]))
    .executeTakeFirst();
  return found !== undefined;
}

/** Whether the audit log has an action of such a caller. */
export async function hasAuditEntry(
  db: DbOrTransaction,
  by: { requestId: string; action: string; resourceId: string; callerKind: AuditCaller['kind'] },
): Promise<boolean> {
  const found = await db
    .selectFrom('audit_log')
    .select('id')
    .where('request_id', '=', shorten(by.requestId))
    .where('action', '=', by.action)
    .where('resource_id', '=', normalizeResourceId(by.resourceId))
    .where('caller_kind', '=', by.callerKind)
    .limit(1)
    .executeTakeFirst();
  return found !== undefined;
}

/** An entry with its outcome, where one is recorded. */
export type AuditRow = Selectable<AuditLogTable> & {
  status: number | null;
  reason: string | null;
  outcome_resource_id: string | null;
  outcome_detail: Record<string, unknown> | null;
  time_ended: Date | null;
};

/** Entries must meet all given conditions. */
export interface AuditFilter {
  callerId?: string;
  action?: string;
  resourceId?: string;
  requestId?: string;
  since?: Date;
  until?: Date;
}

/** Entries, newest first. Before an id, the nearest come first. */
export async function listAudit(db: DbOrTransaction, filter: AuditFilter, slice: Slice): Promise<AuditRow[]> {
  return auditQuery(db, filter, slice).execute();
}

/** How many entries there are. @param most stops counting there */
export async function countAudit(db: DbOrTransaction, filter: AuditFilter, most: number): Promise<number> {
  const { count } = await db
    .selectFrom(auditQuery(db, filter, { limit: most }).as('found'))
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** The query of {@link listAudit}. */
export function auditQuery(db: DbOrTransaction, filter: AuditFilter, slice: Slice) {
  let query = db
    .selectFrom('audit_log as a')
    .leftJoin('audit_outcomes as o', 'o.audit_id', 'a.id')
    .selectAll('a')
    .select([
      'o.status',
      'o.reason',
      'o.resource_id as outcome_resource_id',
      'o.detail as outcome_detail',
      'o.time as time_ended',
    ])
    .limit(slice.limit);
  if (filter.callerId !== undefined) query = query.where('a.caller_id', '=', filter.callerId);
  if (filter.action !== undefined) query = query.where('a.action', '=', filter.action);
  if (filter.requestId !== undefined) query = query.where('a.request_id', '=', filter.requestId);
  if (filter.since !== undefined) query = query.where('a.time', '>=', filter.since);
  if (filter.until !== undefined) query = query.where('a.time', '<', filter.until);
  if (filter.resourceId !== undefined) {
    const id = normalizeResourceId(filter.resourceId);
    // With `or`, PostgreSQL would read the whole log.
    query = query.where(
      sql<boolean>`a.id in (
        select id from audit_log where resource_id = ${id}
        union all select audit_id from audit_outcomes where resource_id = ${id}
      )`,
    );
  }
  if (slice.after !== undefined) query = query.where('a.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('a.id', '>', slice.before);
  return query.orderBy('a.id', slice.before === undefined ? 'desc' : 'asc');
}
