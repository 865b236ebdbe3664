import { sql } from 'kysely';
import pg from 'pg';
import { type DbOrTransaction, sanitizeText, toConnectionConfig, untilClosed, untilSilent } from './database.js';

/** On this channel, {@link wakeWatcher} names the execution whose HealthOmics run has changed. */
export const WAKE_CHANNEL = 'polony_wake';

/** A HealthOmics run, named by an event. */
export interface EventRun {
  account: string;
  region: string;
  runId: string;
  uuid?: string;
}

/**
 * Wakes the worker that watches a HealthOmics run, so that it checks the run now. Nothing happens for other runs.
 * @returns whether an open execution has this run
 */
export async function wakeWatcher(db: DbOrTransaction, { account, region, runId, uuid }: EventRun): Promise<boolean> {
  const row = await db
    .selectFrom('executions as e')
    .innerJoin('compute_connections as c', 'c.id', 'e.compute_connection_id')
    .innerJoin('providers as p', 'p.id', 'c.provider_id')
    .select(['e.id', 'e.healthomics_run_uuid'])
    .where('e.healthomics_run_id', '=', sanitizeText(runId))
    .where('c.region', '=', sanitizeText(region))
    .where('p.account_id', '=', sanitizeText(account))
    .where('e.status', 'in', ['PENDING', 'RUNNING'])
    .executeTakeFirst();
  // HealthOmics reuses the ids of deleted runs; the uuid is unique.
  if (
    row === undefined ||
    (uuid !== undefined && row.healthomics_run_uuid !== null && row.healthomics_run_uuid !== uuid)
  )
    return false;
  await sql`select pg_notify(${WAKE_CHANNEL}, ${row.id})`.execute(db);
  return true;
}

/**
 * Listens for {@link wakeWatcher} and on other channels. The next poll or sweep finds what was missed while the
 * connection was broken.
 * @param others the handler of each other channel
 * @returns a function that stops listening
 */
export function listenForWakes(
  url: string,
  wake: (executionId: string) => void,
  others: Readonly<Record<string, (payload: string) => void>> = {},
): () => Promise<void> {
  return listen(url, { [WAKE_CHANNEL]: wake, ...others });
}

/**
 * Listens for notifications on a connection of its own, and connects again when that breaks.
 * @param handlers the handler of each channel, called with the payload. Channels are PostgreSQL identifiers.
 * @param connected called each time that listening begins. Notifications before that were missed.
 * @returns a function that stops listening
 */
export function listen(
  url: string,
  handlers: Readonly<Record<string, (payload: string) => void>>,
  connected: () => void = () => undefined,
): () => Promise<void> {
  const config = toConnectionConfig(url);
  const statement = Object.keys(handlers)
    .map((channel) => `listen ${channel}`)
    .join('; ');
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let checking: NodeJS.Timeout | undefined;
  const connect = (): void => {
    const own = new pg.Client({ ...config, connectionTimeoutMillis: 10_000, keepAlive: true });
    client = own;
    const reconnectLater = (): void => {
      // A connection that breaks may say so several times.
      if (closed || own !== client) return;
      client = undefined;
      clearInterval(checking);
      // It is still open where only the statement failed, as on a standby.
      own.end().catch(() => undefined);
      timer = setTimeout(connect, 2000).unref();
    };
    own.on('notification', ({ channel, payload }) => handlers[channel]?.(payload ?? ''));
    own.on('error', reconnectLater);
    own.on('end', reconnectLater);
    own
      .connect()
      .then(() => untilSilent(own, own.query(statement), CHECK_ANSWER_MS))
      .then(() => {
        if (closed || own !== client) return;
        checking = setInterval(() => checkAlive(own), CHECK_MS).unref();
        connected();
      })
      .catch(reconnectLater);
  };
  connect();
  return async () => {
    closed = true;
    clearTimeout(timer);
    clearInterval(checking);
    if (client !== undefined) await untilClosed(client.end());
  };
}

/** How often to check that the connection that listens still is one, and how long the answer may take. */
const CHECK_MS = 30_000;
const CHECK_ANSWER_MS = 10_000;

/** Breaks a connection whose other end is gone. Nothing else would show it: who listens waits for hours and sends nothing. */
function checkAlive(client: pg.Client): void {
  untilSilent(client, client.query('select 1'), CHECK_ANSWER_MS).catch(() => undefined);
}

/** The channel on which a trigger announces each visible change of an execution, with its id. */
export const EXECUTIONS_CHANNEL = 'polony_executions';

/** The source of an event: a bucket, or HealthOmics in an account and region. */
export type EventSource = `s3/${string}` | `omics/${string}`;

/** For how long a genuine event shows that events arrive. */
const ARRIVING_HOURS = 24;

/** Records a genuine event: AWS confirmed it. Forged events never count, so they cannot make polls rare. */
export async function recordGenuineEvent(db: DbOrTransaction, source: EventSource): Promise<void> {
  await db
    .insertInto('event_sources')
    .values({ source, time_genuine: new Date() })
    // Once a minute is enough.
    .onConflict((conflict) =>
      conflict
        .column('source')
        .doUpdateSet({ time_genuine: new Date() })
        .where('event_sources.time_genuine', '<', new Date(Date.now() - 60_000)),
    )
    .execute();
}

/** Whether events of a source arrive. Then polls are only a safety net. */
export async function hasRecentEvents(db: DbOrTransaction, source: EventSource): Promise<boolean> {
  const row = await db
    .selectFrom('event_sources')
    .select('source')
    .where('source', '=', source)
    .where('time_genuine', '>', new Date(Date.now() - ARRIVING_HOURS * 3_600_000))
    .executeTakeFirst();
  return row !== undefined;
}

/**
 * The channel on which triggers announce each visible change of a run, an execution or a verification: `<table>:<id>`.
 */
export const CHANGES_CHANNEL = 'polony_changes';
