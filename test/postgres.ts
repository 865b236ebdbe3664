import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createGuardian } from '../local/guardian.js';
import { startPostgres } from '../local/postgres.js';
import { type Db, migrate, openDatabase } from '../store/database.js';

/** A real PostgreSQL of one test file. */
export interface TestPostgres {
  url: string;
  db: Db;
  /** Ends the server's process at once, as a crash does. */
  kill: () => void;
  stop: () => Promise<void>;
}

/** Starts a PostgreSQL of its own with the tables in it, in a temporary folder. */
export async function startTestPostgres(options: { maxConnections?: number } = {}): Promise<TestPostgres> {
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'polony-test-'));
  const guardian = await createGuardian(stateDir);
  const server = await startPostgres({ guardian, stateDir, durable: false });
  const db = openDatabase(server.url, options.maxConnections ?? 10);
  await migrate(db);
  return {
    url: server.url,
    db,
    kill: () => process.kill(server.pid, 'SIGQUIT'),
    stop: async () => {
      await db.destroy();
      await guardian.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}
