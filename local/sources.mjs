/**
 * Where the builds of the sources are that tests and `npm run local` use. It is plain JavaScript, so that Node.js loads
 * it without a loader: the second start of a local stack then compiles nothing.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

const FOLDERS = [
  'activities',
  'api',
  'aws',
  'cli',
  'client',
  'domain',
  'encryption',
  'local',
  'network',
  'observability',
  'store',
  'temporal',
  'threads',
  'worker',
  'workflows',
];

/**
 * The files below some folders, in the same order everywhere.
 * @param {readonly string[]} folders
 * @returns {string[]} relative to the root
 */
function listFiles(folders) {
  return folders
    .flatMap((folder) => readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.pyc'))
    .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name)))
    .sort();
}

/** What npm has installed, which `package-lock.json` does not say before `npm ci`. */
const INSTALLED = 'node_modules/.package-lock.json';

/**
 * Changes when one of the files does, the installed packages, or Node.js.
 * @param {readonly string[]} files relative to the root
 * @param {string} more changes it too
 * @returns {string}
 */
function hashFiles(files, more = '') {
  const hash = createHash('sha256').update(`${process.version}\0${more}`);
  const isInstalled = existsSync(path.join(ROOT, INSTALLED));
  for (const file of [...files, 'package-lock.json', ...(isInstalled ? [INSTALLED] : [])])
    hash.update(`\0${file}\0`).update(readFileSync(path.join(ROOT, file)));
  return hash.digest('hex').slice(0, 16);
}

/**
 * The build of the API, the worker and the commands.
 * @param {string} cache the cache folder
 * @returns {{ root: string, files: string[], folder: string }} what is built, and the folder of the build, if it exists
 */
export function sourceBuild(cache) {
  const files = listFiles(FOLDERS);
  // The build has a link to the packages in this folder.
  const hash = hashFiles([...files, 'bundle.config.ts'], ROOT);
  return { root: ROOT, files, folder: path.join(cache, 'builds', hash) };
}

/**
 * The build of the console, with what it imports.
 * @param {string} cache the cache folder
 * @returns {string} its folder, if it exists
 */
export function consoleBuild(cache) {
  return path.join(cache, 'console', hashFiles(listFiles(['console', 'client', 'domain'])));
}

/**
 * Says that a build is used. Those that nobody uses for a week are removed (oldBuilds.ts).
 * @param {string} folder
 */
export function touchBuild(folder) {
  try {
    utimesSync(folder, new Date(), new Date());
  } catch {
    // Somebody removed it, or it belongs to another user. It is used all the same.
  }
}
