import { type Kysely, sql } from 'kysely';

/** Who started and cancelled an execution, by id: names can be alike, or taken again by another key. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table executions add column started_by_id text, add column cancel_requested_by_id text`.execute(db);
}
