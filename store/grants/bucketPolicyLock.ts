import { sql } from 'kysely';
import type { Db } from '../database.js';

/**
 * Holds a lock on a bucket's policy while work is done. Workflows change a policy one after another, but an activity
 * whose worker was thought dead, or whose workflow was terminated, may still be under way. The lock ends with its
 * connection.
 * @param work gets the connection that holds the lock.
 * @returns what the work returned; undefined where another holder has the lock, so that nothing was done.
 */
export async function withBucketPolicyLock<T>(
  db: Db,
  bucket: string,
  work: (connection: Db) => Promise<T>,
): Promise<{ result: T } | undefined> {
  const key = `bucket-policy/${bucket}`;
  return db.connection().execute(async (connection) => {
    const { rows } = await sql<{
      acquired: boolean;
    }>`select pg_try_advisory_lock(hashtextextended(${key}, 0)) as acquired`.execute(connection);
    if (rows[0]?.acquired !== true) return undefined;
    try {
      return { result: await work(connection) };
    } finally {
      await sql`select pg_advisory_unlock(hashtextextended(${key}, 0))`.execute(connection).catch(() => undefined);
    }
  });
}
