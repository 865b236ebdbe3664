import { type Kysely, sql } from 'kysely';

/** Whether the two files that identify a run contradict each other, so that its folder is not taken for one of a run. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table runs add column files_disagree boolean not null default false`.execute(db);
}
