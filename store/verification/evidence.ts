import { sql } from 'kysely';
import type { PermissionAction } from '../../domain/iam/permissions.js';
import type { Probe } from '../../domain/verification/report.js';
import type { DbOrTransaction } from '../database.js';

/**
 * Records whether AWS granted or denied an action in real use. No harmless probe can find that out for these
 * permissions.
 * @returns whether the result differs from the last one
 */
export async function recordEvidence(
  db: DbOrTransaction,
  providerId: string,
  action: PermissionAction,
  resource: string,
  error?: { code: string; message: string },
): Promise<boolean> {
  const granted = error === undefined;
  const { rows } = await sql<{ granted: boolean }>`
    with known as (
      select * from permission_evidence
      where provider_id = ${providerId} and action = ${action} and resource = ${resource}
    ), written as (
      insert into permission_evidence (provider_id, action, resource, granted, error_code, error_message, time)
      select ${providerId}, ${action}, ${resource}, ${granted}, ${error?.code ?? null}, ${error?.message ?? null}, now()
      -- A row that says the same since a moment ago is not worth a write.
      where not exists (select 1 from known where granted = ${granted} and error_code is not distinct from
        ${error?.code ?? null}::text and time > now() - interval '1 minute')
      on conflict (provider_id, action, resource) do update set granted = excluded.granted,
        error_code = excluded.error_code, error_message = excluded.error_message, time = excluded.time
    )
    select granted from known`.execute(db);
  return rows[0]?.granted !== granted;
}

/**
 * The recorded evidence of a provider, in the form of probes. For the resource `*` the latest evidence of any
 * resource counts.
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

/**
 * Deletes the evidence of a provider. Call it when its credential changes: the evidence says nothing about a new one.
 */
export async function deleteEvidence(db: DbOrTransaction, providerId: string): Promise<void> {
  await db.deleteFrom('permission_evidence').where('provider_id', '=', providerId).execute();
}
