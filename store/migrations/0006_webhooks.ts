import { type Kysely, sql } from 'kysely';

/**
 * Webhooks and their events. Triggers write the events, so that an event is in the same transaction as its change,
 * whatever code makes the change. While no webhook is enabled, the triggers write nothing. domain/webhooks/webhook.ts
 * has the names of the events.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table webhooks (
      id uuid primary key,
      url text not null,
      description text not null,
      -- None for all.
      event_types text[] not null,
      enabled boolean not null,
      -- Why polony has switched it off.
      disabled_reason text,
      time_created timestamptz not null default now(),
      time_updated timestamptz not null default now()
    )`.execute(db);
  await sql`
    create table webhook_secrets (
      id uuid primary key,
      webhook_id uuid not null references webhooks (id) on delete cascade,
      -- Encrypted; the key that encrypted it has key_id.
      sealed text not null,
      key_id text not null,
      time_created timestamptz not null default now(),
      -- Until then it signs along; null for the one that signs first.
      time_expires timestamptz
    )`.execute(db);
  await sql`create unique index webhook_secrets_current on webhook_secrets (webhook_id) where time_expires is null`.execute(
    db,
  );
  await sql`create sequence webhook_event_sequence`.execute(db);
  // No foreign key to the webhook: deleting a webhook must never delay or fail a change of an execution.
  await sql`
    create table webhook_deliveries (
      id uuid primary key,
      webhook_id uuid not null,
      -- The same for every webhook that is told of the event, and for every try.
      event_id uuid not null,
      event_type text not null,
      event_sequence bigint not null,
      event_data jsonb not null,
      time_event timestamptz not null,
      state text not null default 'pending' check (state in ('pending', 'retrying', 'delivered', 'failed')),
      -- From 1; one more for each replay.
      round integer not null default 1,
      attempts integer not null default 0,
      last_status integer,
      last_error text,
      -- Whether its workflow is known to have been started for this round.
      handed_over boolean not null default false,
      time_handed timestamptz,
      time_next timestamptz,
      time_ended timestamptz
    )`.execute(db);
  await sql`create index webhook_deliveries_of on webhook_deliveries (webhook_id, id)`.execute(db);
  await sql`create index webhook_deliveries_to_hand_over on webhook_deliveries (id) where not handed_over`.execute(db);
  await sql`create index webhook_deliveries_open on webhook_deliveries (id) where state in ('pending', 'retrying')`.execute(
    db,
  );
  await sql`create index webhook_deliveries_ended on webhook_deliveries (time_ended) where time_ended is not null`.execute(
    db,
  );

  // RFC 9562, version 7: the ids sort by the time of their creation, like all ids of polony.
  await sql`
    create function webhook_delivery_id() returns uuid language sql volatile as $$
      select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid
    $$`.execute(db);
  await sql`
    create function webhook_emit(what text, about jsonb) returns void language plpgsql as $$
    declare
      number bigint;
      event uuid;
    begin
      -- A number for those that somebody is told of only.
      if not exists (select 1 from webhooks w where w.enabled and (w.event_types = '{}' or what = any (w.event_types))) then return; end if;
      number := nextval('webhook_event_sequence');
      event := gen_random_uuid();
      insert into webhook_deliveries (id, webhook_id, event_id, event_type, event_sequence, event_data, time_event)
        select webhook_delivery_id(), w.id, event, what, number, about, clock_timestamp()
        from webhooks w where w.enabled and (w.event_types = '{}' or what = any (w.event_types));
      -- Heard once this transaction is committed.
      perform pg_notify('polony_webhooks', '');
    end $$`.execute(db);
  // What blocks, without the message of AWS, which may contain names that receivers must not see.
  await sql`
    create function webhook_blocked(blocked jsonb) returns jsonb language sql immutable as $$
      select case when blocked is null then null else jsonb_build_object('kind', blocked->'kind', 'action', blocked->'action', 'resource', blocked->'resource') end
    $$`.execute(db);

  await sql`
    create function webhook_of_execution() returns trigger language plpgsql as $$
    declare
      about jsonb;
      was jsonb := case when tg_op = 'UPDATE' then webhook_blocked(old.blocked) end;
      is_now jsonb := webhook_blocked(new.blocked);
    begin
      if not exists (select 1 from webhooks where enabled) then return null; end if;
      select jsonb_build_object(
        'executionId', new.id, 'executionName', new.name, 'status', 'EXECUTION_STATUS_' || new.status, 'trigger', new.trigger, 'attempt', new.attempt,
        'flowId', new.flow_id, 'flowName', f.name, 'runId', new.run_id, 'runName', r.run_name, 'instrumentName', r.instrument_name,
        'storageConnectionId', new.storage_connection_id, 'computeConnectionId', new.compute_connection_id,
        'healthOmicsRunId', new.healthomics_run_id, 'errorType', new.error_type, 'blocked', is_now)
      into about from flows f, runs r where f.id = new.flow_id and r.id = new.run_id;
      if tg_op = 'INSERT' then
        perform webhook_emit('execution.' || lower(new.status), about);
        return null;
      end if;
      if new.status is distinct from old.status then perform webhook_emit('execution.' || lower(new.status), about); end if;
      if is_now is distinct from was then
        if is_now is not null then perform webhook_emit('execution.blocked', about);
        -- With its end nothing is waited for any more, which the end itself tells.
        elsif new.status not in ('COMPLETED', 'FAILED', 'CANCELED') then perform webhook_emit('execution.unblocked', about);
        end if;
      end if;
      return null;
    end $$`.execute(db);
  await sql`create trigger webhook_inserted after insert on executions for each row execute function webhook_of_execution()`.execute(
    db,
  );
  await sql`create trigger webhook_updated after update on executions for each row when (new.status is distinct from old.status or new.blocked is distinct from old.blocked) execute function webhook_of_execution()`.execute(
    db,
  );

  await sql`
    create function webhook_of_run() returns trigger language plpgsql as $$
    declare
      about jsonb;
      was jsonb := case when tg_op = 'UPDATE' then webhook_blocked(old.blocked) end;
      is_now jsonb := webhook_blocked(new.blocked);
      stalled boolean := coalesce((new.progress->>'stalled')::boolean, false);
    begin
      if not exists (select 1 from webhooks where enabled) then return null; end if;
      about := jsonb_build_object(
        'runId', new.id, 'runName', new.run_name, 'instrumentName', new.instrument_name, 'runFolder', new.run_folder, 'storageConnectionId', new.storage_connection_id,
        'uploadState', new.upload_state, 'outcome', new.outcome, 'checked', new.checked, 'stalled', stalled and new.upload_state = 'uploading', 'blocked', is_now);
      if tg_op = 'INSERT' or new.upload_state is distinct from old.upload_state then
        perform webhook_emit('run.' || case new.upload_state when 'complete' then 'uploaded' when 'refused' then 'failed' else new.upload_state end, about);
      end if;
      if tg_op = 'INSERT' or new.upload_state <> 'uploading' then return null; end if;
      if stalled and not coalesce((old.progress->>'stalled')::boolean, false) then perform webhook_emit('run.stalled', about);
      -- One that is looked at anew begins anew, and has said so.
      elsif not stalled and old.upload_state = 'uploading' and coalesce((old.progress->>'stalled')::boolean, false) then perform webhook_emit('run.resumed', about);
      end if;
      if is_now is distinct from was then
        if is_now is not null then perform webhook_emit('run.blocked', about);
        elsif old.upload_state = 'uploading' then perform webhook_emit('run.unblocked', about);
        end if;
      end if;
      return null;
    end $$`.execute(db);
  await sql`create trigger webhook_inserted after insert on runs for each row execute function webhook_of_run()`.execute(
    db,
  );
  await sql`
    create trigger webhook_updated after update on runs for each row
    when (new.upload_state is distinct from old.upload_state or new.blocked is distinct from old.blocked or new.progress->'stalled' is distinct from old.progress->'stalled')
    execute function webhook_of_run()`.execute(db);

  // Arguments: the kind of resource, the names of its id and status, and the event to send instead of the status's own.
  await sql`
    create function webhook_of_resource() returns trigger language plpgsql as $$
    declare
      what text;
    begin
      if not exists (select 1 from webhooks where enabled) then return null; end if;
      if tg_nargs > 3 then what := tg_argv[3];
      elsif tg_op = 'INSERT' then what := 'created';
      elsif new.time_deleted is not null then what := 'deleted';
      else what := lower(new.status);
      end if;
      perform webhook_emit(tg_argv[0] || '.' || what, jsonb_build_object(tg_argv[1], new.id, 'name', new.name, 'status', tg_argv[2] || new.status));
      return null;
    end $$`.execute(db);
  for (const [table, kind, id, status] of [
    ['providers', 'provider', 'providerId', 'PROVIDER_STATUS_'],
    ['storage_connections', 'storage_connection', 'storageConnectionId', 'STORAGE_CONNECTION_STATUS_'],
    ['compute_connections', 'compute_connection', 'computeConnectionId', 'COMPUTE_CONNECTION_STATUS_'],
    ['flows', 'flow', 'flowId', 'FLOW_STATUS_'],
  ] as const) {
    const call = `for each row %when% execute function webhook_of_resource('${kind}', '${id}', '${status}')`;
    await sql.raw(`create trigger webhook_inserted after insert on ${table} ${call.replace('%when%', '')}`).execute(db);
    await sql
      .raw(
        `create trigger webhook_updated after update on ${table} ${call.replace('%when%', "when (old.time_deleted is null and (new.time_deleted is not null or (new.status is distinct from old.status and new.status <> 'UNSPECIFIED')))")}`,
      )
      .execute(db);
  }
  // A secret that was only encrypted again is the same credential, so the provider has not changed.
  await sql`
    create trigger webhook_credentials after update on providers for each row
    when (new.time_deleted is null and (new.role_arn is distinct from old.role_arn or new.external_id is distinct from old.external_id or new.access_key_id is distinct from old.access_key_id
      or (new.secret_sealed is distinct from old.secret_sealed and new.time_updated is distinct from old.time_updated)))
    execute function webhook_of_resource('provider', 'providerId', 'PROVIDER_STATUS_', 'credentials_changed')`.execute(
    db,
  );
}
