import { type Kysely, sql } from 'kysely';

/** The request of StartRun. A requestId is valid for one request only, so polony must repeat it word for word. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table executions add column start_request jsonb, add column cancel_signalled boolean not null default false`.execute(
    db,
  );
  // `closed`: the execution was cancelled before StartRun was sent. No activity may send it any more.
  await sql`alter table executions drop constraint executions_start_state_check, add constraint executions_start_state_check check (start_state in ('none', 'sent', 'started', 'closed'))`.execute(
    db,
  );
}
