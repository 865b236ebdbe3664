import { promises as fs } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

const root = fileURLToPath(new URL('.', import.meta.url));
/** What gains nothing from compression: fonts and images are compressed already. */
const COMPRESSIBLE = /\.(js|css|html|svg|json)$/;

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
  plugins: [react(), precompress()],
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
