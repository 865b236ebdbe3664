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
import * as executionFeed from './migrations/0010_execution_feed.js';
import type { Database } from './schema.js';

export type Db = Kysely<Database>;
/** A connection or a transaction: queries take either. */
export type DbOrTransaction = Db | Transaction<Database>;
export type DbTransaction = Transaction<Database>;

/** A new id. Version 7: ids sort by the time they were made, so that a page of a list can go on behind an id. */
export function newId(): string {
  return v7();
}

/** Whether a text is an id of ours, to answer "not found" instead of asking PostgreSQL about something that is no UUID. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);
}

/** A text as PostgreSQL takes it: without the character NUL and halves of surrogate pairs, which files and messages from elsewhere may hold. */
export function sanitizeText(text: string): string {
  return text.replaceAll('\0', '').replace(/\p{Cs}/gu, '\uFFFD');
}
/** JSON as PostgreSQL's jsonb takes it. */
export function sanitizeJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) => (typeof member === 'string' ? sanitizeText(member) : member));
}

/**
 * Opens the store. Connections are made when they are needed.
 * @param url `postgres://user:password@host:port/database`
 * @param maxConnections the pool's size for this process.
 */
export function openDatabase(url: string, maxConnections = 10): Db {
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
  });
  // A connection that breaks while idle (a restarted server) is replaced by the pool; without a listener it would end the process.
  pool.on('error', () => undefined);
  // So would one that breaks between two queries of a transaction, when the pool does not listen: the next query on it fails.
  pool.on('connect', (client) => void client.on('error', () => undefined));
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
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
  }),
};

/**
 * Brings the tables up to date. Kysely's lock lets only one process do it at a time; the others wait and find nothing to do.
 * @returns the names of the migrations that were carried out.
 */
export async function migrate(db: Db): Promise<string[]> {
  const { error, results } = await new Migrator({ db, provider: migrations }).migrateToLatest();
  if (error !== undefined) throw error instanceof Error ? error : new Error(JSON.stringify(error));
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName);
}

/** Whether every migration that this build knows has been carried out. */
export async function isMigrated(db: Db): Promise<boolean> {
  const all = await new Migrator({ db, provider: migrations }).getMigrations();
  return all.every((migration) => migration.executedAt !== undefined);
}
