import { type Kysely, sql } from 'kysely';

/** Grants: who may read a bucket through its policy. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table access_grants (
      id uuid primary key,
      storage_connection_id uuid not null references storage_connections (id),
      bucket text not null,
      partition text not null,
      principal text not null,
      -- Relative to the storage connection's own, as it was given; null for the whole bucket.
      prefix text,
      -- What the keys begin with, in the bucket; null for the whole bucket.
      folder text,
      description text not null,
      state text not null check (state in ('pending', 'active', 'failed', 'removing', 'expired', 'removed')),
      -- Whether statements with its Sids that say something else are written anew.
      overwrite boolean not null default false,
      -- Why it is not as it should be.
      problem jsonb,
      created_by text not null,
      -- Who asked for what is being done, and in which request; for the audit log.
      changed_by jsonb not null,
      request_id text not null,
      -- The entry of the audit log of a write that was begun.
      audit_id uuid,
      -- From just before the first write: before that the policy surely holds nothing of it.
      time_sent timestamptz,
      -- When the policy was last changed for it.
      time_written timestamptz,
      time_tried timestamptz,
      time_expires timestamptz,
      time_created timestamptz not null default now(),
      time_updated timestamptz not null default now()
    )`.execute(db);
  // Two storage connections in one bucket share its policy.
  await sql`create unique index access_grants_once on access_grants (bucket, principal, coalesce(folder, '')) where state not in ('expired', 'removed')`.execute(
    db,
  );
  await sql`create index access_grants_of on access_grants (storage_connection_id, id) where state <> 'removed'`.execute(
    db,
  );
  await sql`create index access_grants_expiry on access_grants (time_expires) where state = 'active' and time_expires is not null`.execute(
    db,
  );
  await sql`create index access_grants_open on access_grants (bucket) where state in ('pending', 'removing')`.execute(
    db,
  );
}
