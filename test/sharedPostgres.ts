import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';
import { createGuardian } from '../local/guardian.js';
import { startPostgres } from '../local/postgres.js';
import { migrate, openDatabase } from '../store/database.js';
import { grantRuntimeRole } from '../store/runtimeRole.js';

/** Name of the template from which the databases of the test files are created. */
export const TEMPLATE = 'polony_template';

/** The address of another database on the same server. */
export function databaseUrl(url: string, database: string): string {
  return Object.assign(new URL(url), { pathname: `/${database}` }).toString();
}

declare module 'vitest' {
  export interface ProvidedContext {
    /** Address of the PostgreSQL server that all test files share. Each has a database of its own there. */
    postgresUrl: string;
    /** The same, as the role of the API and the worker. */
    postgresRuntimeUrl: string;
  }
}

/** Starts the server that all test files share. @returns a function that stops it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-shared-'));
  const guardian = await createGuardian(stateDir);
  const postgres = await startPostgres({ guardian, stateDir, durable: false });
  await postgres.createDatabase(TEMPLATE);
  const db = openDatabase(databaseUrl(postgres.url, TEMPLATE), 1);
  await migrate(db)
    .then(() => grantRuntimeRole(db, postgres.runtimeRole))
    .finally(() => db.destroy());
  project.provide('postgresUrl', postgres.url);
  project.provide('postgresRuntimeUrl', postgres.runtimeUrl);
  return async () => {
    await guardian.close();
    rmSync(stateDir, { recursive: true, force: true });
  };
}
