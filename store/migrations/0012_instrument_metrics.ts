import { type Kysely, sql } from 'kysely';

/** What the instrument itself has measured of a run. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table runs add column instrument_metrics jsonb`.execute(db);
}
