import type { DbOrTransaction } from '../database.js';
import type { GrantRow } from '../grants.js';

/**
 * Loads a grant whose id is known to exist, including one that was removed. Use `findGrant` for grants that are still
 * there.
 */
export async function loadGrant(db: DbOrTransaction, id: string): Promise<GrantRow> {
  return db.selectFrom('access_grants').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}
