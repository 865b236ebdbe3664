import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core';
import { expect } from 'vitest';
import { createSignInUrl } from '../../cli/localInfo.js';
import type { LocalInfo } from '../../local/stackFiles.js';

/** Ends only what hangs: tests wait until something appears, not for a time. */
const STUCK_MS = 120_000;

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A page of the console, and what the browser complained about. */
export interface ConsolePage {
  page: Page;
  context: BrowserContext;
  /**
   * Errors of the page's code, violations of its Content-Security-Policy, and failed requests, except those that
   * {@link expectFailures} expects.
   */
  problems: string[];
  /** Expects answers with these HTTP statuses; browsers report each of them as an error. */
  expectFailures: (...statuses: number[]) => void;
}

interface OpenOptions {
  width?: number;
  height?: number;
  colorScheme?: 'light' | 'dark';
}

/** Opens a new window without cookies, and notes what goes wrong in it. */
export async function openWindow(browser: Browser, info: LocalInfo, options: OpenOptions = {}): Promise<ConsolePage> {
  const { width = 1280, height = 1000, colorScheme = 'light' } = options;
  const context = await browser.newContext({
    baseURL: info.apiUrl,
    viewport: { width, height },
    colorScheme,
    acceptDownloads: true,
    locale: 'en-US',
    timezoneId: 'UTC',
    reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(STUCK_MS);
  const page = await context.newPage();
  const problems: string[] = [];
  const expected = new Set<number>();
  page.on('pageerror', (error) => problems.push(`error of the page: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    const status = /status of (\d{3})/.exec(message.text())?.[1];
    if (status !== undefined && expected.has(Number(status))) return;
    problems.push(`${message.text()} (${message.location().url})`);
  });
  return { page, context, problems, expectFailures: (...statuses) => statuses.forEach((each) => expected.add(each)) };
}

/** Opens a window and signs in with a new one-time address. */
export async function openSignedIn(browser: Browser, info: LocalInfo, options?: OpenOptions): Promise<ConsolePage> {
  const opened = await openWindow(browser, info, options);
  // The page asks who is signed in before anybody is.
  opened.expectFailures(401);
  const url = await createSignInUrl(info);
  if (url === undefined) throw new Error('The API made no sign-in address');
  await opened.page.goto(url);
  await opened.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  return opened;
}

/** Signs in with an API key, as a person who types it. */
export async function signInWithKey({ page, expectFailures }: ConsolePage, apiKey: string): Promise<void> {
  expectFailures(401);
  await page.goto('/sign-in');
  await page.getByLabel('API key').fill(apiKey);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL(({ pathname }) => !pathname.startsWith('/sign-in'));
}

/** Waits until nothing on the page is loading any more. */
export async function settled(page: Page): Promise<void> {
  await page.locator('h1').first().waitFor();
  // No function of the page: its Content-Security-Policy allows none that a text contains.
  const loading = '[class*="awsui_spinner"], [class*="awsui_status-loading"], [aria-busy="true"]';
  await page.locator(loading).first().waitFor({ state: 'detached' });
}

/** Goes to a page as a person does who opens its address. */
export async function openAddress(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await settled(page);
}

interface AxeViolation {
  id: string;
  help: string;
  nodes: { target: string[]; html: string }[];
}

/** Violations of the rules of WCAG and of good practice that axe finds, each as a line. */
export async function findViolations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const violations: AxeViolation[] = await page.evaluate(
    `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations)`,
  );
  return violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`,
  );
}

/** The table with a name. */
export const tableNamed = (page: Page | Locator, name: string): Locator => page.getByRole('table', { name });

/** The texts of the body of a table, row by row. */
export async function readTable(table: Locator): Promise<string[][]> {
  const rows = await table.locator('tbody tr').all();
  return Promise.all(rows.map(async (row) => (await row.locator('th, td').allInnerTexts()).map((text) => text.trim())));
}

/** Fails if the browser complained about anything. */
export function expectNoProblems({ problems }: ConsolePage): void {
  expect(problems).toEqual([]);
}
