/**
 * `npm run local`: runs a polony command of these sources, from a build of them. Its arguments are those of `polony`. It
 * is plain JavaScript, so that nothing is compiled where the sources have not changed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { consoleBuild, sourceBuild, touchBuild } from './sources.mjs';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** Builds that nobody touches are removed after a week (oldBuilds.ts). */
const TOUCH_MS = 3_600_000;

// A build would look for a cache folder beside itself.
process.env.POLONY_CACHE = path.resolve(process.env.POLONY_CACHE || path.join(ROOT, '.polony-cache'));
const cache = process.env.POLONY_CACHE;

/** @returns {{ build: string, builds: string[], folderOfConsole: string, isThere: boolean }} */
function findBuilds() {
  const build = sourceBuild(cache).folder;
  const given = process.env.POLONY_CONSOLE_FOLDER;
  const folderOfConsole = given || consoleBuild(cache);
  const builds = given ? [build] : [build, folderOfConsole];
  return { build, builds, folderOfConsole, isThere: builds.every(existsSync) };
}

let found = findBuilds();
// Somebody may change a file while it is compiled.
for (let attempt = 1; !found.isThere; attempt++) {
  const script = fileURLToPath(new URL('./buildSources.ts', import.meta.url));
  const { status, signal } = spawnSync(process.execPath, ['--import', 'tsx', script], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) {
    if (status === null) process.stderr.write(`The build of polony was ended by ${signal}. Start it again\n`);
    process.exit(status ?? 1);
  }
  found = findBuilds();
  if (!found.isThere && attempt === 3) {
    process.stderr.write('The sources change while they are compiled. Start again when no file changes any more\n');
    process.exit(1);
  }
}
const touch = () => found.builds.forEach(touchBuild);
touch();
setInterval(touch, TOUCH_MS).unref();
process.env.POLONY_CONSOLE_FOLDER = found.folderOfConsole;
// Node.js 22 and later keep compiled code there, which saves a tenth of the start of the processes.
process.env.NODE_COMPILE_CACHE ||= path.join(found.build, 'compiled');
await import(pathToFileURL(path.join(found.build, 'cli/main.js')).href);
