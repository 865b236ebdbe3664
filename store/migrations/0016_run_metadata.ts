import { type Kysely, sql } from 'kysely';

/** ETags of the files that decided about a run, so that a later change of them is noticed before StartRun. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table runs add column metadata_etags jsonb`.execute(db);
}
