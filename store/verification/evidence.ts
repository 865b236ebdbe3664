import type { PermissionAction } from '../../domain/iam/permissions.js';
import type { Probe } from '../../domain/verification/report.js';
import type { DbOrTransaction } from '../database.js';

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
