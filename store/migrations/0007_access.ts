import { type Kysely, sql } from 'kysely';

/** API keys, and the audit log, which can only grow. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table api_keys (
      id uuid primary key,
      name text not null,
      hash bytea not null,
      scopes jsonb not null,
      created_by text not null,
      time_created timestamptz not null default now(),
      time_expires timestamptz not null,
      time_used timestamptz,
      time_revoked timestamptz,
      revoked_by text,
      time_deleted timestamptz
    )`.execute(db);
  // Unique among the keys that work: the name of a revoked key can be used again.
  await sql`create unique index api_keys_name on api_keys (name) where time_revoked is null and time_deleted is null`.execute(
    db,
  );
  await sql`
    create table audit_log (
      id uuid primary key,
      time timestamptz not null default now(),
      request_id text not null,
      caller_kind text not null,
      caller_id text not null,
      caller_name text not null,
      address text,
      action text not null,
      resource_type text,
      resource_id text,
      detail jsonb
    )`.execute(db);
  await sql`create index audit_log_caller on audit_log (caller_id, id)`.execute(db);
  await sql`create index audit_log_resource on audit_log (resource_id, id)`.execute(db);
  await sql`create index audit_log_action on audit_log (action, id)`.execute(db);
  await sql`create index audit_log_request on audit_log (request_id)`.execute(db);
  await sql`create index audit_log_time on audit_log (time)`.execute(db);
  // The outcome of an entry is a row of its own, so that no row ever changes.
  await sql`
    create table audit_outcomes (
      audit_id uuid primary key references audit_log (id),
      time timestamptz not null default now(),
      status integer,
      reason text,
      resource_id text,
      detail jsonb
    )`.execute(db);
  await sql`create index audit_outcomes_resource on audit_outcomes (resource_id, audit_id) where resource_id is not null`.execute(
    db,
  );
  await sql`
    create function audit_is_append_only() returns trigger language plpgsql as $$
    begin
      raise exception 'the audit log is append-only' using errcode = 'insufficient_privilege';
    end $$`.execute(db);
  for (const table of ['audit_log', 'audit_outcomes']) {
    await sql`create trigger append_only before update or delete or truncate on ${sql.table(table)} for each statement execute function audit_is_append_only()`.execute(
      db,
    );
  }
}
