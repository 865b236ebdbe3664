import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db } from '../database.js';

const KEY = 'reconcile';
const PAUSE_MS = 500;
/** NAT gateways and load balancers close idle connections after some minutes. The lock would end with its connection. */
const KEEP_ALIVE_MS = 30_000;

/** `polony reconcile` cannot begin: another one, or a sweep, is at work. The message says what to do. */
export class ReconcileBusyError extends Error {
  override readonly name = 'ReconcileBusyError';
}

/**
 * Keeps sweeps and other reconciliations away while work is done. The lock belongs to one connection, so it ends with
 * this process, however that ends. Taking it changes no data.
 * @param waitMs how long to wait for a sweep that is under way
 * @param work gets a signal that aborts when the lock is lost. It must change nothing after that.
 * @throws ReconcileBusyError where somebody else still holds the lock then; an error where the lock is lost
 */
export async function withReconcileLock<T>(
  db: Db,
  waitMs: number,
  work: (lost: AbortSignal) => Promise<T>,
): Promise<T> {
  return db.connection().execute(async (connection) => {
    for (const end = Date.now() + waitMs; ;) {
      const { rows } = await sql<{
        acquired: boolean;
      }>`select pg_try_advisory_lock(hashtextextended(${KEY}, 0)) as acquired`.execute(connection);
      if (rows[0]?.acquired === true) break;
      if (Date.now() >= end)
        throw new ReconcileBusyError(
          'Another `polony reconcile`, or a sweep of a worker, is at work and has not ended within ' +
            `${Math.round(waitMs / 1000)} s. Wait for it, or stop the workers, and run the command again`,
        );
      await delay(PAUSE_MS);
    }
    try {
      return await whileAlive(connection, work);
    } finally {
      await sql`select pg_advisory_unlock(hashtextextended(${KEY}, 0))`.execute(connection).catch(() => undefined);
    }
  });
}

/**
 * Does the work of a sweep, unless `polony reconcile` is at work. Several sweeps may work at once.
 * @param work gets a signal that aborts when the lock is lost. It must change nothing after that.
 * @returns undefined where nothing was done
 * @throws an error where the lock is lost
 */
export async function unlessReconciling<T>(db: Db, work: (lost: AbortSignal) => Promise<T>): Promise<T | undefined> {
  return db.connection().execute(async (connection) => {
    const { rows } = await sql<{
      acquired: boolean;
    }>`select pg_try_advisory_lock_shared(hashtextextended(${KEY}, 0)) as acquired`.execute(connection);
    if (rows[0]?.acquired !== true) return undefined;
    try {
      return await whileAlive(connection, work);
    } finally {
      await sql`select pg_advisory_unlock_shared(hashtextextended(${KEY}, 0))`
        .execute(connection)
        .catch(() => undefined);
    }
  });
}

/** Does work for as long as the connection that holds its lock answers, and keeps that connection from being idle. */
async function whileAlive<T>(connection: Db, work: (lost: AbortSignal) => Promise<T>): Promise<T> {
  const lost = new AbortController();
  const keepAlive = setInterval(
    () =>
      void sql`select 1`.execute(connection).catch((error: unknown) => {
        const message =
          'The connection to PostgreSQL that holds the lock of sweeps and of polony reconcile was lost. Try again';
        lost.abort(new Error(message, { cause: error }));
      }),
    KEEP_ALIVE_MS,
  );
  const { signal } = lost;
  try {
    const gone = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return await Promise.race([work(signal), gone]);
  } finally {
    clearInterval(keepAlive);
  }
}
