import { execFile } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Browser, chromium } from 'playwright-core';
import { cacheFolder } from '../../local/stackFiles.js';

/** Names under which systems install Chromium and its relatives. */
const NAMES = [
  'chromium',
  'chromium-browser',
  'chromium-headless-shell',
  'google-chrome',
  'google-chrome-stable',
  'chrome-headless-shell',
];

/** How to start a browser. */
interface BrowserProgram {
  executablePath: string;
  env?: Record<string, string>;
}

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
};

/**
 * `POLONY_BROWSER`, else an installed Chromium, else that of the package `@sparticuz/chromium`. Downloads nothing.
 * @param unpack gets the browser of the package
 * @throws Error where there is none, also in CI: without a browser, nobody has tested the console
 */
export async function findBrowser(
  env: NodeJS.ProcessEnv = process.env,
  unpack: () => Promise<BrowserProgram> = unpackBrowser,
): Promise<BrowserProgram> {
  const named = env.POLONY_BROWSER;
  if (named !== undefined && named !== '') {
    if (isExecutable(named)) return { executablePath: named };
    throw new Error(
      `POLONY_BROWSER is ${named}, which is not a program that this user may run. ` +
        'Set it to the file of a Chromium browser, or unset it',
    );
  }
  const folders = (env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== '');
  const installed = NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))).find(isExecutable);
  if (installed !== undefined) return { executablePath: installed };
  try {
    return await unpack();
  } catch (error) {
    throw new Error(
      'There is no browser for the tests of the console. Run npm ci, which installs @sparticuz/chromium (Linux on ' +
        'x64), or install Chromium, or set POLONY_BROWSER to the file of a Chromium browser. The reason: ' +
        (error instanceof Error ? error.message : String(error)),
      { cause: error },
    );
  }
}

/** Unpacks the browser of the package into the cache folder, once for each version. */
async function unpackBrowser(): Promise<BrowserProgram> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(`@sparticuz/chromium does not run on ${process.platform} ${process.arch}`);
  // The package exports only its program, build/cjs/index.cjs.
  const program = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const about = readFileSync(path.join(program, '../../../package.json'), 'utf8');
  const { version } = JSON.parse(about) as { version: string };
  const builds = path.join(cacheFolder(), 'chromium');
  const folder = path.join(builds, version);
  if (!existsSync(folder)) {
    mkdirSync(builds, { recursive: true });
    // Another run must never see an incomplete browser, so this one is renamed when it is complete.
    const draft = mkdtempSync(path.join(builds, 'unfinished-'));
    try {
      await runUnpacker(draft);
      renameSync(draft, folder);
    } catch (error) {
      // Another run can have unpacked the same meanwhile.
      if (!existsSync(folder)) throw error;
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }
  const { executablePath, libraryPath } = await runUnpacker(folder);
  // Without fonts, pages crash the browser. The package brings some.
  const fonts = path.join(folder, 'fonts.conf');
  if (!existsSync(fonts)) writeFileSync(fonts, fontConfiguration(folder));
  return { executablePath, env: { LD_LIBRARY_PATH: libraryPath, FONTCONFIG_FILE: fonts } };
}

async function runUnpacker(folder: string): Promise<{ executablePath: string; libraryPath: string }> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [fileURLToPath(new URL('unpackChromium.mjs', import.meta.url))],
    // With this value, the package also brings the libraries that small systems lack.
    { env: { PATH: process.env.PATH, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x', TMPDIR: folder } },
  );
  return JSON.parse(stdout) as { executablePath: string; libraryPath: string };
}

const fontConfiguration = (folder: string): string => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${path.join(folder, 'fonts')}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${path.join(folder, 'fonts-cache')}</cachedir>
</fontconfig>
`;

/**
 * Starts a browser without a window. Close it at the end.
 * @param handlesSignals whether a signal closes the browser and ends this process at once; if not, the caller does so
 */
export async function launchBrowser({ handlesSignals = true } = {}): Promise<Browser> {
  const { executablePath, env = {} } = await findBrowser();
  const inherited = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('AWS_'),
  );
  return chromium.launch({
    executablePath,
    headless: true,
    handleSIGINT: handlesSignals,
    handleSIGTERM: handlesSignals,
    handleSIGHUP: handlesSignals,
    // Containers give no sandbox, and these tests open only pages of this installation.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    env: { ...Object.fromEntries(inherited), ...env },
  });
}
