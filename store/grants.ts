import { type Selectable, sql } from 'kysely';
import type { Grant } from '../domain/grants/bucketPolicy.js';
import type { Blocked } from '../domain/executions/execution.js';
import type { GrantAgenda, GrantState } from '../domain/grants/grant.js';
import type { AuditCaller } from './audit.js';
import { type Db, type DbOrTransaction, newId, sanitizeJson } from './database.js';
import type { AccessGrantsTable } from './schema.js';

export type GrantRow = Selectable<AccessGrantsTable>;

/** The members of a grant that its policy statements depend on. */
export function toGrant(row: GrantRow): Grant {
  return {
    id: row.id,
    bucket: row.bucket,
    partition: row.partition,
    principal: row.principal,
    folder: row.folder,
    expires: row.time_expires,
  };
}

export interface GrantFields {
  storageConnectionId: string;
  bucket: string;
  partition: string;
  principal: string;
  prefix: string | null;
  folder: string | null;
  description: string;
  expires: Date | null;
}
/** Who requests a change, for the audit log. */
export interface GrantRequester {
  by: AuditCaller;
  requestId: string;
}
const askedColumns = ({ by, requestId }: GrantRequester) => ({
  changed_by: sanitizeJson({ kind: by.kind, id: by.id, name: by.name }),
  request_id: requestId,
});

