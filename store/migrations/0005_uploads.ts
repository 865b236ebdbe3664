import { type Kysely, sql } from 'kysely';

/** Runs at any depth, the state of their uploads, and the events about them. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table storage_connections add column run_depth integer not null default 0 check (run_depth between 0 and 5)`.execute(
    db,
  );
  await sql`
    alter table runs
      -- Of the folder above the run folder, below the storage connection's prefix: the instrument's name where the depth is 0.
      add column parent_path text,
      add column progress jsonb,
      add column checked text not null default 'content' check (checked in ('content', 'presence')),
      -- Since when its files may be listed and not read.
      add column time_denied timestamptz,
      -- Found by the search; else registered by somebody, and no flow starts for it by itself.
      add column discovered boolean not null default true`.execute(db);
  await sql`update runs set parent_path = instrument_name`.execute(db);
  await sql`alter table runs alter column parent_path set not null, drop constraint runs_storage_connection_id_instrument_name_run_folder_key, add unique (storage_connection_id, parent_path, run_folder)`.execute(
    db,
  );
  await sql`alter table flows add column accept_failed_outcome boolean not null default false, add column accept_unverified boolean not null default true`.execute(
    db,
  );
  await sql`
    create table event_sources (
      -- The bucket, or account and region.
      source text primary key,
      -- When an event of it was last found to be true.
      time_genuine timestamptz not null
    )`.execute(db);
}
