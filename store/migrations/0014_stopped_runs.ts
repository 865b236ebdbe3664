import { type Kysely, sql } from 'kysely';

/** Flows that analyse stopped runs, and which stopped runs they can analyse. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table flows add column accept_stopped_outcome boolean not null default false`.execute(db);
  // Runs that were refused before stay so until somebody retries them: polony did not look for their cycles.
  await sql`alter table runs add column usable_if_stopped boolean not null default false`.execute(db);
}
