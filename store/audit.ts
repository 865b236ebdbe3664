import { type Selectable, sql } from 'kysely';
import { type DbOrTransaction, isId, newId, sanitizeText, sanitizeJson } from './database.js';
import type { Slice } from './paging.js';
import type { AuditLogTable } from './schema.js';

/** Who does something. */
export interface AuditCaller {
  /** `root` for the key of the installation, `system` for polony itself. */
  kind: 'root' | 'key' | 'person' | 'system';
  id: string;
  name: string;
}

/** What somebody is about to do. */
export interface AuditEntry {
  caller: AuditCaller;
  /** The operation's id in the OpenAPI document, or what an activity calls it. */
  action: string;
  requestId: string;
  resourceType?: string;
  resourceId?: string;
  /** The client's address. */
  address?: string;
  /** More about it; never a secret. */
  detail?: object;
}

/** What became of it. */
export interface AuditOutcome {
  /** HTTP status of the answer. */
  status?: number;
  /** Of an error, for programs. */
  reason?: string;
  /** Of what was made. */
  resourceId?: string;
  detail?: object;
}

/** Most characters of what comes from outside and is no detail. */
const short = (text: string): string => sanitizeText(text).slice(0, 500);
/** Ids of ours are the same in capitals: whoever looks for a resource finds all that was done to it, however its id was written. */
const resource = (id: string): string => (isId(id) ? id.toLowerCase() : short(id));

/**
 * Writes that something is about to be done, before it is: what has no outcome later was cut off.
 * @returns the entry's id, for {@link endAudit}.
 */
export async function beginAudit(db: DbOrTransaction, entry: AuditEntry): Promise<string> {
  const id = newId();
  await db
    .insertInto('audit_log')
    .values({
      id,
      request_id: short(entry.requestId),
      caller_kind: entry.caller.kind,
      caller_id: short(entry.caller.id),
      caller_name: short(entry.caller.name),
      // Behind a proxy that is trusted it is what a header says.
      address: entry.address === undefined ? null : short(entry.address),
      action: entry.action,
      resource_type: entry.resourceType ?? null,
      resource_id: entry.resourceId === undefined ? null : resource(entry.resourceId),
      detail: entry.detail === undefined ? null : sanitizeJson(entry.detail),
    })
    .execute();
  return id;
}

/** Writes what became of an entry. Nothing changes where that is written already. */
export async function endAudit(db: DbOrTransaction, id: string, outcome: AuditOutcome): Promise<void> {
  await db
    .insertInto('audit_outcomes')
    .values({
      audit_id: id,
      status: outcome.status ?? null,
      reason: outcome.reason ?? null,
      resource_id: outcome.resourceId === undefined ? null : resource(outcome.resourceId),
      detail: outcome.detail === undefined ? null : sanitizeJson(outcome.detail),
    })
    .onConflict((conflict) => conflict.column('audit_id').doNothing())
    .execute();
}

/** Writes what has been done, with its outcome. In a transaction it is written with what it tells of, or not at all. */
export async function appendAudit(db: DbOrTransaction, entry: AuditEntry, outcome: AuditOutcome = {}): Promise<string> {
  const id = await beginAudit(db, entry);
  await endAudit(db, id, outcome);
  return id;
}

/** An entry with what became of it, as far as that is written. */
export type AuditRow = Selectable<AuditLogTable> & {
  status: number | null;
  reason: string | null;
  outcome_resource_id: string | null;
  outcome_detail: Record<string, unknown> | null;
  time_ended: Date | null;
};

/** What is looked for; all that is given must hold. */
export interface AuditFilter {
  callerId?: string;
  action?: string;
  resourceId?: string;
  requestId?: string;
  since?: Date;
  until?: Date;
}

/** Entries, newest first; before an id they come nearest first. */
export async function listAudit(db: DbOrTransaction, filter: AuditFilter, slice: Slice): Promise<AuditRow[]> {
  return auditQuery(db, filter, slice).execute();
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
    const id = resource(filter.resourceId);
    // Not with `or`, for which PostgreSQL would read the whole log.
    query = query.where(
      sql<boolean>`a.id in (select id from audit_log where resource_id = ${id} union all select audit_id from audit_outcomes where resource_id = ${id})`,
    );
  }
  if (slice.after !== undefined) query = query.where('a.id', '<', slice.after);
  if (slice.before !== undefined) query = query.where('a.id', '>', slice.before);
  return query.orderBy('a.id', slice.before === undefined ? 'desc' : 'asc');
}
