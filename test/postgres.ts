import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { type Db, openDatabase } from '../store/database.js';
import { databaseUrl, TEMPLATE } from './sharedPostgres.js';

/** The database of one test file, with all tables. */
export interface TestPostgres {
  /** As the role of the API and the worker. */
  url: string;
  db: Db;
  /** As the role that owns the tables. */
  ownerUrl: string;
  /** Executes statements that the role of the API and the worker must not execute. */
  asOwner: <T>(work: (db: Db) => Promise<T>) => Promise<T>;
  stop: () => Promise<void>;
}

/** Executes a statement as the owner of the server that all test files share. */
export async function onSharedServer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

/**
 * A database of its own on the server that all test files share. No test connects to the template: PostgreSQL copies none
 * that somebody else is connected to.
 * @returns its name.
 */
export async function createTestDatabase(): Promise<string> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await onSharedServer(`create database ${name} template ${TEMPLATE}`);
  return name;
}

/** Creates and opens a database for one test file on the server that all test files share. */
export async function startTestPostgres(options: { maxConnections?: number } = {}): Promise<TestPostgres> {
  const name = await createTestDatabase();
  const [url, ownerUrl] = [inject('postgresRuntimeUrl'), inject('postgresUrl')].map((each) => databaseUrl(each, name));
  const db = openDatabase(url!, options.maxConnections ?? 10);
  const asOwner = async <T>(work: (db: Db) => Promise<T>): Promise<T> => {
    const owner = openDatabase(ownerUrl!, 1);
    return work(owner).finally(() => owner.destroy());
  };
  return { url: url!, db, ownerUrl: ownerUrl!, asOwner, stop: () => db.destroy() };
}
