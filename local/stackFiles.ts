import { randomUUID } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bootId, isSameProcess, processStart } from './guardian.js';

/** What `local.json` says of the running stack: everything that a person or a program needs to talk to it. */
export interface LocalInfo {
  apiUrl: string;
  apiKey: string;
  openapiUrl: string;
  temporalAddress: string;
  /** Empty when the Web UI is off or another's. */
  temporalUiUrl: string;
  namespace: string;
  awsEndpoint: string;
  awsRegion: string;
  adminAccessKeyId: string;
  adminSecretAccessKey: string;
  databaseUrl: string;
  /** Where the local HealthOmics is steered: faults, pace, runs. */
  omicsControlUrl?: string;
  /** Process ids by name. */
  pids: Record<string, number>;
  /** More may be added. */
  [extra: string]: unknown;
}

/** The state folder: `POLONY_HOME`, else `.polony/` in the current directory; absolute. It is not created here. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  return path.resolve(env.POLONY_HOME || '.polony');
}

/**
 * The folder for what is fetched once and shared by all state folders: `POLONY_CACHE`, else `.polony-cache/` beside the
 * project's package.json (found upwards from this file, so from `dist/` too); absolute. It is not created here.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.POLONY_CACHE) return path.resolve(env.POLONY_CACHE);
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const parent = path.dirname(folder);
    if (parent === folder) return path.resolve('.polony-cache');
    folder = parent;
  }
  return path.join(folder, '.polony-cache');
}

/** Creates the state folder, readable by its owner only, though others may pass through (PostgreSQL's user when we are root). */
function prepareStateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
}

/** Who holds a lock. */
export interface LockHolder {
  pid: number;
  start: string | null;
  boot: string | null;
  token: string;
}

/** Another live process holds the lock; the message names it. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
  constructor(
    message: string,
    readonly holder: LockHolder,
  ) {
    super(message);
  }
}

/**
 * Takes a lock file, or says who has it. A lock whose process has ended, or whose number now belongs to another process, is taken
 * over; of several that try at once exactly one succeeds.
 *
 * @returns `release` when taken, else `holder`.
 */
export function tryLock(lockFile: string): { release: () => void } | { holder: LockHolder } {
  mkdirSync(path.dirname(lockFile), { recursive: true });
  const mine: LockHolder = { pid: process.pid, start: processStart(process.pid), boot: bootId(), token: randomUUID() };
  const draft = `${lockFile}.${mine.token}`;
  writeFileSync(draft, JSON.stringify(mine), { mode: 0o600 });
  try {
    for (;;) {
      try {
        // A link appears whole or not at all: nobody ever reads a lock that is half written.
        linkSync(draft, lockFile);
        return {
          release: () => {
            if (readHolder(lockFile)?.token === mine.token) rmSync(lockFile, { force: true });
          },
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = readHolder(lockFile);
      if (!holder) continue;
      if (isSameProcess(holder.pid, holder.start, holder.boot)) return { holder };
      takeAway(lockFile, holder);
    }
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Waits for a lock file. `onWait` is told once who has it. Throws {@link LockedError} after `timeoutMs`.
 *
 * @returns the function that gives it back.
 */
export async function waitForLock(
  lockFile: string,
  options: { timeoutMs: number; onWait?: (holder: LockHolder) => void },
): Promise<() => void> {
  const deadline = Date.now() + options.timeoutMs;
  let told = false;
  for (;;) {
    const result = tryLock(lockFile);
    if ('release' in result) return result.release;
    if (!told) options.onWait?.(result.holder);
    told = true;
    if (Date.now() > deadline) {
      throw new LockedError(
        `process ${result.holder.pid} has held ${lockFile} for more than ${options.timeoutMs / 1000} s`,
        result.holder,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * Makes this process the only one on a state folder. Throws {@link LockedError}, which names the process that has it.
 *
 * @returns the function that gives the folder back; a lock left by a process that has ended is taken over.
 */
export function lockStateFolder(folder: string): () => void {
  prepareStateFolder(folder);
  const result = tryLock(path.join(folder, 'stack.lock'));
  if ('release' in result) return result.release;
  throw new LockedError(
    `A local stack already runs on ${folder} (process ${result.holder.pid}). Stop it first, or give this one a state folder of its own with POLONY_HOME.`,
    result.holder,
  );
}

/** Writes `local.json`, readable by its owner only; a reader sees the old one or the new one, never a part. */
export function writeLocalInfo(folder: string, info: LocalInfo): void {
  prepareStateFolder(folder);
  writeFileAtomically(localInfoFile(folder), `${JSON.stringify(info, null, 2)}\n`);
}

/** Reads `local.json`; `undefined` when there is none, or its stack has ended without removing it. Throws when it is there but is not JSON. */
export function readLocalInfo(folder: string): LocalInfo | undefined {
  const file = localInfoFile(folder);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const info = JSON.parse(text) as LocalInfo;
    // A machine that lost its power takes parent and guardian at once.
    const { polony } = info.pids;
    return polony !== undefined && processStart(polony) === null ? undefined : info;
  } catch (error) {
    throw new Error(`${file} is not JSON; remove it and start the local stack again`, { cause: error });
  }
}

/** Removes `local.json`, so that nobody takes a stopped stack for a running one. */
export function removeLocalInfo(folder: string): void {
  rmSync(localInfoFile(folder), { force: true });
}

/** Where a state folder has its `local.json`. */
export function localInfoFile(folder: string): string {
  return path.join(folder, 'local.json');
}

/** Writes a file whole, by a draft beside it that is renamed; mode 0600 unless told. */
export function writeFileAtomically(file: string, text: string, mode = 0o600): void {
  const draft = `${file}.${randomUUID()}.tmp`;
  writeFileSync(draft, text, { mode });
  renameSync(draft, file);
}

function readHolder(lockFile: string): LockHolder | undefined {
  try {
    return JSON.parse(readFileSync(lockFile, 'utf8')) as LockHolder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return { pid: 0, start: null, boot: null, token: 'damaged' };
    throw error;
  }
}

/**
 * Removes a dead process's lock. The claim carries the dead lock's own token, so of all who saw that lock only one may remove it,
 * and one that comes late cannot remove the lock that the winner has taken since.
 */
function takeAway(lockFile: string, dead: LockHolder): void {
  const claim = `${lockFile}.dead-${dead.token}`;
  try {
    writeFileSync(claim, String(process.pid), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // Claimed by another, which needs a moment; a claim that has lain for long was left by a process that was killed right there.
    try {
      if (Date.now() - statSync(claim).mtimeMs > 10_000) rmSync(claim, { force: true });
    } catch {
      // Gone already.
    }
    return;
  }
  try {
    if (readHolder(lockFile)?.token === dead.token) rmSync(lockFile, { force: true });
  } finally {
    rmSync(claim, { force: true });
  }
}
