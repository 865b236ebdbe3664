import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { apiClient } from '../cli/customer.js';
import { createSignInUrl } from '../cli/localInfo.js';
import { startStack } from '../local/stack.js';
import { launchBrowser } from '../test/console/browser.js';
import { fillLists } from '../test/console/manyRows.js';
import { percentile, writeReport } from './report.js';
import type { Row } from './row.js';

/**
 * npm run bench:console: how long after a reload the table of runs and that of executions appear in a browser, each
 * with a page of 100 rows of 100,000.
 */
const ROWS = Number(process.env.POLONY_BENCH_ROWS ?? 100_000);
const PAGE = 100;
const RELOADS = 5;
const TARGET_MS = 1_500;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-bench-console-'));
const browser = await launchBrowser();
const stack = await startStack({ stateDir, durable: false, headless: true, console: true, onProgress: say });
const rows: Row[] = [];
try {
  say(`${ROWS} runs and as many executions`);
  await fillLists(stack, apiClient(stack.info), ROWS);
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  await page.goto((await createSignInUrl(stack.info))!);
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  for (const [list, title] of [
    ['runs', 'Runs'],
    ['executions', 'Executions'],
  ] as const) {
    const last = page
      .getByRole('table', { name: title })
      .locator('tbody tr')
      .nth(PAGE - 1);
    await page.goto(`${stack.info.apiUrl}/${list}`);
    await last.waitFor();
    const times: number[] = [];
    for (let at = 0; at < RELOADS; at++) {
      const began = performance.now();
      await page.reload({ waitUntil: 'commit' });
      await last.waitFor();
      times.push(performance.now() - began);
    }
    say(`${list}: ${times.map((each) => each.toFixed(0)).join(', ')} ms`);
    const median = percentile(times, 0.5);
    rows.push({
      name: `from a reload to a table of ${PAGE} ${list}`,
      unit: 'ms',
      value: median,
      against: TARGET_MS,
      of: 'the target',
      ratio: median / TARGET_MS,
      reach: 'at most 1',
      met: median <= TARGET_MS,
    });
  }
} finally {
  await browser.close();
  await stack.stop();
  rmSync(stateDir, { recursive: true, force: true });
}
writeReport(
  rows,
  [`The median of ${RELOADS} reloads, at ${ROWS} runs and as many executions. Browser and stack share the cores.`],
  'console',
);
process.exit(0);
