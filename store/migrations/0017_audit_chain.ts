import { type Kysely, sql } from 'kysely';

/**
 * A hash chain over the audit log, so that `polony audit verify` finds entries that somebody changed, removed or added
 * behind polony's back. store/auditChain.ts computes the same hashes.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table audit_chain (
      number bigint primary key,
      source text not null check (source in ('entry', 'outcome')),
      audit_id uuid not null,
      hash bytea not null,
      unique (source, audit_id)
    )`.execute(db);
  await createFunctions(db);
  // Entries of a process that still runs wait until this migration has committed.
  await sql`lock table audit_log, audit_outcomes in share row exclusive mode`.execute(db);
  await sql`
    do $$
    declare
      entry record;
      number bigint := 0;
      previous bytea := decode(repeat('00', 32), 'hex');
    begin
      -- Like append_to_audit_chain, which would look for the last hash before each entry.
      for entry in
        select 'entry' as source, id, time, audit_entry_text(audit_log) as content from audit_log
        union all
        select 'outcome', audit_id, time, audit_outcome_text(audit_outcomes) from audit_outcomes
        order by time, id, source
      loop
        number := number + 1;
        previous := sha256(previous || convert_to(entry.content, 'UTF8'));
        insert into audit_chain values (number, entry.source, entry.id, previous);
      end loop;
    end $$`.execute(db);
  for (const [table, source] of [
    ['audit_log', 'entry'],
    ['audit_outcomes', 'outcome'],
  ] as const) {
    // Deferred: the lock of the chain is held only while a transaction commits, however long it took before.
    await sql
      .raw(
        `create constraint trigger chained after insert on ${table} deferrable initially deferred
         for each row execute function chain_audit_${source}()`,
      )
      .execute(db);
  }
  await sql`create trigger append_only before update or delete or truncate on audit_chain for each statement execute function audit_is_append_only()`.execute(
    db,
  );
}

async function createFunctions(db: Kysely<unknown>): Promise<void> {
  // The length goes before each value, so that no two entries have the same text.
  await sql`
    create function audit_field(value text) returns text language sql stable as $$
      select case when value is null then '-' else octet_length(convert_to(value, 'UTF8')) || ':' || value end
    $$`.execute(db);
  await sql`
    create function audit_time(value timestamptz) returns text language sql stable as $$
      select to_char(value at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
    $$`.execute(db);
  await sql`
    create function audit_entry_text(entry audit_log) returns text language sql stable as $$
      select 'entry' || audit_field(entry.id::text) || audit_field(audit_time(entry.time))
        || audit_field(entry.request_id) || audit_field(entry.caller_kind) || audit_field(entry.caller_id)
        || audit_field(entry.caller_name) || audit_field(entry.address) || audit_field(entry.action)
        || audit_field(entry.resource_type) || audit_field(entry.resource_id) || audit_field(entry.detail::text)
    $$`.execute(db);
  await sql`
    create function audit_outcome_text(entry audit_outcomes) returns text language sql stable as $$
      select 'outcome' || audit_field(entry.audit_id::text) || audit_field(audit_time(entry.time))
        || audit_field(entry.status::text) || audit_field(entry.reason) || audit_field(entry.resource_id)
        || audit_field(entry.detail::text)
    $$`.execute(db);
  await sql`
    create function append_to_audit_chain(source text, audit_id uuid, content text) returns void language plpgsql as $$
    declare
      last record;
    begin
      -- The next statement sees what the transaction before this one has committed.
      perform pg_advisory_xact_lock(hashtextextended('audit-chain', 0));
      select c.number, c.hash into last from audit_chain c order by c.number desc limit 1;
      insert into audit_chain (number, source, audit_id, hash) values (
        coalesce(last.number, 0) + 1,
        source,
        audit_id,
        sha256(coalesce(last.hash, decode(repeat('00', 32), 'hex')) || convert_to(content, 'UTF8'))
      );
    end $$`.execute(db);
  await sql`
    create function chain_audit_entry() returns trigger language plpgsql security definer as $$
    begin
      perform append_to_audit_chain('entry', new.id, audit_entry_text(new));
      return null;
    end $$`.execute(db);
  await sql`
    create function chain_audit_outcome() returns trigger language plpgsql security definer as $$
    begin
      perform append_to_audit_chain('outcome', new.audit_id, audit_outcome_text(new));
      return null;
    end $$`.execute(db);
  // A temporary table or function of the caller must not take the place of those of polony.
  await sql`
    do $$
    declare
      name text;
    begin
      foreach name in array array['chain_audit_entry', 'chain_audit_outcome'] loop
        execute format('revoke execute on function %I() from public', name);
        execute format('alter function %I() set search_path = pg_catalog, %I, pg_temp', name, current_schema());
      end loop;
    end $$`.execute(db);
}
