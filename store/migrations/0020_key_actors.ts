import { type Kysely, sql } from 'kysely';

/** Who created and revoked an API key, by id: names can be alike, or taken again by another key. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table api_keys add column created_by_id text, add column revoked_by_id text`.execute(db);
}
