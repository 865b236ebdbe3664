import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import type { DbOrTransaction } from '../database.js';

/** The four resources that a person sets up. Deleted ones stay in their tables, for the history of executions. */
export type ResourceTable = 'providers' | 'storage_connections' | 'compute_connections' | 'flows';

/** Something that uses a resource. You cannot delete the resource while it does. */
export interface ResourceUse {
  kind: 'storage connection' | 'compute connection' | 'flow' | 'execution' | 'run' | 'access grant';
  id: string;
  name: string;
}

const USES_SHOWN = 20;

/** What uses a resource now: resources that are not deleted, open executions, and runs that are uploading. */
export async function listUses(db: DbOrTransaction, table: ResourceTable, id: string): Promise<ResourceUse[]> {
  const uses: ResourceUse[] = [];
  const add = (kind: ResourceUse['kind'], rows: { id: string; name: string }[]): void => {
    for (const row of rows) uses.push({ kind, ...row });
  };
  if (table === 'providers') {
    add(
      'storage connection',
      await db
        .selectFrom('storage_connections')
        .select(['id', 'name'])
        .where('provider_id', '=', id)
        .where('time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
    add(
      'compute connection',
      await db
        .selectFrom('compute_connections')
        .select(['id', 'name'])
        .where('provider_id', '=', id)
        .where('time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
    return uses;
  }
  if (table === 'storage_connections') {
    add(
      'flow',
      await db
        .selectFrom('flow_storage_connections as a')
        .innerJoin('flows as f', 'f.id', 'a.flow_id')
        .select(['f.id', 'f.name'])
        .where('a.storage_connection_id', '=', id)
        .where('f.time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
    add(
      'run',
      await db
        .selectFrom('runs as r')
        .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
        .select(['r.id', 'r.run_folder as name'])
        .where('r.storage_connection_id', '=', id)
        .where('r.upload_state', '=', 'uploading')
        // Who turned run upload off has given up what was found there. Registered runs are followed all the same.
        .where((where) => where.or([where('s.use_for_run_upload', '=', true), where('r.discovered', '=', false)]))
        .limit(USES_SHOWN)
        .execute(),
    );
    // Without the storage connection nobody could remove them from the bucket's policy.
    add(
      'access grant',
      await db
        .selectFrom('access_grants')
        .select(['id', 'principal as name'])
        .where('storage_connection_id', '=', id)
        .where('state', 'not in', ['expired', 'removed'])
        .limit(USES_SHOWN)
        .execute(),
    );
  }
  if (table === 'compute_connections')
    add(
      'flow',
      await db
        .selectFrom('flows')
        .select(['id', 'name'])
        .where('compute_connection_id', '=', id)
        .where('time_deleted', 'is', null)
        .limit(USES_SHOWN)
        .execute(),
    );
  const column =
    table === 'storage_connections'
      ? 'storage_connection_id'
      : table === 'compute_connections'
        ? 'compute_connection_id'
        : 'flow_id';
  add(
    'execution',
    await db
      .selectFrom('executions')
      .select(['id', 'name'])
      .where(column, '=', id)
      .where('status', 'not in', FINAL_STATUSES)
      .limit(USES_SHOWN)
      .execute(),
  );
  return uses;
}

/** Deletes a resource. Its row stays, for the history of executions. */
export async function markDeleted(db: DbOrTransaction, table: ResourceTable, id: string): Promise<void> {
  await db
    .updateTable(table)
    .set({ time_deleted: new Date(), time_updated: new Date() })
    .where('id', '=', id)
    .execute();
  // Keep no secret longer than needed.
  if (table === 'providers')
    await db
      .updateTable('providers')
      .set({ secret_sealed: '' })
      .where('id', '=', id)
      .where('credential_type', '=', 'accessKeys')
      .execute();
}
