import { type Kysely, sql } from 'kysely';

/** Metrics and start times of runs, for filters, and the instruments that runs came from. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table runs add column metrics jsonb, add column time_started timestamptz`.execute(db);
  // The text that an instrument wrote may not be a time.
  await sql`
    create function pg_temp.time_or_null(value text) returns timestamptz language plpgsql as $$
    begin
      return value::timestamptz;
    exception when others then
      return null;
    end $$`.execute(db);
  await sql`update runs set time_started = pg_temp.time_or_null(run_parameters->>'date') where run_parameters ? 'date'`.execute(
    db,
  );
  await sql`
    update runs r set metrics = jsonb_strip_nulls(jsonb_build_object(
      'totalReads', e.summary->'numPolonies', 'totalYield', round((e.summary->>'totalYield')::numeric * 1000000000), 'q30', e.summary->'percentQ30', 'q40', e.summary->'percentQ40', 'q50', e.summary->'percentQ50', 'avgQ', e.summary->'qualityScoreMean'))
    from (select distinct on (run_id) run_id, summary from executions where status = 'COMPLETED' and summary is not null order by run_id, id desc) e
    where e.run_id = r.id`.execute(db);
  await sql`
    create table instruments (
      -- The name of its folder, which is its serial number.
      serial_number text primary key,
      software_version text,
      -- Of the run that shows the software version.
      version_run uuid,
      time_created timestamptz not null,
      time_updated timestamptz not null,
      time_last_connected timestamptz not null
    )`.execute(db);
  await sql`
    create function note_instrument() returns trigger language plpgsql as $$
    begin
      insert into instruments as i (serial_number, software_version, version_run, time_created, time_updated, time_last_connected)
        values (new.instrument_name, new.run_parameters->>'platformVersion', case when new.run_parameters ? 'platformVersion' then new.id end, new.time_created, now(), new.time_updated)
        on conflict (serial_number) do update set
          -- Ids of runs follow each other in time: that of the last run counts.
          software_version = case when excluded.version_run is not null and (i.version_run is null or excluded.version_run >= i.version_run) then excluded.software_version else i.software_version end,
          version_run = greatest(excluded.version_run, i.version_run),
          time_updated = now(),
          time_last_connected = greatest(excluded.time_last_connected, i.time_last_connected);
      return null;
    end $$`.execute(db);
  await sql`create trigger instrument_of_new_run after insert on runs for each row execute function note_instrument()`.execute(
    db,
  );
  await sql`
    create trigger instrument_of_run after update on runs for each row
    when (new.upload_state is distinct from old.upload_state or new.run_parameters->>'platformVersion' is distinct from old.run_parameters->>'platformVersion')
    execute function note_instrument()`.execute(db);
  await sql`
    insert into instruments (serial_number, software_version, version_run, time_created, time_updated, time_last_connected)
      select r.instrument_name, v.version, v.id, min(r.time_created), max(r.time_updated), max(r.time_updated)
      from runs r left join lateral (
        select id, run_parameters->>'platformVersion' as version from runs l where l.instrument_name = r.instrument_name and run_parameters ? 'platformVersion' order by id desc limit 1
      ) v on true
      group by r.instrument_name, v.version, v.id`.execute(db);
}
