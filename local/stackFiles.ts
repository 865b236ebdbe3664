import { randomUUID } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bootId, isSameProcess, processStart } from './guardian.js';

/** The content of `local.json`: everything that a person or a program needs to use the running stack. */
export interface LocalInfo {
  apiUrl: string;
  apiKey: string;
  openapiUrl: string;
  temporalAddress: string;
  /** Empty when the Web UI is off or its address is unknown. */
  temporalUiUrl: string;
  namespace: string;
  awsEndpoint: string;
  awsRegion: string;
  adminAccessKeyId: string;
  adminSecretAccessKey: string;
  databaseUrl: string;
  /** Controls the local HealthOmics: faults, pace, runs. It asks for the secret in the header `x-polony-secret`. */
  omicsControlUrl?: string;
  omicsControlSecret?: string;
  /** The AWS account that polony runs in, which the roles of customers must trust. */
  trustedAccountId?: string;
  /** The settings and the AWS identity of the API and the worker. */
  processEnv?: Record<string, string>;
  /** Process ids by name. */
  pids: Record<string, number>;
  /** Later versions may add members. */
  [extra: string]: unknown;
}

/** The ports of a stack. */
export interface StackPorts {
  api?: number;
  aws?: number;
  postgres?: number;
  temporal?: number;
  temporalUi?: number;
}

/** The API key, and the key that encrypts secrets in the database. */
export interface StackKeys {
  apiKey: string;
  encryptionKey: string;
}

/** What the last stack on a folder used. The next one uses it again if possible: addresses and keys stay the same. */
export type LastStack = StackPorts & Partial<StackKeys>;

/** The state folder: `POLONY_HOME`, else `.polony/` in the current directory; absolute. This does not create it. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  return path.resolve(env.POLONY_HOME || '.polony');
}

/**
 * The folder for downloads, which all state folders share: `POLONY_CACHE`, else `.polony-cache/` beside polony's
 * package.json, also when polony runs from `dist/`. An installed polony uses the user's cache folder, because others may
 * own the folder of its package. Absolute. This does not create it.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.POLONY_CACHE) return path.resolve(env.POLONY_CACHE);
  let folder = path.dirname(fileURLToPath(import.meta.url));
  if (folder.split(path.sep).includes('node_modules'))
    return path.resolve(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'polony', 'local');
  while (!existsSync(path.join(folder, 'package.json'))) {
    const parent = path.dirname(folder);
    if (parent === folder) return path.resolve('.polony-cache');
    folder = parent;
  }
  return path.join(folder, '.polony-cache');
}

/**
 * Creates the state folder. Only its owner can list it; others can pass through it, as PostgreSQL's user must when we
 * are root.
 */
function prepareStateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
}

/** The process that holds a lock. */
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
 * Tries to take a lock file. A lock whose process has ended does not count, also when another process has got its id.
 * Of several processes that try at once, exactly one succeeds.
 *
 * @returns `release` when this process took the lock, else the `holder`.
 */
export function tryLock(lockFile: string): { release: () => void } | { holder: LockHolder } {
  mkdirSync(path.dirname(lockFile), { recursive: true });
  const mine: LockHolder = { pid: process.pid, start: processStart(process.pid), boot: bootId(), token: randomUUID() };
  const draft = `${lockFile}.${mine.token}`;
  writeFileSync(draft, JSON.stringify(mine), { mode: 0o600 });
  try {
    for (;;) {
      try {
        // A link appears whole or not at all: nobody reads a lock that is only partly written.
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
      removeDeadLock(lockFile, holder);
    }
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Waits for a lock file. Calls `onWait` once with the process that holds it.
 *
 * @returns the function that releases the lock.
 * @throws LockedError after `timeoutMs`.
 */
export async function waitForLock(
  lockFile: string,
  options: { timeoutMs: number; onWait?: (holder: LockHolder) => void },
): Promise<() => void> {
  const deadline = Date.now() + options.timeoutMs;
  let hasReported = false;
  for (;;) {
    const result = tryLock(lockFile);
    if ('release' in result) return result.release;
    if (!hasReported) options.onWait?.(result.holder);
    hasReported = true;
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
 * Locks a state folder for this process. A lock whose process has ended does not count.
 *
 * @returns the function that releases the folder.
 * @throws LockedError when another process holds the lock.
 */
export function lockStateFolder(folder: string): () => void {
  prepareStateFolder(folder);
  const result = tryLock(path.join(folder, 'stack.lock'));
  if ('release' in result) return result.release;
  throw new LockedError(
    `A local stack already runs on ${folder} (process ${result.holder.pid}). ` +
      'Stop it first, or set POLONY_HOME to another state folder.',
    result.holder,
  );
}

/** Writes `local.json` for its owner only. A reader sees the old or the new file, never a part of it. */
export function writeLocalInfo(folder: string, info: LocalInfo): void {
  prepareStateFolder(folder);
  writeFileAtomically(localInfoFile(folder), `${JSON.stringify(info, null, 2)}\n`);
}

/** Reads `local.json`. @returns undefined when no stack runs. @throws when the file is not JSON. */
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
    // After a power failure the file is still there, because nothing could remove it.
    const { polony } = info.pids;
    return polony !== undefined && processStart(polony) === null ? undefined : info;
  } catch (error) {
    throw new Error(`${file} is not JSON. Remove it and start the local stack again`, { cause: error });
  }
}

/** Removes `local.json`, so that nobody uses a stopped stack. */
export function removeLocalInfo(folder: string): void {
  rmSync(localInfoFile(folder), { force: true });
}

/** The path of `local.json` in a state folder. */
export function localInfoFile(folder: string): string {
  return path.join(folder, 'local.json');
}

/** Reads what the last stack on a folder used. @returns an empty object when there was none. */
export function readLastStack(folder: string): LastStack {
  const file = lastStackFile(folder);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as LastStack) : {};
}

/** Writes what a stack uses, for the next one. */
export function writeLastStack(folder: string, last: LastStack): void {
  writeFileAtomically(lastStackFile(folder), JSON.stringify(last));
}

function lastStackFile(folder: string): string {
  return path.join(folder, 'ports.json');
}

/** Writes a file atomically: writes a draft beside it and renames the draft. The default mode is 0600. */
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
 * Removes the lock of a process that has ended. The name of the claim contains the token of that lock, so only one of
 * the processes that saw the lock may remove it, and a late one cannot remove the lock that replaced it.
 */
function removeDeadLock(lockFile: string, dead: LockHolder): void {
  const claim = `${lockFile}.dead-${dead.token}`;
  try {
    writeFileSync(claim, String(process.pid), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // Another process has the claim and needs a moment. An old claim belongs to a process that was killed while it had
    // it.
    try {
      if (Date.now() - statSync(claim).mtimeMs > 10_000) rmSync(claim, { force: true });
    } catch {
      // Another process has removed it.
    }
    return;
  }
  try {
    if (readHolder(lockFile)?.token === dead.token) rmSync(lockFile, { force: true });
  } finally {
    rmSync(claim, { force: true });
  }
}
