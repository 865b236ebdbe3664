import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { checkServerIdentity, type ConnectionOptions } from 'node:tls';
import {
  Kysely,
  type Migration,
  type MigrationProvider,
  Migrator,
  PostgresDialect,
  sql,
  type Transaction,
} from 'kysely';
import pg from 'pg';
import { v7 } from 'uuid';
import * as first from './migrations/0001_first.js';
import * as startRequest from './migrations/0002_start_request.js';
import * as credentials from './migrations/0003_credentials.js';
import * as executions from './migrations/0004_executions.js';
import * as uploads from './migrations/0005_uploads.js';
import * as webhooks from './migrations/0006_webhooks.js';
import * as access from './migrations/0007_access.js';
import * as sharing from './migrations/0011_sharing.js';
import * as metrics from './migrations/0009_metrics.js';
import * as instrumentMetrics from './migrations/0012_instrument_metrics.js';
import * as runMetadata from './migrations/0016_run_metadata.js';
import * as executionFeed from './migrations/0010_execution_feed.js';
import * as verifiedFolders from './migrations/0013_verified_folders.js';
import * as stoppedRuns from './migrations/0014_stopped_runs.js';
import * as auditChain from './migrations/0017_audit_chain.js';
import * as keyActors from './migrations/0020_key_actors.js';
import * as executionActors from './migrations/0021_execution_actors.js';
import * as startQueueSince from './migrations/0022_start_queue_since.js';
import * as startClaims from './migrations/0023_start_claims.js';
import * as sessions from './migrations/0024_sessions.js';
import * as sorting from './migrations/0025_sorting.js';
import * as runsOfInstrument from './migrations/0026_runs_of_instrument.js';
import * as runCounts from './migrations/0027_run_counts.js';
import * as leases from './migrations/0028_leases.js';
import * as filters from './migrations/0029_filters.js';
import * as openRoles from './migrations/0019_open_roles.js';
import type { Database } from './schema.js';

export type Db = Kysely<Database>;
export type DbTransaction = Transaction<Database>;
/** Queries run on a connection of the pool or in a transaction. */
export type DbOrTransaction = Db | DbTransaction;

/**
 * A new id, a UUID of version 7. Such ids sort by the time of their creation, so a page of a list can continue after
 * an id.
 */
export function newId(): string {
  return v7();
}

/**
 * A query that is the beginning of others. It is built once for each database: to build one with many columns takes as
 * long as to find a row.
 */
export function builtOnce<Query>(build: (db: DbOrTransaction) => Query): (db: DbOrTransaction) => Query {
  const built = new WeakMap<DbOrTransaction, Query>();
  return (db) => {
    let query = built.get(db);
    if (query === undefined) built.set(db, (query = build(db)));
    return query;
  };
}

/**
 * Whether a text has the form of an id. PostgreSQL rejects a query with any other text, where "not found" is the
 * answer.
 */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);
}

/**
 * Whether a text is written as polony writes ids. PostgreSQL finds an id in any case, but keys in a bucket and the ids of
 * workflows with other letters are those of something else. So use this for texts that others can write.
 */
export function isOwnId(text: string): boolean {
  return isId(text) && text === text.toLowerCase();
}

/**
 * A text that PostgreSQL accepts: without NUL characters and unpaired surrogates, which files and messages from
 * outside may contain.
 */
export function sanitizeText(text: string): string {
  return text.replaceAll('\0', '').replace(/\p{Cs}/gu, '\uFFFD');
}

/** A value as JSON that PostgreSQL accepts as `jsonb`; see {@link sanitizeText}. */
export function sanitizeJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) => (typeof member === 'string' ? sanitizeText(member) : member));
}

/**
 * How to connect to a database. `sslmode` in the address turns TLS on, and `sslrootcert` names a file with the
 * certificates to trust. The certificate and its name are always checked, except with `disable` and `no-verify`.
 * @param url `postgres://user:password@host:port/database`
 * @throws Error where the file cannot be read
 */
