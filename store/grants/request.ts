import type { AuditCaller } from '../audit.js';
import { type DbOrTransaction, newId, sanitizeJson } from '../database.js';
import type { GrantRow } from './load.js';

export interface GrantFields {
  storageConnectionId: string;
  bucket: string;
  partition: string;
  principal: string;
  prefix: string | null;
  folder: string | null;
  description: string;
  expires: Date | null;
}

/** Who requests a change, for the audit log. */
export interface GrantRequester {
  by: AuditCaller;
  requestId: string;
}

const askedColumns = ({ by, requestId }: GrantRequester) => ({
  changed_by: sanitizeJson({ kind: by.kind, id: by.id, name: by.name }),
  request_id: requestId,
});

/** Inserts a grant that polony is to add to the policy. */
export async function insertGrant(db: DbOrTransaction, fields: GrantFields, asked: GrantRequester): Promise<GrantRow> {
  return db
    .insertInto('access_grants')
    .values({
      id: newId(),
      storage_connection_id: fields.storageConnectionId,
      bucket: fields.bucket,
      partition: fields.partition,
      principal: fields.principal,
      prefix: fields.prefix,
      folder: fields.folder,
      description: fields.description,
      state: 'pending',
      created_by: asked.by.name,
      ...askedColumns(asked),
      time_expires: fields.expires,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Requests to add a grant (again) or to remove it. @param overwrite also replaces statements that somebody edited */
export async function requestGrantChange(
  db: DbOrTransaction,
  id: string,
  state: 'pending' | 'removing',
  asked: GrantRequester,
  overwrite = false,
): Promise<void> {
  await db
    .updateTable('access_grants')
    .set({ state, overwrite, problem: null, time_tried: null, ...askedColumns(asked), time_updated: new Date() })
    .where('id', '=', id)
    .execute();
}
