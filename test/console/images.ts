import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { abortOnTermination } from '../../cli/local.js';
import { startStack } from '../../local/stack.js';
import { launchBrowser } from './browser.js';
import { picturesOf, takePicture } from './imagesPages.js';
import { makeState, type State } from './imagesState.js';
import { openSignedIn, openWindow } from './page.js';

/*
 * `npm run console:images`: pictures of every page of the console, for the documentation. It starts a local stack of
 * its own and fills it. `npm run console:images -- runs overview` makes only those whose names begin so.
 */
const FOLDER = fileURLToPath(new URL('../../docs/images', import.meta.url));
async function main(wanted: readonly string[]): Promise<void> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-images-'));
  const signal = abortOnTermination();
  const browser = await launchBrowser({ handlesSignals: false });
  const stack = await startStack({
    stateDir,
    durable: false,
    console: true,
    signal,
    onProgress: say,
    omics: { pace: { PENDING: 200, STARTING: 300, RUNNING: 1500, STOPPING: 100 } },
  });
  let state: State | undefined;
  const problems: string[] = [];
  try {
    say('Connecting accounts, uploading runs, making FASTQ files…');
    state = await makeState(stack);
    mkdirSync(FOLDER, { recursive: true });
    const pictures = picturesOf(state);
    const member = await openSignedIn(browser, stack.info);
    const stranger = await openWindow(browser, stack.info);
    stranger.expectFailures(401);
    for (const picture of pictures) {
      if (wanted.length > 0 && !wanted.some((name) => picture.name.startsWith(name))) continue;
      signal.throwIfAborted();
      try {
        const png = await takePicture((picture.isStranger === true ? stranger : member).page, picture);
        writeFileSync(path.join(FOLDER, `console-${picture.name}.png`), png);
        say(`${(png.length / 1000).toFixed(0).padStart(4)} KB  ${picture.name}`);
      } catch (error) {
        problems.push(`${picture.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    problems.push(...member.problems, ...stranger.problems);
    const files = new Set(pictures.map(({ name }) => `console-${name}.png`));
    for (const file of readdirSync(FOLDER)) if (!files.has(file)) rmSync(path.join(FOLDER, file));
  } finally {
    await browser.close();
    await state?.end();
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
  const sizes = readdirSync(FOLDER).map((file) => statSync(path.join(FOLDER, file)).size);
  say(`${sizes.length} pictures, ${(sizes.reduce((sum, each) => sum + each, 0) / 1e6).toFixed(2)} MB`);
  if (problems.length > 0) throw new Error(`Some pictures or pages failed:\n${problems.join('\n')}`);
}

await main(process.argv.slice(2));
process.exit(0);
