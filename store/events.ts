import { sql } from 'kysely';
import pg from 'pg';
import { type DbOrTransaction, sanitizeText } from './database.js';

const CHANNEL = 'polony_wake';

/** A HealthOmics run as an event names it. */
export interface EventRun {
  account: string;
  region: string;
  runId: string;
  uuid?: string;
}

/**
 * Has the worker that watches a HealthOmics run look at it now. Nothing happens for runs that are not watched.
 * @returns whether there is an execution under way with this run.
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
  // Run ids are used again after deletion.
  if (
    row === undefined ||
    (uuid !== undefined && row.healthomics_run_uuid !== null && row.healthomics_run_uuid !== uuid)
  )
    return false;
  await sql`select pg_notify(${CHANNEL}, ${row.id})`.execute(db);
  return true;
}

/**
 * Listens for {@link wakeWatcher} and on other channels. What is missed while the connection is away is found by the next poll or sweep.
 * @param others what to call for each other channel
 * @returns ends the listening.
 */
export function listenForWakes(
  url: string,
  wake: (executionId: string) => void,
  others: Readonly<Record<string, () => void>> = {},
): () => Promise<void> {
  return listen(url, { [CHANNEL]: wake, ...others });
}

/**
 * Listens for notifications, on a connection of its own, and connects again when that breaks.
 * @param handlers what to call for each channel, with what was said; channels are identifiers of PostgreSQL.
 * @param connected called when it listens, the first time and again: what was said before was missed.
 * @returns ends the listening.
 */
export function listen(
  url: string,
  handlers: Readonly<Record<string, (payload: string) => void>>,
  connected: () => void = () => undefined,
): () => Promise<void> {
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  const again = (): void => {
    if (closed || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      connect();
    }, 2000);
    timer.unref();
  };
  const connect = (): void => {
    const own = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, keepAlive: true });
    client = own;
    own.on('notification', ({ channel, payload }) => handlers[channel]?.(payload ?? ''));
    own.on('error', again);
    own.on('end', again);
    own.connect().then(
      () =>
        own
          .query(
            Object.keys(handlers)
              .map((channel) => `listen ${channel}`)
              .join('; '),
          )
          .then(connected, again),
      () => again(),
    );
  };
  connect();
  return async () => {
    closed = true;
    clearTimeout(timer);
    await client?.end().catch(() => undefined);
  };
}

/** Where each change of an execution that shows is told, with its id, by a trigger. */
export const EXECUTIONS_CHANNEL = 'polony_executions';

/** Where events come from: a bucket, or HealthOmics in an account and region. */
export type EventSource = `s3/${string}` | `omics/${string}`;

/** How long events that were true are taken as a sign that more will come. */
const ARRIVING_HOURS = 24;

/** Notes that an event was found to be true by asking AWS. Forged ones never get here, so they cannot make polls rare. */
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

/** Whether events of a source arrive, so that polls are a safety net only. */
export async function hasRecentEvents(db: DbOrTransaction, source: EventSource): Promise<boolean> {
  const row = await db
    .selectFrom('event_sources')
    .select('source')
    .where('source', '=', source)
    .where('time_genuine', '>', new Date(Date.now() - ARRIVING_HOURS * 3_600_000))
    .executeTakeFirst();
  return row !== undefined;
}
