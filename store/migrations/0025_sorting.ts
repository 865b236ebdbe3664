import { type Kysely, sql } from 'kysely';

/**
 * Indexes to sort and count runs and executions, the times of the steps of executions, and notices of every visible
 * change of a run, an execution or a verification.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await createIndexes(db);
  await recordSteps(db);
  await announceChanges(db);
}

/**
 * An unknown value has an infinite negative number or time in the indexes, so that a page can continue after any row.
 * The id makes the order complete. Texts sort without case, and by their bytes: a range of them is a prefix then.
 */
async function createIndexes(db: Kysely<unknown>): Promise<void> {
  const sequencing = `coalesce(run_parameters->>'runType', 'Sequencing') = 'Sequencing'`;
  const metric = (name: string): string =>
    `(coalesce(case when ${sequencing} then coalesce(instrument_metrics->>'${name}', metrics->>'${name}')::float8 end,
      '-infinity'::float8))`;
  const runStatus = `(case
    when upload_state = 'uploading' then 'SEQUENCING'
    when upload_state = 'vanished' then 'DISCARDED'
    when upload_state = 'complete' and checked = 'presence' then 'UNSPECIFIED'
    when outcome = 'stopped' then 'STOPPED'
    when outcome = 'unknown' then 'UNSPECIFIED'
    when outcome = 'completed' and (upload_state = 'complete' or not ${sequencing}) then 'COMPLETED'
    else 'FAILED' end)`;
  const known = (column: string): string => `(coalesce(${column}, '-infinity'::timestamptz))`;
  const folded = (column: string): string => `(lower(${column}) collate "C")`;
  const open = `status not in ('COMPLETED', 'FAILED', 'CANCELED')`;
  for (const index of [
    `runs_by_created on runs (time_created, id)`,
    `runs_by_started on runs (${known('time_started')}, id)`,
    `runs_by_completed on runs (${known('time_completed')}, id)`,
    `runs_by_updated on runs (time_updated, id)`,
    `runs_by_name on runs (${folded('run_name')}, id)`,
    `runs_by_instrument on runs (${folded('instrument_name')}, id)`,
    `runs_by_status on runs (${runStatus}, id)`,
    `runs_by_yield on runs (${metric('totalYield')}, id)`,
    `runs_by_q30 on runs (${metric('q30')}, id)`,
    `runs_blocked on runs (id) where blocked is not null`,
    `executions_by_created on executions (time_created, id)`,
    `executions_by_started on executions (${known('time_started')}, id)`,
    `executions_by_completed on executions (${known('time_completed')}, id)`,
    `executions_by_updated on executions (time_updated, id)`,
    `executions_by_name on executions (${folded('name')}, id)`,
    `executions_by_status on executions (status, id)`,
    `executions_by_flow on executions (flow_id, id)`,
    `executions_by_starter on executions (${folded('started_by')}, id)`,
    `executions_blocked on executions (id) where blocked is not null and ${open}`,
    `flows_by_name on flows (${folded('name')}, id)`,
  ])
    await sql.raw(`create index ${index}`).execute(db);
}

/**
 * Triggers record when an execution entered each step, so that no activity can forget it. Within an attempt it only
 * moves forwards: a StartRun that AWS refuses is tried again, and is the same step.
 */
async function recordSteps(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table execution_steps (
      execution_id uuid not null references executions (id) on delete cascade,
      attempt integer not null,
      -- The order of the steps.
      step integer not null,
      time_started timestamptz not null,
      primary key (execution_id, attempt, step)
    )`.execute(db);
  await sql`
    create function execution_step(status text, start_state text, healthomics_status text, has_parameters boolean)
    returns integer language sql immutable as $$
      select case
        when status in ('COMPLETED', 'FAILED', 'CANCELED') then 8
        when status = 'UNTRIGGERED' then 1
        when healthomics_status = 'COMPLETED' then 7
        when status = 'RUNNING' then 6
        when status = 'PENDING' then 5
        when start_state = 'sent' then 4
        when has_parameters then 3
        else 2 end
    $$`.execute(db);
  await sql`
    create function note_execution_step() returns trigger language plpgsql as $$
    declare
      entered integer :=
        execution_step(new.status, new.start_state, new.healthomics_status, new.parameters is not null);
    begin
      insert into execution_steps
        select new.id, new.attempt, entered, case when tg_op = 'INSERT' then new.time_created else clock_timestamp() end
        where not exists (
          select 1 from execution_steps s
          where s.execution_id = new.id and (s.attempt, s.step) >= (new.attempt, entered))
        on conflict do nothing;
      return null;
    end $$`.execute(db);
  await sql`
    create trigger step_inserted after insert on executions
    for each row execute function note_execution_step()`.execute(db);
  await sql`
    create trigger step_updated after update on executions for each row
    when (new.status is distinct from old.status or new.start_state is distinct from old.start_state
      or new.healthomics_status is distinct from old.healthomics_status or new.attempt is distinct from old.attempt
      or (new.parameters is null) is distinct from (old.parameters is null))
    execute function note_execution_step()`.execute(db);
}

/**
 * `time_changed` is of one clock, that of the database, so that a stream can say what changed since another one
 * ended. A notice has a topic and an id, and nothing else.
 */
async function announceChanges(db: Kysely<unknown>): Promise<void> {
  const differ = (columns: string[]): string =>
    columns.map((column) => `new.${column} is distinct from old.${column}`).join(' or ');
  const changed = {
    runs: differ([
      ...['run_name', 'upload_state', 'upload_description', 'blocked', 'outcome', 'checked', 'progress'],
      ...['has_manifest', 'run_parameters', 'metrics', 'instrument_metrics'],
    ]),
    executions: differ([
      ...['name', 'status', 'status_description', 'blocked', 'healthomics_status', 'healthomics_run_id', 'attempt'],
      ...['start_state', 'time_cancel_requested', 'summary', 'manifest_report'],
    ]),
  };
  await sql`
    create function note_change() returns trigger language plpgsql as $$
    begin
      new.time_changed := clock_timestamp();
      return new;
    end $$`.execute(db);
  for (const [name, id] of [
    ['tell_change', 'id'],
    ['tell_verification', 'resource_id'],
  ] as const)
    await sql
      .raw(
        `create function ${name}() returns trigger language plpgsql as $$
        begin
          perform pg_notify('polony_changes', tg_table_name || ':' || new.${id});
          return null;
        end $$`,
      )
      .execute(db);
  for (const table of ['runs', 'executions'] as const) {
    // Of all rows the time of this migration, without writing them anew.
    await sql.raw(`alter table ${table} add column time_changed timestamptz not null default now()`).execute(db);
    await sql.raw(`create index ${table}_by_changed on ${table} (time_changed)`).execute(db);
    await sql
      .raw(
        `create trigger change_noted before update on ${table} for each row when (${changed[table]})
        execute function note_change()`,
      )
      .execute(db);
    await sql
      .raw(
        `create trigger change_inserted after insert on ${table} for each row
        execute function tell_change()`,
      )
      .execute(db);
    await sql
      .raw(
        `create trigger change_told after update on ${table} for each row when (${changed[table]})
        execute function tell_change()`,
      )
      .execute(db);
  }
  await sql`create index verifications_by_completed on verifications (time_completed)`.execute(db);
  await sql`
    create trigger change_told after insert or update on verifications for each row
    execute function tell_verification()`.execute(db);
}
