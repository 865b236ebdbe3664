import { type Db, type DbTransaction, isId } from '../store/database.js';
import { listUses, markDeleted, type ResourceTable } from '../store/connections/uses.js';
import { inTransaction } from '../store/transaction.js';
import { inUseError } from './conflicts.js';
import { notFoundError } from './errors.js';
import type { Caller } from './plugins/auth.js';

/**
 * Deletes a resource that nothing uses. Its row stays in the table, because executions that ended refer to it.
 * @param kind for people, such as `storage connection`.
 * @param findForUpdate locks the row, so that a request that is about to refer to the resource waits and then does not
 * find it.
 * @throws ApiError 404, 409 IN_USE
 */
export async function softDelete(
  db: Db,
  caller: Caller,
  kind: string,
  table: ResourceTable,
  id: string,
  findForUpdate: (transaction: DbTransaction) => Promise<unknown>,
): Promise<void> {
  if (!isId(id)) throw notFoundError(kind, id);
  await inTransaction(db, async (transaction) => {
    if ((await findForUpdate(transaction)) === undefined) throw notFoundError(kind, id);
    const uses = await listUses(transaction, table, id);
    if (uses.length > 0)
      throw inUseError(caller, {
        kind,
        uses,
        consequence: 'it cannot be deleted',
        remedy: 'Delete or finish what uses it first.',
      });
    await markDeleted(transaction, table, id);
  });
}
