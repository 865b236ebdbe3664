import { type Kysely, sql } from 'kysely';

/** Metrics of a run that the instrument measured. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table runs add column instrument_metrics jsonb`.execute(db);
}
