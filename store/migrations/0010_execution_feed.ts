import { type Kysely, sql } from 'kysely';

/** Notifies listeners when the visible state of an execution changes. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function tell_execution() returns trigger language plpgsql as $$
    begin
      perform pg_notify('polony_executions', new.id::text);
      return null;
    end $$`.execute(db);
  await sql`
    create trigger execution_told after update on executions for each row
    when (new.status is distinct from old.status or new.status_description is distinct from old.status_description or new.blocked is distinct from old.blocked
      or new.healthomics_status is distinct from old.healthomics_status or new.healthomics_run_id is distinct from old.healthomics_run_id or new.attempt is distinct from old.attempt
      or new.time_cancel_requested is distinct from old.time_cancel_requested or new.summary is distinct from old.summary)
    execute function tell_execution()`.execute(db);
}
