import { type Kysely, sql } from 'kysely';

/** What StartRun was sent with: a requestId holds for one request only, so asking again must ask the very same. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table executions add column start_request jsonb, add column cancel_signalled boolean not null default false`.execute(
    db,
  );
  // `closed`: cancelled before it was sent, and nobody may send it any more.
  await sql`alter table executions drop constraint executions_start_state_check, add constraint executions_start_state_check check (start_state in ('none', 'sent', 'started', 'closed'))`.execute(
    db,
  );
}
