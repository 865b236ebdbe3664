import { type Kysely, sql } from 'kysely';

/**
 * ETags of the files that decided about a run, so that a later change of them is noticed before StartRun; and which
 * check decided.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table runs add column metadata_etags jsonb`.execute(db);
  // Checks may overlap. The one that began last says how the upload ended, and none from before a reopening.
  await sql`alter table runs add column check_round integer not null default 0, add column time_checked timestamptz`.execute(
    db,
  );
}
