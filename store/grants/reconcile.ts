import { appendAudit } from '../audit.js';
import { type Db, type DbOrTransaction, sanitizeJson } from '../database.js';
import { RECONCILE_CALLER } from '../executions/recover.js';
import type { GrantRow } from './load.js';

/** The grants of a bucket that its policy may contain, or is to contain. */
export async function listGrantsOfBucket(db: DbOrTransaction, bucket: string): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where('state', 'not in', ['removed', 'expired'])
    .orderBy('id')
    .execute();
}

/**
 * Holds a grant that was requested before a restore, so that polony does not give access which somebody may have
 * removed since. A repair of the grant asks for it again.
 */
export async function holdGrant(db: Db, { id, bucket, principal }: GrantRow): Promise<void> {
  const problem = {
    kind: 'HELD_AFTER_RESTORE',
    message:
      'The database was restored, and the grant was still waiting in it. polony did not add it to the policy, because ' +
      'somebody may have removed it since',
    remedy: 'Repair the grant to give the access, or remove it',
  };
  await db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable('access_grants')
      .set({ state: 'failed', problem: sanitizeJson(problem), audit_id: null, time_updated: new Date() })
      .where('id', '=', id)
      .where('state', '=', 'pending')
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return;
    await appendAudit(transaction, {
      caller: RECONCILE_CALLER,
      action: 'bucketAccess.hold',
      requestId: `reconcile/${id}`,
      resourceType: 'access_grants',
      resourceId: id,
      detail: { bucket, principal },
    });
  });
}
