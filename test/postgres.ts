import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { type Db, openDatabase } from '../store/database.js';
import { databaseUrl, TEMPLATE } from './sharedPostgres.js';

/** The database of one test file, with all tables. */
export interface TestPostgres {
  url: string;
  db: Db;
  stop: () => Promise<void>;
}

async function onSharedServer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

/** A database of its own on the server that all test files share. @returns its address. */
async function createTestDatabase(): Promise<string> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await onSharedServer(`create database ${name} template ${TEMPLATE}`);
  return databaseUrl(inject('postgresUrl'), name);
}

/** Creates and opens a database for one test file on the server that all test files share. */
export async function startTestPostgres(options: { maxConnections?: number } = {}): Promise<TestPostgres> {
  const url = await createTestDatabase();
  const db = openDatabase(url, options.maxConnections ?? 10);
  return { url, db, stop: () => db.destroy() };
}
