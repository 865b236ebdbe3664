import { type Kysely, sql } from 'kysely';

/** What StartRun was sent with: a requestId holds for one request only, so asking again must ask the very same. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table executions add column start_request jsonb`.execute(db);
}
