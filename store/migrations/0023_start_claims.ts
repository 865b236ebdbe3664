import { type Kysely, sql } from 'kysely';

/**
 * Whether an automatic execution wrote the marker of its run folder. Where the marker cannot be read, only this says whose
 * it is. Executions that are under way wrote theirs with an earlier version, which did not record it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table executions add column start_claimed boolean not null default false`.execute(db);
  await sql`
    update executions set start_claimed = true
    where trigger = 'auto' and status not in ('COMPLETED', 'FAILED', 'CANCELED')`.execute(db);
}
