import { type Kysely, sql } from 'kysely';

/**
 * Sessions of browsers, and links that sign in once. Both say for whom they stand in the same columns. The store has
 * the SHA-256 of each secret only.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const identity = sql.raw(`
    hash bytea not null unique,
    caller_kind text not null check (caller_kind in ('key', 'root', 'person')),
    caller_id text not null,
    caller_name text not null,
    key_id uuid references api_keys (id) on delete cascade,
    root_proof bytea,
    issuer text,
    email text,
    claim_values jsonb not null default '[]',
    time_created timestamptz not null default now(),
    time_expires timestamptz not null,
    check ((caller_kind = 'key') = (key_id is not null)),
    check ((caller_kind = 'root') = (root_proof is not null)),
    check ((caller_kind = 'person') = (issuer is not null))`);
  await sql`create table sessions (id uuid primary key, time_used timestamptz, ${identity})`.execute(db);
  await sql`create index sessions_caller on sessions (caller_id, id)`.execute(db);
  await sql`create index sessions_expires on sessions (time_expires)`.execute(db);
  await sql`
    create table sign_in_links (
      id uuid primary key,
      session_id uuid references sessions (id) on delete cascade,
      session_expires timestamptz,
      ${identity}
    )`.execute(db);
  await sql`create index sign_in_links_caller on sign_in_links (caller_id, id)`.execute(db);
  await sql`create index sign_in_links_expires on sign_in_links (time_expires)`.execute(db);
  // The rows of a key or a session that is deleted are found by it.
  await sql`create index sessions_key on sessions (key_id)`.execute(db);
  await sql`create index sign_in_links_key on sign_in_links (key_id)`.execute(db);
  await sql`create index sign_in_links_session on sign_in_links (session_id)`.execute(db);
}
