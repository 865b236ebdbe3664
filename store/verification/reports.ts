import type { VerificationReport, VerifiedKind, VerifiedStatus } from '../../domain/verification/report.js';
import type { Db, DbOrTransaction } from '../database.js';

/** The table of each kind of resource. */
export const TABLE_BY_KIND = {
  provider: 'providers',
  storageConnection: 'storage_connections',
  computeConnection: 'compute_connections',
  flow: 'flows',
} as const;

/** Replaces the report of a resource, and updates the resource and its provider with what the report found. */
export async function saveVerification(
  db: Db,
  {
    kind,
    id,
    report,
    started,
    provider,
  }: {
    kind: VerifiedKind;
    id: string;
    report: VerificationReport;
    started: Date;
    provider: {
      id: string;
      /** The role that the verification saw: nothing is known of another one. Absent for whatever role it has. */
      role?: { arn: string | null; externalId: string | null };
      accountId: string | null;
      sessionSeconds: number | null;
      /** Whether polony must test the role before each use; absent where the verification was not about that. */
      isRoleOpen?: boolean;
    };
  },
): Promise<void> {
  const values = {
    kind,
    resource_id: id,
    status: report.status,
    report: JSON.stringify(report),
    time_started: started,
    time_completed: new Date(),
  };
  await db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto('verifications')
      .values(values)
      .onConflict((conflict) => conflict.column('resource_id').doUpdateSet(values))
      .execute();
    await transaction
      .updateTable(TABLE_BY_KIND[kind])
      .set({ status: report.status, status_description: report.description, time_verified: values.time_completed })
      .where('id', '=', id)
      .execute();
    const { role, accountId, sessionSeconds, isRoleOpen } = provider;
    if (isRoleOpen === undefined && sessionSeconds === null) return;
    await transaction
      .updateTable('providers')
      .set({
        ...(isRoleOpen !== undefined && { is_role_open: isRoleOpen }),
        ...(sessionSeconds !== null && { session_seconds: sessionSeconds, account_id: accountId }),
      })
      .where('id', '=', provider.id)
      .$if(role !== undefined, (query) =>
        query
          .where('role_arn', 'is not distinct from', role!.arn)
          .where('external_id', 'is not distinct from', role!.externalId),
      )
      .execute();
  });
}

/** The last report of a resource. */
export interface StoredVerification {
  kind: VerifiedKind;
  id: string;
  status: VerifiedStatus;
  report: VerificationReport;
  timeStarted: Date;
  timeCompleted: Date;
}

/** The last reports of these resources. Resources that were never verified are missing. */
export async function loadVerifications(db: DbOrTransaction, ids: readonly string[]): Promise<StoredVerification[]> {
  if (ids.length === 0) return [];
  const rows = await db
    .selectFrom('verifications')
    .selectAll()
    .where('resource_id', 'in', [...ids])
    .execute();
  return rows.map((row) => ({
    kind: row.kind,
    id: row.resource_id,
    status: row.status,
    report: row.report,
    timeStarted: row.time_started,
    timeCompleted: row.time_completed,
  }));
}
