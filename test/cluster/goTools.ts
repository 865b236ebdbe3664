import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, waitForLock } from '../../local/stackFiles.js';

const run = promisify(execFile);

/** The open-source server. Its module and its schema tool have the same version. */
const VERSION = 'v1.30.4';
const MODULES = { server: 'go.temporal.io/server/cmd/server', sql: 'go.temporal.io/server/cmd/tools/sql' };
/** A build takes minutes; one that waits for another process takes longer. */
const BUILD_MS = 2_400_000;

/** The programs of a Temporal cluster. */
export interface ServerPrograms {
  /** The server with all its services. */
  server: string;
  /** Creates and updates the schema in a database. */
  sql: string;
}

/**
 * The programs of the open-source Temporal server. They are built once with the Go toolchain, from the Go module proxy,
 * into the cache folder.
 * @returns undefined where they are not built and this machine has no Go.
 */
export async function findServerPrograms(onProgress: (line: string) => void): Promise<ServerPrograms | undefined> {
  const folder = path.join(cacheFolder(), `temporal-server-${VERSION}`);
  const programs = { server: path.join(folder, 'server'), sql: path.join(folder, 'sql') };
  if (existsSync(folder)) return programs;
  try {
    await run('go', ['version']);
  } catch {
    return undefined;
  }
  mkdirSync(cacheFolder(), { recursive: true });
  const release = await waitForLock(`${folder}.lock`, { timeoutMs: BUILD_MS, onWait: () => undefined });
  try {
    if (existsSync(folder)) return programs;
    onProgress(`Building the Temporal server ${VERSION} with Go (once, some minutes)`);
    const draft = `${folder}.${process.pid}`;
    const options = { env: { ...process.env, GOBIN: draft }, timeout: BUILD_MS, maxBuffer: 1 << 26 };
    try {
      await run('go', ['install', ...Object.values(MODULES).map((module) => `${module}@${VERSION}`)], options);
      renameSync(draft, folder);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      throw error;
    }
    return programs;
  } finally {
    release();
  }
}
