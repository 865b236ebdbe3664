import { type Kysely, sql } from 'kysely';

/** Run settings of flows, several attempts for an execution, and the turns of StartRun. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table flows
      add column run_settings jsonb not null default '{}',
      add column auto_start_filter jsonb not null default '{}'`.execute(db);
  await sql`
    alter table executions
      -- Which of its HealthOmics runs it is at; the earlier ones stand in execution_attempts.
      add column attempt integer not null default 1,
      add column own_parameters jsonb not null default '{}',
      -- A run manifest in place of the run's own: its text, or where it lies.
      add column manifest_text text,
      add column manifest_uri text,
      add column manifest_report jsonb,
      add column relaunch_of uuid references executions (id),
      -- How often its workflow was started again after it had been closed from outside.
      add column adoptions integer not null default 0,
      add column files jsonb`.execute(db);
  await sql`
    create table execution_attempts (
      execution_id uuid not null references executions (id),
      attempt integer not null,
      healthomics_run_id text not null,
      healthomics_run_uuid text,
      healthomics_run_arn text,
      run_output_uri text,
      healthomics_status text,
      failure_reason text,
      status_message text,
      time_started timestamptz,
      time_ended timestamptz not null default now(),
      primary key (execution_id, attempt)
    )`.execute(db);
  // The turns of StartRun, by account and region.
  await sql`
    create table start_pace (
      scope text primary key,
      next_at timestamptz not null default now(),
      -- Seconds between two calls beyond what the rate asks for, after AWS has throttled.
      penalty double precision not null default 0
    )`.execute(db);
  await sql`create table start_turns (scope text not null, flow_id uuid not null, last_at timestamptz not null, primary key (scope, flow_id))`.execute(
    db,
  );
  await sql`
    create table start_queue (
      execution_id uuid primary key,
      scope text not null,
      flow_id uuid not null,
      -- When it was told to come again.
      due_at timestamptz not null
    )`.execute(db);
  await sql`create index start_queue_scope on start_queue (scope)`.execute(db);
  await sql`
    create table pollers (
      worker_id uuid not null,
      scope text not null,
      watching integer not null,
      time_seen timestamptz not null,
      primary key (worker_id, scope)
    )`.execute(db);
}
