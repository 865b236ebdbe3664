import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cacheFolder } from './stackFiles.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/**
 * Builds the console from the sources, once for each state of them. An installed or built polony has its console
 * already.
 * @returns the folder of the console; undefined where this program brings its own
 * @throws Error where Vite cannot build it
 */
export async function buildConsole(onProgress: (line: string) => void = () => undefined): Promise<string | undefined> {
  const sources = path.join(ROOT, 'console');
  const vite = path.join(ROOT, 'node_modules/vite/bin/vite.js');
  if (!existsSync(path.join(sources, 'vite.config.ts')) || !existsSync(vite)) return undefined;
  const builds = path.join(cacheFolder(), 'console');
  const folder = path.join(builds, await hashSources(sources));
  if (existsSync(folder)) return folder;
  onProgress('Building the console (once, some seconds)');
  await mkdir(builds, { recursive: true });
  const unfinished = await mkdtemp(path.join(builds, 'unfinished-'));
  try {
    const config = path.join(sources, 'vite.config.ts');
    await promisify(execFile)(process.execPath, [vite, 'build', '--config', config, '--logLevel', 'warn'], {
      cwd: ROOT,
      env: { ...process.env, NODE_ENV: 'production', POLONY_CONSOLE_OUT: unfinished },
    });
    // Another stack can have built the same meanwhile.
    await rename(unfinished, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
    return folder;
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** What the build depends on. */
async function hashSources(sources: string): Promise<string> {
  const entries = await readdir(sources, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  const hash = createHash('sha256');
  for (const file of [...files.sort(), path.join(ROOT, 'package-lock.json')])
    hash.update(path.relative(ROOT, file)).update(await readFile(file));
  return hash.digest('hex').slice(0, 16);
}
