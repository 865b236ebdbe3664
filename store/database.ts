import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { checkServerIdentity, type ConnectionOptions } from 'node:tls';
import { Kysely, type Migration, type MigrationProvider, Migrator, PostgresDialect, type Transaction } from 'kysely';
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
 * Whether a text has the form of an id. PostgreSQL rejects a query with any other text, where "not found" is the
 * answer.
 */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);
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
 * @param statementSeconds after how many seconds PostgreSQL ends a statement; 0 for no limit
 */
export function openDatabase(url: string, maxConnections = 10, statementSeconds = 0): Db {
  const pool = new pg.Pool({
    ...toConnectionConfig(url),
    max: maxConnections,
    ...(statementSeconds > 0 && { statement_timeout: statementSeconds * 1000 }),
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
  });
  // The pool replaces an idle connection that breaks (a restarted server). Without a listener the error would end the
  // process.
  pool.on('error', () => undefined);
  // Between two queries of a transaction the pool does not listen. The next query on the connection fails.
  pool.on('connect', (client) => void client.on('error', () => undefined));
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
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
  }),
};

/**
 * Brings the tables up to date. Kysely's lock lets only one process do it at a time. The others wait and find nothing
 * to do.
 * @returns the names of the migrations that ran
 */
export async function migrate(db: Db): Promise<string[]> {
  const { error, results } = await new Migrator({ db, provider: migrations }).migrateToLatest();
  if (error !== undefined) throw error instanceof Error ? error : new Error(JSON.stringify(error));
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName);
}

/** Whether every migration that this build knows has run. */
export async function isMigrated(db: Db): Promise<boolean> {
  const all = await new Migrator({ db, provider: migrations }).getMigrations();
  return all.every((migration) => migration.executedAt !== undefined);
}
