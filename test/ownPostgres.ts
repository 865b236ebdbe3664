import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createGuardian } from '../local/guardian.js';
import { startPostgres } from '../local/postgres.js';
import { migrate, openDatabase } from '../store/database.js';
import type { TestPostgres } from './postgres.js';

/** Starts a PostgreSQL of its own for a test that disturbs its server. `kill` ends it at once, like a crash. */
export async function startOwnPostgres(): Promise<Pick<TestPostgres, 'url' | 'db' | 'stop'> & { kill: () => void }> {
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'polony-test-'));
  const guardian = await createGuardian(stateDir);
  const server = await startPostgres({ guardian, stateDir, durable: false });
  const db = openDatabase(server.url, 10);
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
