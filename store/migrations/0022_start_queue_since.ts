import { type Kysely, sql } from 'kysely';

/**
 * Since when an execution waits for its turn to call StartRun, and indexes for the runs that upload and for those that
 * ended in the last day.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table start_queue add column time_queued timestamptz not null default now()`.execute(db);
  await sql`create index runs_uploading on runs (id) where upload_state = 'uploading'`.execute(db);
  await sql`create index runs_completed on runs (time_completed) where time_completed is not null`.execute(db);
}
