import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { removeOldBuilds } from './oldBuilds.js';
import { consoleBuild, touchBuild } from './sources.mjs';
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
  const folder = consoleBuild(cacheFolder());
  if (existsSync(folder)) {
    touchBuild(folder);
    return folder;
  }
  onProgress('Building the console (once, some seconds)');
  const builds = path.dirname(folder);
  await mkdir(builds, { recursive: true });
  const unfinished = await mkdtemp(path.join(builds, 'unfinished-'));
  try {
    const config = path.join(sources, 'vite.config.ts');
    await promisify(execFile)(process.execPath, [vite, 'build', '--config', config, '--logLevel', 'warn'], {
      cwd: ROOT,
      env: { ...process.env, NODE_ENV: 'production', POLONY_CONSOLE_OUT: unfinished },
    });
    // Somebody may have changed a file meanwhile. Then this is a build of neither state.
    if (consoleBuild(cacheFolder()) !== folder) return await buildConsole(onProgress);
    // Other users of the cache folder may use the build too.
    await chmod(unfinished, 0o755);
    // Another stack can have built the same meanwhile.
    await rename(unfinished, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
    removeOldBuilds(builds, folder);
    return folder;
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}
