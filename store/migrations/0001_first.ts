import { type Kysely, sql } from 'kysely';

/**
 * The tables of the main job. Deleted rows stay for the history of executions, so names are unique among the other rows
 * only.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table providers (
      id uuid primary key,
      name text not null,
      default_region text not null,
      credential_type text not null check (credential_type in ('role')),
      role_arn text not null,
      external_id text not null,
      time_created timestamptz not null default now(),
      time_updated timestamptz not null default now(),
      time_deleted timestamptz
    )`.execute(db);
  await sql`create unique index providers_name on providers (name) where time_deleted is null`.execute(db);

  await sql`
    create table storage_connections (
      id uuid primary key,
      name text not null,
      provider_id uuid not null references providers (id),
      region text not null,
      bucket text not null,
      prefix text not null,
      use_for_run_upload boolean not null,
      use_for_data_exploration boolean not null,
      status text not null default 'UNSPECIFIED' check (status in ('UNSPECIFIED', 'CONNECTED', 'WARNING', 'FAILED')),
      status_description text not null default '',
      time_discovered timestamptz,
      time_created timestamptz not null default now(),
      time_updated timestamptz not null default now(),
      time_deleted timestamptz
    )`.execute(db);
  await sql`create unique index storage_connections_name on storage_connections (name) where time_deleted is null`.execute(
    db,
  );
  await sql`create index storage_connections_provider on storage_connections (provider_id)`.execute(db);

  await sql`
    create table compute_connections (
      id uuid primary key,
      name text not null,
      provider_id uuid not null references providers (id),
      execution_role_arn text not null,
      region text not null,
      time_created timestamptz not null default now(),
      time_updated timestamptz not null default now(),
      time_deleted timestamptz
    )`.execute(db);
  await sql`create unique index compute_connections_name on compute_connections (name) where time_deleted is null`.execute(
    db,
  );
  await sql`create index compute_connections_provider on compute_connections (provider_id)`.execute(db);

  await sql`
    create table flows (
      id uuid primary key,
      name text not null,
      compute_connection_id uuid not null references compute_connections (id),
      shared_workflow_id text not null,
      workflow_owner_id text not null,
      shared_workflow_region text,
      parameter_names jsonb not null default '{}',
      parameters jsonb not null default '{}',
      time_created timestamptz not null default now(),
      time_updated timestamptz not null default now(),
      time_deleted timestamptz
    )`.execute(db);
  await sql`create unique index flows_name on flows (name) where time_deleted is null`.execute(db);
  await sql`create index flows_compute on flows (compute_connection_id)`.execute(db);

  await sql`
    create table flow_storage_connections (
      flow_id uuid not null references flows (id) on delete cascade,
      storage_connection_id uuid not null references storage_connections (id),
      primary key (flow_id, storage_connection_id)
    )`.execute(db);
  await sql`create index flow_storage_connections_storage on flow_storage_connections (storage_connection_id)`.execute(
    db,
  );

  await sql`
    create table runs (
      id uuid primary key,
      storage_connection_id uuid not null references storage_connections (id),
      instrument_name text not null,
      run_folder text not null,
      run_name text not null,
      upload_state text not null default 'uploading' check (upload_state in ('uploading', 'complete', 'refused', 'vanished')),
      upload_description text not null default '',
      blocked jsonb,
      outcome text check (outcome in ('completed', 'failed', 'stopped', 'unknown')),
      instrument_id text,
      run_parameters jsonb,
      has_manifest boolean not null default false,
      time_created timestamptz not null default now(),
      time_completed timestamptz,
      time_updated timestamptz not null default now(),
      unique (storage_connection_id, instrument_name, run_folder)
    )`.execute(db);

  await sql`
    create table executions (
      id uuid primary key,
      name text not null,
      flow_id uuid not null references flows (id),
      run_id uuid not null references runs (id),
      compute_connection_id uuid not null references compute_connections (id),
      storage_connection_id uuid not null references storage_connections (id),
      trigger text not null check (trigger in ('auto', 'api')),
      started_by text not null,
      status text not null check (status in ('UNTRIGGERED', 'INITIALIZED', 'PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')),
      status_description text not null default '',
      blocked jsonb,
      start_state text not null default 'none' check (start_state in ('none', 'sent', 'started')),
      workflow_name text,
      parameters jsonb,
      output_uri text not null,
      healthomics_run_id text,
      healthomics_run_uuid text,
      healthomics_run_arn text,
      run_output_uri text,
      healthomics_status text,
      cancel_requested_by text,
      cancel_reason text,
      time_cancel_requested timestamptz,
      summary jsonb,
      error_type text,
      error_message text,
      workflow_started boolean not null default false,
      time_created timestamptz not null default now(),
      time_started timestamptz,
      time_completed timestamptz,
      time_updated timestamptz not null default now()
    )`.execute(db);
  // A complete run starts a flow automatically only once, however often polony tries.
  await sql`create unique index executions_auto on executions (flow_id, run_id) where trigger = 'auto'`.execute(db);
  await sql`create index executions_run on executions (run_id)`.execute(db);
  await sql`create index executions_open on executions (status) where status not in ('COMPLETED', 'FAILED', 'CANCELED')`.execute(
    db,
  );

  await sql`
    create table idempotency_keys (
      key text primary key,
      request_hash text not null,
      status_code integer not null,
      response jsonb not null,
      time_created timestamptz not null default now()
    )`.execute(db);
  await sql`create index idempotency_keys_created on idempotency_keys (time_created)`.execute(db);
}
