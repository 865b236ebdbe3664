import type { PermissionAction } from '../domain/iam/permissions.js';
import type { Probe, VerificationReport, VerifiedKind, VerifiedStatus } from '../domain/verification/report.js';
import type { DbOrTransaction } from './database.js';
import type { Db } from './database.js';

/** Something to verify, as its workflow names it. */
export interface ToVerify {
  kind: VerifiedKind;
  id: string;
  name: string;
}

export const TABLE_BY_KIND = {
  provider: 'providers',
  storageConnection: 'storage_connections',
  computeConnection: 'compute_connections',
  flow: 'flows',
} as const;

/** Keeps a report in place of the last one, and what it says of the resource and its provider. */
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
    provider: { id: string; accountId: string | null; sessionSeconds: number | null };
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
    if (provider.sessionSeconds !== null)
      await transaction
        .updateTable('providers')
        .set({ session_seconds: provider.sessionSeconds, account_id: provider.accountId })
        .where('id', '=', provider.id)
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

/** A provider, its connections and flows, the provider first. */
export async function listProviderParts(db: DbOrTransaction, providerId: string): Promise<ToVerify[]> {
  const providers = await db
    .selectFrom('providers')
    .select(['id', 'name'])
    .where('id', '=', providerId)
    .where('time_deleted', 'is', null)
    .execute();
  const storage = await db
    .selectFrom('storage_connections')
    .select(['id', 'name'])
    .where('provider_id', '=', providerId)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
  const compute = await db
    .selectFrom('compute_connections')
    .select(['id', 'name'])
    .where('provider_id', '=', providerId)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
  const flows =
    compute.length === 0
      ? []
      : await db
          .selectFrom('flows')
          .select(['id', 'name'])
          .where(
            'compute_connection_id',
            'in',
            compute.map((row) => row.id),
          )
          .where('time_deleted', 'is', null)
          .orderBy('id')
          .execute();
  const of = (kind: VerifiedKind, rows: { id: string; name: string }[]): ToVerify[] =>
    rows.map((row) => ({ kind, ...row }));
  return [
    ...of('provider', providers),
    ...of('storageConnection', storage),
    ...of('computeConnection', compute),
    ...of('flow', flows),
  ];
}

/** What was never verified, or not since it was changed; for the sweep. */
export async function listUnverified(db: DbOrTransaction, changedBefore: Date): Promise<ToVerify[]> {
  const found: ToVerify[] = [];
  for (const [kind, table] of Object.entries(TABLE_BY_KIND) as [VerifiedKind, (typeof TABLE_BY_KIND)[VerifiedKind]][]) {
    const rows = await db
      .selectFrom(table)
      .select(['id', 'name'])
      .where('time_deleted', 'is', null)
      .where('time_updated', '<', changedBefore)
      .where((where) =>
        where.or([where('time_verified', 'is', null), where('time_verified', '<', where.ref('time_updated'))]),
      )
      .orderBy('id')
      .limit(200)
      .execute();
    found.push(...rows.map((row) => ({ kind, ...row })));
  }
  return found;
}

const PAGE = 500;

/** Everything that is not deleted, page by page. */
export async function* resourcesToVerify(db: DbOrTransaction): AsyncGenerator<ToVerify> {
  for (const [kind, table] of Object.entries(TABLE_BY_KIND) as [VerifiedKind, (typeof TABLE_BY_KIND)[VerifiedKind]][]) {
    for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
      const rows = await db
        .selectFrom(table)
        .select(['id', 'name'])
        .where('time_deleted', 'is', null)
        .where('id', '>', after)
        .orderBy('id')
        .limit(PAGE)
        .execute();
      for (const row of rows) yield { kind, ...row };
      if (rows.length < PAGE) break;
      after = rows.at(-1)!.id;
    }
  }
}

/**
 * Notes what use has shown of a permission that no probe can tell.
 * @returns whether that is news.
 */
export async function recordEvidence(
  db: DbOrTransaction,
  providerId: string,
  action: PermissionAction,
  resource: string,
  error?: { code: string; message: string },
): Promise<boolean> {
  const granted = error === undefined;
  const known = await db
    .selectFrom('permission_evidence')
    .select('granted')
    .where('provider_id', '=', providerId)
    .where('action', '=', action)
    .where('resource', '=', resource)
    .executeTakeFirst();
  const values = { granted, error_code: error?.code ?? null, error_message: error?.message ?? null, time: new Date() };
  await db
    .insertInto('permission_evidence')
    .values({ provider_id: providerId, action, resource, ...values })
    .onConflict((conflict) => conflict.columns(['provider_id', 'action', 'resource']).doUpdateSet(values))
    .execute();
  return known?.granted !== granted;
}

/**
 * What use has shown of a provider's permissions, as probes. For any resource (`*`) the newest says it. What was seen before
 * the credential was changed says nothing of the new one.
 */
export async function loadEvidence(
  db: DbOrTransaction,
  providerId: string,
): Promise<(action: PermissionAction, resource: string) => Probe | undefined> {
  const rows = await db
    .selectFrom('permission_evidence')
    .selectAll()
    .where('provider_id', '=', providerId)
    .orderBy('time', 'desc')
    .execute();
  return (action, resource) => {
    const row = rows.find((each) => each.action === action && (resource === '*' || each.resource === resource));
    if (row === undefined) return undefined;
    return {
      action,
      resource: row.resource,
      result: row.granted ? 'granted' : 'denied',
      detail: `Seen in use at ${row.time.toISOString()}`,
      ...(row.error_code !== null && { error: { code: row.error_code, message: row.error_message ?? '' } }),
    };
  };
}

/** Forgets what use has shown, when a provider's credential is another one. */
export async function deleteEvidence(db: DbOrTransaction, providerId: string): Promise<void> {
  await db.deleteFrom('permission_evidence').where('provider_id', '=', providerId).execute();
}
