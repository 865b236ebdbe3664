import { type Kysely, sql } from 'kysely';

/**
 * Work that one worker does for all: leases say who does it, and watches name the activities that wait for a HealthOmics
 * run to change.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table leases (
      name text primary key,
      holder uuid not null,
      expires_at timestamptz not null
    )`.execute(db);
  await sql`
    create table watches (
      execution_id uuid primary key references executions on delete cascade,
      scope text not null,
      task_token bytea not null,
      from_status text,
      probing boolean not null,
      time_registered timestamptz not null default clock_timestamp()
    )`.execute(db);
  await sql`create index watches_scope on watches (scope, time_registered)`.execute(db);
}
