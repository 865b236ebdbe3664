import { type Kysely, sql } from 'kysely';

/** An index that answers how many runs have each status: all that a status depends on, except for refused runs. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index runs_by_outcome on runs (upload_state, checked, outcome)`.execute(db);
}
