import type { GrantChange } from '../../domain/grants/grant.js';
import { type AuditEntry, beginAudit } from '../audit.js';
import type { Db, DbOrTransaction } from '../database.js';
import { markGrantSent } from '../grants.js';

/** Which bucket a grant is for; undefined where there is no such grant. Removed grants count. */
export async function findBucketOfGrant(db: DbOrTransaction, grantId: string): Promise<string | undefined> {
  const row = await db.selectFrom('access_grants').select('bucket').where('id', '=', grantId).executeTakeFirst();
  return row?.bucket;
}

/** The state of a grant, removed ones too. @throws where there is none. */
export async function loadGrantState(db: DbOrTransaction, grantId: string): Promise<GrantChange> {
  return db
    .selectFrom('access_grants')
    .select(['state', 'problem'])
    .where('id', '=', grantId)
    .executeTakeFirstOrThrow();
}

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
    await markGrantSent(transaction, grantId, auditId);
    return auditId;
  });
}
