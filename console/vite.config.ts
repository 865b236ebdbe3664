import { createHash } from 'node:crypto';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';
import { limitFirstLoad } from './firstLoad.js';

const root = fileURLToPath(new URL('.', import.meta.url));
/** What gains nothing from compression: fonts and images are compressed already. */
const COMPRESSIBLE = /\.(js|css|html|svg|json)$/;

/**
 * Makes files of the fonts that a stylesheet contains: the Content-Security-Policy allows no `data:` fonts, and browsers
 * then load only those that they need.
 */
function separateFonts(): Plugin {
  return {
    name: 'separate-fonts',
    apply: 'build',
    generateBundle(_, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== 'asset' || !file.fileName.endsWith('.css')) continue;
        file.source = String(file.source).replaceAll(
          /url\((["']?)data:font\/woff2;base64,([A-Za-z0-9+/=]+)\1\)/g,
          (_match, _quote, content: string) => {
            const source = Buffer.from(content, 'base64');
            const name = `font-${createHash('sha256').update(source).digest('hex').slice(0, 10)}.woff2`;
            this.emitFile({ type: 'asset', fileName: `assets/${name}`, source });
            return `url(./${name})`;
          },
        );
      }
    },
  };
}

/** Writes `.br` and `.gz` beside each file, so that the API compresses nothing while it serves. */
function precompress(): Plugin {
  let folder = '';
  return {
    name: 'precompress',
    apply: 'build',
    configResolved: ({ build }) => void (folder = path.resolve(root, build.outDir)),
    closeBundle: async () => {
      const names = await fs.readdir(folder, { recursive: true });
      await Promise.all(
        names
          .filter((name) => COMPRESSIBLE.test(name))
          .map(async (name) => {
            const file = path.join(folder, name);
            const content = await fs.readFile(file);
            const params = { [constants.BROTLI_PARAM_QUALITY]: 9 };
            await Promise.all([
              promisify(brotliCompress)(content, { params }).then((bytes) => fs.writeFile(`${file}.br`, bytes)),
              promisify(gzip)(content, { level: 9 }).then((bytes) => fs.writeFile(`${file}.gz`, bytes)),
            ]);
          }),
      );
    },
  };
}

export default defineConfig({
  root,
  // Files name each other relatively, because a reverse proxy can serve polony below a path.
  base: './',
  plugins: [react(), separateFonts(), limitFirstLoad(), precompress()],
  build: {
    outDir: process.env.POLONY_CONSOLE_OUT ?? '../dist/console',
    emptyOutDir: true,
    // The Content-Security-Policy allows no inline code, and images only of this origin.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    sourcemap: false,
  },
});