export function toConnectionConfig(url: string): pg.ClientConfig {
  const address = new URL(url);
  const mode = address.searchParams.get('sslmode');
  const caFile = address.searchParams.get('sslrootcert');
  if (mode === 'disable' || mode === 'no-verify' || (mode === null && caFile === null))
    return { connectionString: url };
  // The driver would prefer what the address says to `ssl`.
  for (const name of ['sslmode', 'sslrootcert']) address.searchParams.delete(name);
  const host = address.hostname.replace(/^\[|\]$/g, '');
  const ssl: ConnectionOptions = {
    ...(caFile !== null && { ca: readFileSync(caFile, 'utf8') }),
    // The driver tells Node.js the name of the server, but not its address.
    ...(isIP(host) !== 0 && { checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate) }),
  };
  return { connectionString: address.href, ssl };
}

/**
 * Opens the database. The pool connects when a query needs a connection.
 * @param url `postgres://user:password@host:port/database`; see {@link toConnectionConfig}
 * @param maxConnections size of the pool of this process
 * @param statementSeconds after how many seconds PostgreSQL ends a statement; 0 for no limit. A connection on which no
 * answer comes for so long and ten seconds more is given up: nothing says that a database has failed over, or that a
 * firewall has forgotten the connection.
 * @param isReadOnly whether PostgreSQL rejects every change
 * @param patience how long a query waits for a connection, and an answer after PostgreSQL should have ended the statement
 */
export function openDatabase(
  url: string,
  maxConnections = 10,
  statementSeconds = 0,
  isReadOnly = false,
  patience: Patience = PATIENCE,
): Db {
  const pool = new pg.Pool({
    ...toConnectionConfig(url),
    max: maxConnections,
    ...(statementSeconds > 0 && { statement_timeout: statementSeconds * 1000 }),
    connectionTimeoutMillis: patience.connectMs,
    idleTimeoutMillis: 30_000,
    // Finds a server that is gone while a query waits for its answer.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  // The pool replaces an idle connection that breaks (a restarted server). Without a listener the error would end the
  // process.
  pool.on('error', () => undefined);
  // Between two queries of a transaction the pool does not listen. The next query on the connection fails.
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
    if (statementSeconds > 0) limitSilence(client, statementSeconds * 1000 + patience.silenceMs);
    // Before the first query of the pool's user. A pooler in between may not pass a startup option on.
    if (isReadOnly) client.query('set default_transaction_read_only = on').catch(() => undefined);
    else if (statementSeconds > 0) limitServer(client, statementSeconds).catch(() => undefined);
  });
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/** Limits in milliseconds; see {@link openDatabase}. */
interface Patience {
  connectMs: number;
  silenceMs: number;
}
const PATIENCE: Patience = { connectMs: 10_000, silenceMs: 10_000 };

/** Gives a connection up when a statement is not answered in time. The pool opens another one instead. */
function limitSilence(client: pg.ClientBase, milliseconds: number): void {
  const query = client.query.bind(client) as (...of: unknown[]) => unknown;
  const limited = (...of: unknown[]): unknown => {
    const answer = query(...of);
    return answer instanceof Promise ? untilSilent(client, answer, milliseconds) : answer;
  };
  client.query = limited as typeof client.query;
}

/**
 * Has PostgreSQL end a statement that takes long, or whose client has given the connection up. Otherwise statements that
 * wait for a lock would stay, beside those of the new connections. PostgreSQL looks for its client since version 14.
 */
async function limitServer(client: pg.ClientBase, statementSeconds: number): Promise<void> {
  await client.query(
    `select set_config(wanted.name, wanted.value, false)
     from (values ('statement_timeout', $1), ('client_connection_check_interval', $2)) as wanted(name, value)
     where wanted.name in (select name from pg_settings)`,
    [String(statementSeconds * 1000), String(PATIENCE.silenceMs)],
  );
}

/**
 * Waits for the answer to a statement. If none comes in time, the connection breaks, and the statement fails with it.
 * The driver's own limit (`query_timeout`) fails the statement only: the next one would wait on the same connection.
 */
export async function untilSilent<T>(client: pg.ClientBase, answer: Promise<T>, milliseconds: number): Promise<T> {
  const { stream } = (client as unknown as { connection: { stream: Duplex } }).connection;
  let isAnswered = false;
  const giveUp = (): void => {
    if (isAnswered) return;
    const message = `PostgreSQL did not answer within ${milliseconds / 1000} s, so the connection was given up`;
    stream.destroy(Object.assign(new Error(message), { code: 'ETIMEDOUT' }));
  };
  // A process that stood still reads an answer that has arrived meanwhile first.
  const timer = setTimeout(() => setImmediate(giveUp), milliseconds);
  try {
    return await answer;
  } finally {
    isAnswered = true;
    clearTimeout(timer);
  }
}

/** How long the end of a process waits for its connections to close, in milliseconds. */
const CLOSE_MS = 2000;

/**
 * Closes the connections of a process that ends. It does not wait long for a database that does not answer: the end of
 * the process closes them too.
 */
export function closeDatabase(db: Db): Promise<void> {
  return untilClosed(db.destroy());
}

/** Waits until something is closed, for two seconds at most. */
export async function untilClosed(closing: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_MS)));
  await Promise.race([closing.catch(() => undefined), late]);
  clearTimeout(timer);
}

