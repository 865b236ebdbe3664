import { type Kysely, sql } from 'kysely';

/** An index for the metrics of an instrument over time. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index runs_of_instrument on runs (instrument_name, id)`.execute(db);
}