/** Inserts a grant that polony is to add to the policy. */
export async function insertGrant(db: DbOrTransaction, fields: GrantFields, asked: GrantRequester): Promise<GrantRow> {
  return db
    .insertInto('access_grants')
    .values({
      id: newId(),
      storage_connection_id: fields.storageConnectionId,
      bucket: fields.bucket,
      partition: fields.partition,
      principal: fields.principal,
      prefix: fields.prefix,
      folder: fields.folder,
      description: fields.description,
      state: 'pending',
      created_by: asked.by.name,
      ...askedColumns(asked),
      time_expires: fields.expires,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A grant that is not removed. @param lock locks the row, so that two changes wait for each other */
export async function findGrant(db: DbOrTransaction, id: string, lock = false): Promise<GrantRow | undefined> {
  const query = db.selectFrom('access_grants').selectAll().where('id', '=', id).where('state', '!=', 'removed');
  return (lock ? query.forUpdate() : query).executeTakeFirst();
}

/** The grant of the same folder to the same principal, under any storage connection of the bucket. Locks its row. */
export async function findSameGrant(
  db: DbOrTransaction,
  bucket: string,
  principal: string,
  folder: string | null,
): Promise<GrantRow | undefined> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('principal', '=', principal)
    .where('folder', 'is not distinct from', folder)
    .where('state', 'not in', ['expired', 'removed'])
    .forUpdate()
    .executeTakeFirst();
}

/** A page of a storage connection's grants, oldest first. */
export async function listGrants(
  db: Db,
  storageConnectionId: string,
  limit: number,
  after?: string,
): Promise<GrantRow[]> {
  let query = db
    .selectFrom('access_grants')
    .selectAll()
    .where('storage_connection_id', '=', storageConnectionId)
    .where('state', '!=', 'removed');
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** All grants that the policy of a bucket may contain. They are few, because policies are small. */
export async function listGrantsOfBucket(db: DbOrTransaction, bucket: string): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('state', 'not in', ['expired', 'removed'])
    .orderBy('id')
    .execute();
}

/** Grants of a bucket that polony added or removed after a time. */
export async function listGrantsChangedSince(db: DbOrTransaction, bucket: string, since: Date): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('state', 'in', ['active', 'expired', 'removed'])
    .where('time_written', '>', since)
    .execute();
}

/** Requests to add a grant (again) or to remove it. @param overwrite also replaces statements that somebody edited */
export async function requestGrantChange(
  db: DbOrTransaction,
  id: string,
  state: 'pending' | 'removing',
  asked: GrantRequester,
  overwrite = false,
): Promise<void> {
  await db
    .updateTable('access_grants')
    .set({ state, overwrite, problem: null, time_tried: null, ...askedColumns(asked), time_updated: new Date() })
    .where('id', '=', id)
    .execute();
}

/** Records that polony is about to write the policy for a grant. */
export async function markGrantSent(db: DbOrTransaction, id: string, auditId: string): Promise<void> {
  await db
    .updateTable('access_grants')
    .set({ time_sent: sql<Date>`coalesce(time_sent, now())`, audit_id: auditId })
    .where('id', '=', id)
    .execute();
}

/** Undoes {@link markGrantSent}: AWS rejected the first write, or polony did not send it. */
export async function unmarkGrantSent(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('access_grants').set({ time_sent: null, audit_id: null }).where('id', '=', id).execute();
}

/**
 * Records how a change ended, or why it has not. Nothing changes where another change was requested meanwhile.
 * @param from the state that the change started from
 */
export async function recordGrantOutcome(
  db: DbOrTransaction,
  id: string,
  from: GrantState,
  to: GrantState,
  { problem = null, written = false }: { problem?: Blocked | null; written?: boolean } = {},
): Promise<boolean> {
  const now = new Date();
  const { numUpdatedRows } = await db
    .updateTable('access_grants')
    .set({
      state: to,
      problem: problem === null ? null : sanitizeJson(problem),
      time_tried: now,
      ...(from !== to && { time_updated: now, overwrite: false, audit_id: null }),
      ...(written && { time_written: now }),
    })
    .where('id', '=', id)
    .where('state', '=', from)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Grants of a bucket that polony must add, remove or expire now. */
export async function listDueGrants(db: DbOrTransaction, bucket: string): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where((where) =>
      where.or([
        where('state', 'in', ['pending', 'removing']),
        where.and([where('state', '=', 'active'), where('time_expires', '<=', new Date())]),
      ]),
    )
    .orderBy('id')
    .execute();
}

/** What is left to do in a bucket. */
export async function loadGrantAgenda(db: DbOrTransaction, bucket: string): Promise<GrantAgenda> {
  const rows = await db
    .selectFrom('access_grants')
    .select(['state', 'problem', 'time_expires'])
    .where('bucket', '=', bucket)
    .where('state', 'in', ['pending', 'removing', 'active'])
    .execute();
  const now = Date.now();
  const expiries = rows
    .filter(({ state }) => state === 'active')
    .flatMap(({ time_expires: time }) => (time === null ? [] : [time.getTime()]));
  const open = rows.filter(
    ({ state, time_expires: time }) => state !== 'active' || (time !== null && time.getTime() <= now),
  );
  const later = expiries.filter((time) => time > now);
  return {
    due: later.length === 0 ? null : Math.min(...later),
    open: open.length,
    problem: open.find(({ problem }) => problem !== null)?.problem ?? null,
  };
}

/** How long the workflow has for a change, tried or not, before the sweep starts it again. */
const LATE_MS = { untried: 30_000, tried: 20 * 60_000 };

/** Buckets whose changes nobody makes: the process that requested them died, or somebody terminated the workflow. */
export async function listUnattendedBuckets(
  db: DbOrTransaction,
): Promise<{ bucket: string; storage_connection: string }[]> {
  const now = Date.now();
  const [untried, tried] = [new Date(now - LATE_MS.untried), new Date(now - LATE_MS.tried)];
  const rows = await db
    .selectFrom('access_grants as g')
    .innerJoin('storage_connections as s', 's.id', 'g.storage_connection_id')
    .select(['g.bucket', 's.name as storage_connection'])
    .where((where) =>
      where.or([
        where.and([
          where('g.state', 'in', ['pending', 'removing']),
          where.or([
            where.and([where('g.time_tried', 'is', null), where('g.time_updated', '<', untried)]),
            where('g.time_tried', '<', tried),
          ]),
        ]),
        where.and([
          where('g.state', '=', 'active'),
          where('g.time_expires', '<', untried),
          where.or([
            where('g.time_tried', 'is', null),
            where('g.time_tried', '<', tried),
            where('g.time_tried', '<', where.ref('g.time_expires')),
          ]),
        ]),
      ]),
    )
    .orderBy('g.id')
    .execute();
  return [...new Map(rows.map((row) => [row.bucket, row])).values()];
}
