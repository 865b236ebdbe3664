import { type Kysely, sql } from 'kysely';

/** Providers with access keys, and what verification finds. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table providers
      drop constraint providers_credential_type_check,
      alter column role_arn drop not null,
      alter column external_id drop not null,
      add column access_key_id text,
      -- AES-256-GCM, base64; the key that encrypted it has secret_key_id.
      add column secret_sealed text,
      add column secret_key_id text,
      -- Of the role's ARN, or as STS has answered for the access keys; null until it has.
      add column account_id text,
      add column session_seconds integer,
      add column status text not null default 'UNSPECIFIED' check (status in ('UNSPECIFIED', 'CONNECTED', 'WARNING', 'FAILED')),
      add column status_description text not null default '',
      add column time_verified timestamptz,
      add column time_used timestamptz`.execute(db);
  await sql`update providers set account_id = split_part(role_arn, ':', 5)`.execute(db);
  await sql`
    alter table providers add constraint providers_credential check (
      (credential_type = 'role' and role_arn is not null and external_id is not null and access_key_id is null and secret_sealed is null and secret_key_id is null)
      or (credential_type = 'accessKeys' and role_arn is null and external_id is null and access_key_id is not null and secret_sealed is not null and secret_key_id is not null)
    )`.execute(db);

  const status = `
      add column status text not null default 'UNSPECIFIED' check (status in ('UNSPECIFIED', 'CONNECTED', 'WARNING', 'FAILED')),
      add column status_description text not null default '',`;
  await sql`alter table storage_connections add column allow_policy_probe boolean not null default false, add column time_verified timestamptz, add column time_used timestamptz`.execute(
    db,
  );
  for (const table of ['compute_connections', 'flows'])
    await sql
      .raw(`alter table ${table} ${status} add column time_verified timestamptz, add column time_used timestamptz`)
      .execute(db);
  await sql`
    create table verifications (
      resource_id uuid primary key,
      kind text not null check (kind in ('provider', 'storageConnection', 'computeConnection', 'flow')),
      status text not null check (status in ('CONNECTED', 'WARNING', 'FAILED')),
      report jsonb not null,
      time_started timestamptz not null,
      time_completed timestamptz not null
    )`.execute(db);
  await sql`
    create table permission_evidence (
      provider_id uuid not null references providers (id),
      action text not null,
      resource text not null,
      granted boolean not null,
      error_code text,
      error_message text,
      time timestamptz not null,
      primary key (provider_id, action, resource)
    )`.execute(db);
}
