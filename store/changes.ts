import { sql } from 'kysely';
import type { Db } from './database.js';
import { runStatus } from './runs/columns.js';

/** What a stream of changes can be about. */
export const CHANGE_TOPICS = ['runs', 'executions', 'verifications'] as const;
export type ChangeTopic = (typeof CHANGE_TOPICS)[number];

/** Something that has changed, as it is now. */
export interface Change {
  topic: ChangeTopic;
  /** Of the run, the execution, or the resource that was verified. */
  id: string;
  /** For a verification: of what. Else empty. */
  kind: string;
  /** In the spelling of the API, without its prefix. */
  status: string;
  /** The run of an execution. */
  runId: string | null;
  timeChanged: Date;
}

/** Most changes that are read at once. Somebody who missed more must load everything again. */
export const MOST_CHANGES = 1000;

interface ChangeRow {
  id: string;
  kind: string;
  status: string;
  run_id: string | null;
  time_changed: Date;
}

const SOURCES = {
  runs: {
    id: sql`r.id`,
    time: sql`r.time_changed`,
    query: sql`select r.id, '' as kind, ${runStatus} as status, null::uuid as run_id, r.time_changed from runs r`,
  },
  executions: {
    id: sql`e.id`,
    time: sql`e.time_changed`,
    query: sql`select e.id, '' as kind, e.status, e.run_id, e.time_changed from executions e`,
  },
  verifications: {
    id: sql`v.resource_id`,
    time: sql`v.time_completed`,
    query: sql`
      select v.resource_id as id, v.kind, v.status, null::uuid as run_id, v.time_completed as time_changed
      from verifications v`,
  },
} as const;

const toChange = (topic: ChangeTopic, row: ChangeRow): Change => ({
  topic,
  id: row.id,
  kind: row.kind,
  status: row.status,
  runId: row.run_id,
  timeChanged: row.time_changed,
});

/** These objects as they are now. Those that do not exist are missing. */
export async function loadChanged(db: Db, topic: ChangeTopic, ids: readonly string[]): Promise<Change[]> {
  const { id, query } = SOURCES[topic];
  const { rows } = await sql<ChangeRow>`${query} where ${id} = any(${[...ids]}::uuid[])`.execute(db);
  return rows.map((row) => toChange(topic, row));
}

/** What has changed since a time, oldest first; at most {@link MOST_CHANGES} and one. */
export async function listChangedSince(db: Db, topic: ChangeTopic, since: Date): Promise<Change[]> {
  const { time, query } = SOURCES[topic];
  const { rows } = await sql<ChangeRow>`
    ${query} where ${time} > ${since} order by ${time} limit ${MOST_CHANGES + 1}`.execute(db);
  return rows.map((row) => toChange(topic, row));
}

/** The time of the database's clock, by which changes have their times. */
export async function readClock(db: Db): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
  return rows[0]!.now;
}
