import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import pRetry from 'p-retry';
import { CliError, EXIT } from '../exit.js';

/** Transfers that keep notes between two attempts. */
export type TransferKind = 'uploads' | 'downloads';

/**
 * Path of a file in the user's cache where a transfer keeps its notes between two attempts. Only the user can read the
 * folder.
 * @param identity what makes this transfer different from every other one
 */
export async function transferFile(kind: TransferKind, identity: string, extension: string): Promise<string> {
  const folder = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'polony', kind);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return path.join(folder, `${createHash('sha256').update(identity).digest('hex').slice(0, 32)}.${extension}`);
}

/**
 * Keeps other processes of this user from the same transfer: two processes that write the same file would mix their
 * content. Without a writable cache folder, the transfer runs without a lock.
 * @param activity what the holder does, for the error message, such as `uploads <folder>`
 * @returns a function that releases the lock
 * @throws CliError `conflict` when another process holds the lock
 */
export async function acquireLock(kind: TransferKind, identity: string, activity: string): Promise<() => void> {
  const { tryLock } = await import('../../../local/stackFiles.js');
  let lock: ReturnType<typeof tryLock>;
  try {
    lock = tryLock(await transferFile(kind, identity, 'lock'));
  } catch {
    return () => undefined;
  }
  if ('holder' in lock) {
    throw new CliError(
      `Process ${lock.holder.pid} already ${activity}; wait until it ends, or end it, then run the command again`,
      EXIT.conflict,
    );
  }
  return lock.release;
}

/**
 * Retries a call to the API for about a minute while the API is unavailable: a transfer takes hours, and an upgrade of
 * the API must not end it.
 * @throws CliError of the last attempt, or the abort reason of the signal
 */
export async function retryWhileUnavailable<T>(call: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return pRetry(call, {
    retries: 7,
    minTimeout: 500,
    factor: 2,
    maxTimeout: 30_000,
    signal,
    shouldRetry: ({ error }) => error instanceof CliError && error.exit === EXIT.unavailable,
  });
}
