import { appendAudit } from '../audit.js';
import type { Db, DbOrTransaction } from '../database.js';
import { RECONCILE_CALLER } from '../executions/recover.js';

/** What a restored database brings back that nobody outside can correct. */
export async function countRestored(
  db: DbOrTransaction,
): Promise<{ keys: number; deliveries: number; webhooks: number }> {
  const [keys, deliveries, webhooks] = await Promise.all([
    db
      .selectFrom('api_keys')
      .select((eb) => eb.fn.countAll<string>().as('count'))
      .where('time_revoked', 'is', null)
      .where('time_expires', '>', new Date())
      .executeTakeFirstOrThrow(),
    db
      .selectFrom('webhook_deliveries')
      .select((eb) => eb.fn.countAll<string>().as('count'))
      .where('state', 'in', ['pending', 'retrying'])
      .executeTakeFirstOrThrow(),
    db
      .selectFrom('webhooks')
      .select((eb) => eb.fn.countAll<string>().as('count'))
      .where('enabled', '=', true)
      .executeTakeFirstOrThrow(),
  ]);
  return { keys: Number(keys.count), deliveries: Number(deliveries.count), webhooks: Number(webhooks.count) };
}

/** Records in the audit log that the installation was reconciled, with what changed. */
export async function recordReconciliation(db: Db, detail: object): Promise<void> {
  await appendAudit(db, { caller: RECONCILE_CALLER, action: 'installation.reconcile', requestId: 'reconcile', detail });
}
