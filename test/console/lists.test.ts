import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Browser, Locator, Page, Response } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { apiClient } from '../../cli/customer.js';
import type { Stack } from '../../local/stack.js';
import { startTestStack } from '../testStack.js';
import { launchBrowser } from './browser.js';
import { fillLists } from './manyRows.js';
import {
  type ConsolePage,
  expectNoProblems,
  findViolations,
  openSignedIn,
  openWindow,
  settled,
  tableNamed,
} from './page.js';

const ROWS = 100_000;
/** Rows of one page of a list. */
const PAGE = 100;

let stateDir: string;
let stack: Stack;
let browser: Browser;
let call: ReturnType<typeof apiClient>;
let window: ConsolePage;
let page: Page;

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-lists-'));
  browser = await launchBrowser();
  stack = await startTestStack({ stateDir, console: true });
  call = apiClient(stack.info);
  await fillLists(stack, call, ROWS);
  window = await openSignedIn(browser, stack.info);
  ({ page } = window);
});

afterEach(() => {
  if (window !== undefined) expectNoProblems(window);
});

afterAll(async () => {
  await browser?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

/** What a page asked the API for, without the stream of changes, which does not end. */
interface Traffic {
  requests: string[];
  bytes: number;
}

/** Opens an address, and notes what its page asks the API for until nothing is loading any more. */
async function openAndCount(address: string, ready: () => Promise<unknown>): Promise<Traffic> {
  // Ends what the page before asks.
  await page.goto('about:blank');
  const requests: string[] = [];
  const bodies: Promise<Buffer>[] = [];
  const note = (response: Response): void => {
    const { pathname } = new URL(response.url());
    if (!pathname.startsWith('/v1/') || pathname === '/v1/changes') return;
    requests.push(response.url());
    bodies.push(response.body());
  };
  page.on('response', note);
  await page.goto(address);
  await ready();
  await settled(page);
  page.off('response', note);
  const bytes = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
  return { requests, bytes };
}

const rowsOf = (table: Locator): Locator => table.locator('tbody tr');
/** Waits until the first row is that of a name. */
const untilFirst = (table: Locator, name: string): Promise<void> =>
  rowsOf(table).first().getByRole('link', { name, exact: true }).waitFor();

describe.each([
  { list: 'runs', title: 'Runs', prefix: 'RUN-', isNumber: true },
  { list: 'executions', title: 'Executions', prefix: 'EX-', isNumber: false },
])('100,000 $list', ({ list, title, prefix, isNumber }) => {
  const table = (): Locator => tableNamed(page, title);
  const nameOf = (number: number): string => prefix + String(number).padStart(6, '0');
  // The header that stays in view lies above the one with the role.
  const sortBy = (column: string): Promise<void> =>
    table().getByRole('columnheader', { name: column, exact: true }).getByRole('button').click({ force: true });

  it('open at the newest, with few requests and one page of rows', async () => {
    const { requests, bytes } = await openAndCount(`/${list}`, () => untilFirst(table(), nameOf(ROWS)));
    expect(requests.length).toBeLessThanOrEqual(8);
    expect(bytes).toBeLessThan(500_000);
    await page.getByText('(100,000)', { exact: true }).first().waitFor();
    expect(await rowsOf(table()).count()).toBe(PAGE);
  });

  it('go to the next page and back, and never show more than one page', async () => {
    const elements = await page.locator('*').count();
    await page.getByRole('button', { name: 'Next page' }).click();
    await untilFirst(table(), nameOf(ROWS - PAGE));
    await page.getByRole('button', { name: 'Next page' }).click();
    await untilFirst(table(), nameOf(ROWS - 2 * PAGE));
    expect(await rowsOf(table()).count()).toBe(PAGE);
    // Rows differ a little in what they show.
    expect(await page.locator('*').count()).toBeLessThan(elements * 1.1);
    await page.getByRole('button', { name: 'Previous page' }).click();
    await untilFirst(table(), nameOf(ROWS - PAGE));
    await page.reload();
    await untilFirst(table(), nameOf(ROWS - PAGE));
  });

  it('sort by a column, beginning at the first page', async () => {
    await sortBy('Name');
    await untilFirst(table(), nameOf(1));
    expect(new URL(page.url()).searchParams.get('pageToken')).toBeNull();
    await page.getByRole('button', { name: 'Next page' }).click();
    await untilFirst(table(), nameOf(1 + PAGE));
    if (isNumber) {
      await sortBy('Q30');
      await untilFirst(table(), nameOf(1));
      await sortBy('Q30');
      await untilFirst(table(), nameOf(ROWS));
    } else {
      await sortBy('Run');
      await untilFirst(table(), nameOf(1));
      await sortBy('Run');
      await untilFirst(table(), nameOf(ROWS));
    }
  });

  it('filter by text and by status', async () => {
    const input = page.getByRole('combobox', { name: `Filter ${list}` });
    await input.fill('-05000');
    await input.press('Enter');
    await page.getByText('10 found', { exact: true }).first().waitFor();
    expect(await rowsOf(table()).count()).toBe(10);
    await page.getByRole('button', { name: 'Clear', exact: true }).click();
    await input.fill('Status = ');
    await page.getByRole('option', { name: list === 'runs' ? 'sequencing' : 'running', exact: true }).click();
    await page.getByRole('button', { name: 'Apply', exact: true }).click();
    await page.getByText('1,000 found', { exact: true }).first().waitFor();
    expect(await rowsOf(table()).count()).toBe(PAGE);
  });
});

it('shows the overview with few requests', async () => {
  const { requests, bytes } = await openAndCount('/', () =>
    rowsOf(tableNamed(page, 'Running')).first().getByRole('link').waitFor(),
  );
  // The session, eight lists, and the progress of ten uploads, which are read again once the stream of changes is open.
  expect(requests.length).toBeLessThanOrEqual(1 + 2 * (8 + 10));
  expect(bytes).toBeLessThan(200_000);
  expect(await rowsOf(tableNamed(page, 'Running')).count()).toBe(10);
});

it('fits every page into 360 pixels, without a violation of accessibility rules', async () => {
  const narrow = await openSignedIn(browser, stack.info, { width: 360, height: 740 });
  const { runs } = await call<{ runs: { id: string }[] }>('GET', '/v1/runs?pageSize=1');
  const { executions } = await call<{ executions: { id: string }[] }>('GET', '/v1/executions?pageSize=1');
  const { providers } = await call<{ providers: { id: string }[] }>('GET', '/v1/providers');
  // Lists with one row look as those with many.
  const few = `?filter=name:${encodeURIComponent('000007')}`;
  const addresses = [
    ...['/', `/runs${few}`, `/runs/${runs[0]!.id}`, `/runs/${runs[0]!.id}#setup`, `/executions${few}`],
    ...[`/executions/${executions[0]!.id}`, '/instruments', '/instruments/AV1', '/data', '/access', '/setup'],
    ...['/providers', `/providers/${providers[0]!.id}`, '/providers/new', '/storage', '/compute', '/flows'],
    ...['/flows/new', '/keys', '/audit', '/webhooks'],
  ];
  const found: string[] = [];
  const visit = async ({ page: visited }: ConsolePage, address: string): Promise<void> => {
    await visited.goto(address);
    await settled(visited);
    const width = await visited.evaluate<number>('document.scrollingElement.scrollWidth');
    if (width > 360) found.push(`${address} is ${width} pixels wide`);
    for (const violation of await findViolations(visited)) found.push(`${address}: ${violation}`);
  };
  for (const address of addresses) await visit(narrow, address);
  const stranger = await openWindow(browser, stack.info, { width: 360, height: 740 });
  stranger.expectFailures(401);
  await visit(stranger, '/sign-in');
  expect(found).toEqual([]);
  for (const each of [narrow, stranger]) {
    expectNoProblems(each);
    await each.context.close();
  }
});
