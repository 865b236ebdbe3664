import type { Selectable } from 'kysely';
import { type Db, type DbOrTransaction, newId } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { ComputeConnectionsTable } from '../schema.js';

export type ComputeConnectionRow = Selectable<ComputeConnectionsTable>;

export async function findComputeConnection(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<ComputeConnectionRow | undefined> {
  let query = db.selectFrom('compute_connections').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  return query.executeTakeFirst();
}

export async function listComputeConnections(
  db: Db,
  limit: number,
  after?: string,
  ids: Visible = 'all',
): Promise<ComputeConnectionRow[]> {
  let query = db.selectFrom('compute_connections').selectAll().where('time_deleted', 'is', null);
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

/** The execution roles that compute connections of a provider use. */
export async function listExecutionRoles(
  db: DbOrTransaction,
  providerId: string,
): Promise<{ id: string; name: string; execution_role_arn: string }[]> {
  return db
    .selectFrom('compute_connections')
    .select(['id', 'name', 'execution_role_arn'])
    .where('provider_id', '=', providerId)
    .where('time_deleted', 'is', null)
    .execute();
}

export interface ComputeConnectionFields {
  name: string;
  providerId: string;
  executionRoleArn: string;
  region: string;
}

export async function insertComputeConnection(
  db: DbOrTransaction,
  fields: ComputeConnectionFields,
): Promise<ComputeConnectionRow> {
  return db
    .insertInto('compute_connections')
    .values({
      id: newId(),
      name: fields.name,
      provider_id: fields.providerId,
      execution_role_arn: fields.executionRoleArn,
      region: fields.region,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function updateComputeConnection(
  db: DbOrTransaction,
  id: string,
  fields: ComputeConnectionFields,
): Promise<ComputeConnectionRow> {
  return db
    .updateTable('compute_connections')
    .set({
      name: fields.name,
      provider_id: fields.providerId,
      execution_role_arn: fields.executionRoleArn,
      region: fields.region,
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}
