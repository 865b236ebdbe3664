import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The console that belongs to this program: `npm run build` writes it to `dist/console`. */
const BUILT = ['../../console', '../../dist/console'].map((each) => fileURLToPath(new URL(each, import.meta.url)));

/**
 * The folder with the built console; undefined where nobody built it.
 * @param folder of a setting, in place of the one that belongs to this program
 */
export function findConsole(folder?: string): string | undefined {
  return (folder === undefined ? BUILT : [folder]).find((each) => existsSync(path.join(each, 'assets')));
}

/**
 * The page of the console, with the path below which browsers reach polony.
 * @param basePath without a slash at the end; empty for the whole host
 */
export function readPage(folder: string, basePath: string): string {
  const page = readFileSync(path.join(folder, 'index.html'), 'utf8');
  return page
    .replaceAll(/(?<=(?:src|href)=")\.?\/(?=assets\/|favicon\.svg)/g, () => `${basePath}/`)
    .replace('<meta name="polony-base" content=""', () => `<meta name="polony-base" content="${basePath}"`);
}
