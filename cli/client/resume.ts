import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CliError, EXIT } from './exit.js';

/** A file for what a transfer keeps between two tries, in a folder for its owner only. */
export async function keptFile(kind: 'uploads' | 'downloads', identity: string, ending: string): Promise<string> {
  const folder = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'polony', kind);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return path.join(folder, `${createHash('sha256').update(identity).digest('hex').slice(0, 32)}.${ending}`);
}

/**
 * Keeps other processes of this person from the same transfer: two that write the same file would mix what they write.
 * @returns what ends it
 * @throws CliError where one is at it
 */
export async function acquireLock(kind: 'uploads' | 'downloads', identity: string, what: string): Promise<() => void> {
  const { tryLock } = await import('../../local/stackFiles.js');
  let taken: ReturnType<typeof tryLock>;
  try {
    taken = tryLock(await keptFile(kind, identity, 'lock'));
  } catch {
    // Where nothing can be kept, one goes on without.
    return () => undefined;
  }
  if ('holder' in taken)
    throw new CliError(`Process ${taken.holder.pid} ${what} already; wait for it, or end it`, EXIT.conflict);
  return taken.release;
}

/** Asks the API again where it is away for a minute: a transfer goes on for hours. */
export async function retryWhileUnavailable<T>(ask: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof CliError) || error.exit !== EXIT.unavailable || attempt === 8) throw error;
      await setTimeout(Math.min(30_000, 250 * 2 ** attempt), undefined, { signal }).catch(() =>
        signal?.throwIfAborted(),
      );
    }
  }
}
