import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Plugin, Rolldown } from 'vite';

/** The most bytes that a browser loads before it shows the list of runs for the first time, compressed with gzip. */
const MOST_BYTES = 700_000;
/** What the router loads for that list: the frame of all pages, and the page. */
const ROUTE = ['layout/Shell.tsx', 'runs/RunsPage.tsx'];
/** The page has text in regular and in bold type. Browsers load the fonts of other weights and styles later, if at all. */
const FONT = /@font-face\s*\{[^}]*font-weight:\s*(?:400|700);font-style:\s*normal;[^}]*url\(\.\/([^)]+\.woff2)\)/g;

type Bundle = Record<string, Rolldown.OutputChunk | Rolldown.OutputAsset>;

/** The files of the chunks and of all that they import statically, with their stylesheets. */
function filesOf(bundle: Bundle, starts: readonly string[]): Set<string> {
  const files = new Set<string>();
  const add = (name: string): void => {
    const chunk = bundle[name];
    if (files.has(name) || chunk?.type !== 'chunk') return;
    files.add(name);
    for (const sheet of chunk.viteMetadata?.importedCss ?? []) files.add(sheet);
    chunk.imports.forEach(add);
  };
  starts.forEach(add);
  return files;
}

/** What a browser loads before it shows the list of runs. @throws Error if the route has other files now */
function firstFiles(bundle: Bundle): string[] {
  const chunks = Object.values(bundle).filter((file) => file.type === 'chunk');
  const starts = chunks.filter(({ isEntry }) => isEntry).map(({ fileName }) => fileName);
  for (const module of ROUTE) {
    const chunk = chunks.find(({ facadeModuleId }) => facadeModuleId?.endsWith(`/console/${module}`));
    if (chunk === undefined)
      throw new Error(`No chunk of the console is ${module}. Correct ROUTE in console/firstLoad.ts`);
    starts.push(chunk.fileName);
  }
  const files = filesOf(bundle, starts);
  for (const file of [...files].filter((name) => name.endsWith('.css')))
    for (const [, font] of textOf(bundle[file]!).toString().matchAll(FONT)) files.add(`assets/${font}`);
  const unknown = [...files].filter((file) => bundle[file] === undefined);
  if (unknown.length > 0) throw new Error(`The build of the console has no ${unknown.join(', ')}`);
  if (![...files].some((file) => file.endsWith('.woff2')))
    throw new Error('No stylesheet of the first load names a font. Correct FONT in console/firstLoad.ts');
  return ['index.html', ...files];
}

const textOf = (file: Rolldown.OutputChunk | Rolldown.OutputAsset): string | Uint8Array =>
  file.type === 'chunk' ? file.code : file.source;

/** Fails the build if the list of runs needs too much, and says how much it needs. */
export function limitFirstLoad(): Plugin {
  return {
    name: 'limit-first-load',
    apply: 'build',
    async writeBundle(_, bundle) {
      const sizes = await Promise.all(
        firstFiles(bundle).map(async (name) => {
          const content = textOf(bundle[name]!);
          // Fonts are compressed already.
          const sent = name.endsWith('.woff2') ? content : await promisify(gzip)(content, { level: 9 });
          return { name, bytes: sent.length };
        }),
      );
      const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
      const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(0)} KB`;
      process.stdout.write(
        `First load of the console: ${kilobytes(total)} with gzip, of at most ${kilobytes(MOST_BYTES)}\n`,
      );
      if (total <= MOST_BYTES) return;
      const largest = sizes.sort((one, other) => other.bytes - one.bytes).slice(0, 10);
      const list = largest.map(({ name, bytes }) => `  ${kilobytes(bytes)}  ${name}`).join('\n');
      throw new Error(
        `The first load of the console is too large. Load more of it lazily. The largest files:\n${list}`,
      );
    },
  };
}
