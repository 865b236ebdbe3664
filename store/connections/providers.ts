import { type Selectable, sql } from 'kysely';
import { accountOfRole } from '../../domain/arn.js';
import type { SessionScope } from '../../domain/iam/sessionPolicies.js';
import { partitionOf } from '../../domain/regions.js';
import type { Db, DbOrTransaction, DbTransaction } from '../database.js';
import { toVisibleIds, type Visible } from '../paging.js';
import type { ProvidersTable } from '../schema.js';
import type { SealedSecret } from '../secrets.js';

export type ProviderRow = Selectable<ProvidersTable>;

/** @param lock locks the row, so that a transaction that refers to it and one that deletes it wait for each other */
export async function findProvider(
  db: DbOrTransaction,
  id: string,
  lock?: 'share' | 'update',
): Promise<ProviderRow | undefined> {
  let query = db.selectFrom('providers').selectAll().where('id', '=', id).where('time_deleted', 'is', null);
  if (lock === 'share') query = query.forShare();
  if (lock === 'update') query = query.forUpdate();
  return query.executeTakeFirst();
}

/** A page of providers that are not deleted and that the caller may see, oldest first. */
export async function listProviders(
  db: Db,
  limit: number,
  after?: string,
  ids: Visible = 'all',
): Promise<ProviderRow[]> {
  let query = db.selectFrom('providers').selectAll().where('time_deleted', 'is', null);
  if (ids !== 'all') query = query.where('id', 'in', toVisibleIds(ids));
  if (after !== undefined) query = query.where('id', '>', after);
  return query.orderBy('id').limit(limit).execute();
}

export interface ProviderFields {
  name: string;
  defaultRegion: string;
  credential:
    | { type: 'role'; roleArn: string; externalId: string }
    | { type: 'accessKeys'; accessKeyId: string; secret: SealedSecret };
}

const providerColumns = ({ name, defaultRegion, credential }: ProviderFields) => ({
  name,
  default_region: defaultRegion,
  credential_type: credential.type,
  ...(credential.type === 'role'
    ? {
        role_arn: credential.roleArn,
        external_id: credential.externalId,
        access_key_id: null,
        secret_sealed: null,
        secret_key_id: null,
        account_id: accountOfRole(credential.roleArn),
      }
    : {
        role_arn: null,
        external_id: null,
        access_key_id: credential.accessKeyId,
        secret_sealed: credential.secret.sealed,
        secret_key_id: credential.secret.keyId,
      }),
});

/** @param id a new id; the sealed secret is bound to it, so it exists before the row */
export async function insertProvider(db: DbOrTransaction, id: string, fields: ProviderFields): Promise<ProviderRow> {
  return db
    .insertInto('providers')
    .values({ id, ...providerColumns(fields) })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/**
 * Whether a provider of another AWS account has this external ID. Until the transaction ends, no other one can take it.
 * @param id the provider that gets the external ID; its own row does not count
 * @param roleArn the role whose account may have the external ID
 */
export async function isExternalIdOfOthers(
  transaction: DbTransaction,
  id: string,
  { externalId, roleArn }: { externalId: string; roleArn: string },
): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`external-id ${externalId}`}, 0))`.execute(transaction);
  const rows = await transaction
    .selectFrom('providers')
    .select('role_arn')
    .where('external_id', '=', externalId)
    .where('id', '!=', id)
    .where('credential_type', '=', 'role')
    .where('time_deleted', 'is', null)
    .execute();
  return rows.some((row) => accountOfRole(row.role_arn!) !== accountOfRole(roleArn));
}

/** @param changed whether the credential changed, so that facts about the old one no longer hold */
export async function updateProvider(
  db: DbOrTransaction,
  id: string,
  fields: ProviderFields,
  changed: boolean,
): Promise<ProviderRow> {
  return db
    .updateTable('providers')
    .set({
      ...providerColumns(fields),
      ...(changed && { session_seconds: null, is_role_open: false }),
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A provider, deleted or not, with the folders and roles that its sessions need. */
export async function loadProviderWithScope(
  db: DbOrTransaction,
  id: string,
): Promise<{ provider: ProviderRow; scope: SessionScope } | undefined> {
  const provider = await db.selectFrom('providers').selectAll().where('id', '=', id).executeTakeFirst();
  if (provider === undefined) return undefined;
  const partition = partitionOf(provider.default_region);
  if (provider.credential_type === 'role')
    return { provider, scope: { partition, folders: [], executionRoleArns: [] } };
  const [folders, roles] = await Promise.all([
    db
      .selectFrom('storage_connections')
      .select(['bucket', 'prefix'])
      .where('provider_id', '=', id)
      .where('time_deleted', 'is', null)
      .orderBy('id')
      .execute(),
    db
      .selectFrom('compute_connections')
      .select('execution_role_arn')
      .where('provider_id', '=', id)
      .where('time_deleted', 'is', null)
      .orderBy('id')
      .execute(),
  ]);
  return { provider, scope: { partition, folders, executionRoleArns: roles.map((row) => row.execution_role_arn) } };
}

/** Records that a session of a provider was requested now. */
export async function recordProviderUse(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('providers').set({ time_used: new Date() }).where('id', '=', id).execute();
}

/** Providers whose secret another key than this one encrypted. */
export async function listProvidersToReencrypt(
  db: DbOrTransaction,
  keyId: string,
): Promise<{ id: string; name: string }[]> {
  return db
    .selectFrom('providers')
    .select(['id', 'name'])
    .where('secret_key_id', 'is not', null)
    .where('secret_key_id', '!=', keyId)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
}
