import { type Kysely, sql } from 'kysely';

/**
 * Whether the last verification could assume a provider's role without its external ID. polony does not use such a role
 * until it is fixed. External IDs are searched for, because two accounts must not have the same.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table providers add column is_role_open boolean not null default false`.execute(db);
  await sql`create index providers_external_id on providers (external_id) where time_deleted is null`.execute(db);
}
