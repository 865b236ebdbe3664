import { sql } from 'kysely';
import type { Blocked } from '../../domain/executions/execution.js';
import type { GrantState } from '../../domain/grants/grant.js';
import { type AuditEntry, beginAudit } from '../audit.js';
import { type Db, type DbOrTransaction, sanitizeJson } from '../database.js';

/** How to reach a bucket. */
export interface GrantStorage {
  name: string;
  providerId: string;
  region: string;
}

/** The storage connection of a grant, also where it was deleted. */
export async function loadGrantStorage(db: DbOrTransaction, storageConnectionId: string): Promise<GrantStorage> {
  const row = await db
    .selectFrom('storage_connections')
    .select(['provider_id', 'region', 'name'])
    .where('id', '=', storageConnectionId)
    .executeTakeFirstOrThrow();
  return { name: row.name, providerId: row.provider_id, region: row.region };
}

/**
 * Records that the policy of a bucket is about to be written for a grant, before it is written: no change may be
 * missing in the audit log.
 * @returns the id of the audit entry.
 */
export async function beginPolicyWrite(db: Db, grantId: string, entry: AuditEntry): Promise<string> {
  return db.transaction().execute(async (transaction) => {
    const auditId = await beginAudit(transaction, entry);
    await transaction
      .updateTable('access_grants')
      .set({ time_sent: sql<Date>`coalesce(time_sent, now())`, audit_id: auditId })
      .where('id', '=', grantId)
      .execute();
    return auditId;
  });
}

/** Records that no policy has the grant: AWS rejected the first write, or polony did not send it. */
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
