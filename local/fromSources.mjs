/**
 * `npm run local`: runs a polony command of these sources, from a build of them. Its arguments are those of `polony`. It
 * is plain JavaScript, so that nothing is compiled where the sources have not changed.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { consoleBuild, sourceBuild } from './sources.mjs';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

// A build lies in this folder itself, and would look for one of its own.
process.env.POLONY_CACHE ||= path.join(ROOT, '.polony-cache');
const cache = path.resolve(process.env.POLONY_CACHE);
const build = sourceBuild(cache).folder;
const folderOfConsole = consoleBuild(ROOT, cache);
if (!existsSync(build) || !existsSync(folderOfConsole)) {
  const script = fileURLToPath(new URL('./buildSources.ts', import.meta.url));
  try {
    execFileSync(process.execPath, ['--import', 'tsx', script], { cwd: ROOT, stdio: 'inherit' });
  } catch (error) {
    // It has said why. A signal that ends this process too needs no message.
    process.exit(/** @type {{ status?: number | null }} */ (error).status ?? 130);
  }
}
process.env.POLONY_CONSOLE_FOLDER ||= folderOfConsole;
await import(pathToFileURL(path.join(build, 'cli/main.js')).href);
