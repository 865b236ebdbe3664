import { type ExpressionBuilder, sql } from 'kysely';
import type { Blocked } from '../../domain/executions/execution.js';
import type { GrantState } from '../../domain/grants/grant.js';
import { type AuditEntry, beginAudit } from '../audit.js';
import { type Db, type DbOrTransaction, sanitizeJson } from '../database.js';
import type { Database } from '../schema.js';
import type { GrantRow } from './load.js';

/** How to reach a bucket. */
export interface GrantStorage {
  id: string;
  name: string;
  providerId: string;
  region: string;
}

/** The storage connection of a grant, also where it was deleted. */
export async function loadGrantStorage(db: DbOrTransaction, storageConnectionId: string): Promise<GrantStorage> {
  const row = await db
    .selectFrom('storage_connections')
    .select(['id', 'provider_id', 'region', 'name'])
    .where('id', '=', storageConnectionId)
    .executeTakeFirstOrThrow();
  return { id: row.id, name: row.name, providerId: row.provider_id, region: row.region };
}

/**
 * A condition on a grant: nobody has requested another change since the row was read. Two requests can ask for the same
 * state, such as two repairs, so the state alone does not tell.
 */
function isStillRequested({ id, state, request_id: requestId, time_updated: time }: GrantRow) {
  return (where: ExpressionBuilder<Database, 'access_grants'>) =>
    where.and([
      where('id', '=', id),
      where('state', '=', state),
      where('request_id', '=', requestId),
      // PostgreSQL stores microseconds, and a Date has milliseconds.
      where('time_updated', '>=', new Date(time.getTime() - 1)),
      where('time_updated', '<=', new Date(time.getTime() + 1)),
    ]);
}

/**
 * Records that the policy of a bucket is about to be written for a grant, before it is written: no change may be
 * missing in the audit log.
 * @returns the id of the audit entry; undefined where another change was requested meanwhile, so that the policy must
 *   not be written for this one.
 */
export async function beginPolicyWrite(db: Db, row: GrantRow, entry: AuditEntry): Promise<string | undefined> {
  return db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable('access_grants')
      .set({ time_sent: sql<Date>`coalesce(time_sent, now())` })
      .where(isStillRequested(row))
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return undefined;
    const auditId = await beginAudit(transaction, entry);
    await transaction.updateTable('access_grants').set({ audit_id: auditId }).where('id', '=', row.id).execute();
    return auditId;
  });
}

/** Records that no write of a policy is under way for a grant any more. */
export async function endPolicyWrite(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('access_grants').set({ audit_id: null }).where('id', '=', id).execute();
}

/** Records that no policy has the grant: AWS rejected the first write, or polony did not send it. */
export async function unmarkGrantSent(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('access_grants').set({ time_sent: null, audit_id: null }).where('id', '=', id).execute();
}

/**
 * Records how a change ended, or why it has not. Nothing changes where another change was requested meanwhile.
 * @param row as it was when the change began
 * @param isInPolicy false where no policy has statements of the grant any more
 */
export async function recordGrantOutcome(
  db: DbOrTransaction,
  row: GrantRow,
  to: GrantState,
  {
    problem = null,
    written = false,
    isInPolicy = true,
  }: { problem?: Blocked | null; written?: boolean; isInPolicy?: boolean } = {},
): Promise<void> {
  const now = new Date();
  await db
    .updateTable('access_grants')
    .set({
      state: to,
      problem: problem === null ? null : sanitizeJson(problem),
      time_tried: now,
      ...(row.state !== to && { time_updated: now, overwrite: false, audit_id: null }),
      ...(written && { time_written: now }),
      ...(!isInPolicy && { time_sent: null }),
    })
    .where(isStillRequested(row))
    .execute();
}