/** Host, port and name of a database, for messages: without user and password. */
export function describeAddress(url: string): string {
  const { host, pathname } = new URL(url);
  return `${host === '' ? 'localhost' : host}${pathname}`;
}

const migrations: MigrationProvider = {
  getMigrations: async (): Promise<Record<string, Migration>> => ({
    '0001_first': first,
    '0002_start_request': startRequest,
    '0003_credentials': credentials,
    '0004_executions': executions,
    '0005_uploads': uploads,
    '0006_webhooks': webhooks,
    '0007_access': access,
    '0009_metrics': metrics,
    '0010_execution_feed': executionFeed,
    '0011_sharing': sharing,
    '0012_instrument_metrics': instrumentMetrics,
    '0013_verified_folders': verifiedFolders,
    '0016_run_metadata': runMetadata,
    '0014_stopped_runs': stoppedRuns,
    '0017_audit_chain': auditChain,
    '0019_open_roles': openRoles,
    '0020_key_actors': keyActors,
    '0021_execution_actors': executionActors,
    '0022_start_queue_since': startQueueSince,
    '0023_start_claims': startClaims,
    '0024_sessions': sessions,
    '0025_sorting': sorting,
    '0026_runs_of_instrument': runsOfInstrument,
    '0027_run_counts': runCounts,
    '0028_leases': leases,
    '0029_filters': filters,
  }),
};

/**
 * Brings the tables up to date. Kysely's lock lets only one process do it at a time. The others wait and find nothing
 * to do. Tables of a newer version stay as they are: going back to this version needs no other ones.
 * @returns the names of the migrations that ran
 */
export async function migrate(db: Db): Promise<string[]> {
  const { known, applied } = await listMigrations(db);
  // Kysely would refuse a migration that it does not know.
  if (applied.length > known.length && known.every((name) => applied.includes(name))) return [];
  const { error, results } = await new Migrator({ db, provider: migrations }).migrateToLatest();
  if (error !== undefined) throw error instanceof Error ? error : new Error(JSON.stringify(error));
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName);
}

/** Whether every migration that this build knows has run. */
export async function isMigrated(db: Db): Promise<boolean> {
  const all = await new Migrator({ db, provider: migrations }).getMigrations();
  return all.every((migration) => migration.executedAt !== undefined);
}

/** The migrations that this build knows, and those that the database has, by name. */
export async function listMigrations(db: Db): Promise<{ known: string[]; applied: string[] }> {
  const known = Object.keys(await migrations.getMigrations());
  const { rows: tables } =
    await sql`select to_regclass('kysely_migration') as name where to_regclass('kysely_migration')
    is not null`.execute(db);
  if (tables.length === 0) return { known, applied: [] };
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  return { known, applied: rows.map(({ name }) => name) };
}
