import pg from 'pg';
import type { Stack } from '../local/stack.js';
import { waitFor } from './support.js';

type Row = Record<string, unknown>;

async function onDatabase<T>(connectionString: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Runs a statement on the database of a stack. */
export async function queryDatabase(stack: Stack, text: string, values: unknown[] = []): Promise<Row[]> {
  return onDatabase(stack.info.databaseUrl, async (client) => (await client.query<Row>(text, values)).rows);
}

/** Has the database of a stack forget StartRun of executions, as a dump from before it. Stop the worker meanwhile. */
export async function forgetStartRun(stack: Stack, ...ids: string[]): Promise<void> {
  await queryDatabase(
    stack,
    `update executions set status = 'INITIALIZED', start_state = 'none', start_request = null, summary = null,
       healthomics_run_id = null, healthomics_run_uuid = null, healthomics_run_arn = null, healthomics_status = null,
       run_output_uri = null, time_completed = null
     where id = any($1)`,
    [ids],
  );
}

/** Dumps and restores the database of a stack as a whole, as `pg_dump` and `pg_restore` do. */
export function databaseCopies(stack: Stack) {
  const url = new URL(stack.info.databaseUrl);
  const name = url.pathname.slice(1);
  url.pathname = '/postgres';
  /** Runs statements on another database of the stack's server, so that the stack's own one is not in use. */
  const onServer = (...statements: string[]): Promise<void> =>
    onDatabase(url.href, async (client) => {
      for (const statement of statements) await client.query(statement);
    });
  /** The users of the database may reconnect at any moment, so that the server rejects the copy some times. */
  const copy = (from: string, to: string): Promise<true> =>
    waitFor(`a copy of the database ${from}`, async () => {
      try {
        await onServer(
          `drop database if exists "${to}" with (force)`,
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${from}'`,
          `create database "${to}" template "${from}"`,
        );
        return true as const;
      } catch (error) {
        if (/being accessed by other users|does not exist/.test(String(error))) return undefined;
        throw error;
      }
    });
  return {
    takeDump: () => copy(name, 'dump'),
    restoreDump: () => copy('dump', name),
    /** Replaces the database by an empty one, without tables. */
    empty: () => onServer(`drop database "${name}" with (force)`, `create database "${name}"`),
  };
}
