import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type InlineConfig, type Plugin } from 'vite';

// Part of `npm run build`: makes one file of each process, with the packages that it uses. To find and
// parse two thousand small files took most of the start of a process.

/** The processes and the local stack, each a file in `cli/`. The file with the bundle takes the place of the compiled one. */
const PROCESSES = ['apiProcess', 'workerProcess', 'codecProcess', 'local'];

/**
 * Packages that stay outside. Temporal's SDK loads native code and starts a thread from a file of its own, and packages
 * that it shares with us must be there once; the page with the API's documentation is files of its package.
 */
const OUTSIDE = [/^@temporalio\//, /^@opentelemetry\//, /^@fastify\/swagger-ui$/, /^pg-native$/];

/** Modules look for files beside their own place, not beside the bundle. */
function keepPlaces(folder: string): Plugin {
  return {
    name: 'keep-places',
    transform(code, id) {
      if (!id.startsWith(folder + path.sep) || !code.includes('import.meta.url')) return undefined;
      const place = path.relative(path.join(folder, 'cli'), id).split(path.sep).join('/');
      return code.replaceAll('import.meta.url', `new URL(${JSON.stringify(place)}, import.meta.url).href`);
    },
  };
}

/** @param folder with the compiled sources, such as `dist/` */
export function bundleOf(folder: string): InlineConfig {
  return {
    configFile: false,
    logLevel: 'warn',
    // The bundler names modules by their real places.
    plugins: [keepPlaces(existsSync(folder) ? realpathSync(folder) : folder)],
    ssr: { noExternal: true, target: 'node' },
    build: {
      ssr: true,
      target: 'node20',
      outDir: path.join(folder, 'cli'),
      emptyOutDir: false,
      minify: false,
      copyPublicDir: false,
      rolldownOptions: {
        input: Object.fromEntries(PROCESSES.map((name) => [name, path.join(folder, `cli/${name}.js`)])),
        external: OUTSIDE,
        output: {
          entryFileNames: '[name].js',
          chunkFileNames: 'bundled-[name]-[hash].js',
          hoistTransitiveImports: false,
        },
      },
    },
  };
}

export default defineConfig(bundleOf(fileURLToPath(new URL('./dist', import.meta.url))));
