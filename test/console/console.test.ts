import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient, connectAccount, type CustomerAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { executionsOf, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';
import { launchBrowser } from './browser.js';
import {
  type ConsolePage,
  expectNoProblems,
  findViolations,
  openSignedIn,
  openWindow,
  readTable,
  settled,
  signInWithKey,
  tableNamed,
} from './page.js';

// The tests follow each other: they use the run and the executions of those before them.
let stateDir: string;
let stack: Stack;
let browser: Browser;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let s3: ReturnType<typeof adminClients>['s3'];
let window: ConsolePage;
let page: Page;
let runId: string;
let executionId: string;
const run = describeRun({ runName: 'CONSOLE' });

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-console-'));
  browser = await launchBrowser();
  stack = await startTestStack({
    stateDir,
    console: true,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: 200, STOPPING: 50 } },
  });
  call = apiClient(stack.info);
  ({ s3 } = adminClients(stack.info));
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'console');
  await connectAccount(call, account, { autoStart: true });
  await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  executionId = await waitFor('the flow to start by itself', async () => {
    const { executions } = await call<{ executions: { id: string }[] }>('GET', '/v1/executions');
    return executions[0]?.id;
  });
  await executionsOf(stack, call).inStatus(executionId, 'COMPLETED');
  runId = (await call<{ runs: { id: string }[] }>('GET', '/v1/runs')).runs[0]!.id;
});

afterEach(() => {
  if (window !== undefined) expectNoProblems(window);
});

afterAll(async () => {
  await browser?.close();
  s3?.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

/** Goes to a page as a person does who opens its address. */
async function open(address: string): Promise<void> {
  await page.goto(address);
  await settled(page);
}

describe('signing in', () => {
  it('signs in with a one-time address, and leaves no token in the address or in the storage of the page', async () => {
    window = await openSignedIn(browser, stack.info);
    ({ page } = window);
    expect(new URL(page.url()).hash).toBe('');
    expect(await page.evaluate('Object.keys(localStorage).concat(Object.keys(sessionStorage)).join()')).not.toMatch(
      /token|key|session/i,
    );
    const cookies = await window.context.cookies();
    expect(cookies).toMatchObject([{ httpOnly: true, sameSite: 'Strict' }]);
  });

  it('asks for a sign-in at a shared address, and opens that address after it', async () => {
    const other = await openWindow(browser, stack.info);
    other.expectFailures(401);
    await other.page.goto(`/runs/${runId}#setup`);
    await other.page.getByRole('heading', { name: 'Sign in to polony' }).waitFor();
    await other.page.getByLabel('API key').fill('polony_wrong-key-0123456789');
    await other.page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await other.page.getByText('You are not signed in').waitFor();
    await other.page.getByLabel('API key').fill(stack.info.apiKey);
    await other.page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await other.page.getByRole('heading', { level: 1, name: run.runName }).waitFor();
    expect(new URL(other.page.url()).pathname).toBe(`/runs/${runId}`);
    await other.page.getByText('Folder', { exact: true }).waitFor();
    expectNoProblems(other);
    await other.context.close();
  });
});

interface RunStats {
  PercentQ30: number;
  Reads: { Read: string; Cycles: Record<string, number>[] }[];
  [name: string]: unknown;
}

describe('a finished run', () => {
  it('shows plots whose numbers are those of RunStats.json', async () => {
    const { execution } = await executionsOf(stack, call).details(executionId);
    const folder = execution.output.uri.slice(`s3://${account.bucket}/`.length);
    const listed = await s3.send(new ListObjectsV2Command({ Bucket: account.bucket, Prefix: folder }));
    const key = listed.Contents!.map(({ Key }) => Key!).find((each) => each.endsWith('/RunStats.json'))!;
    const object = await s3.send(new GetObjectCommand({ Bucket: account.bucket, Key: key }));
    const stats = JSON.parse(await object.Body!.transformToString()) as RunStats;
    await open('/runs');
    await page.getByRole('link', { name: run.runName, exact: true }).click();
    await page.getByRole('tab', { name: 'Metrics and plots' }).click();
    const section = page.getByRole('region', { name: 'From Bases2Fastq' });
    await section.getByRole('heading', { name: '% Q30 by cycle' }).waitFor();
    for (const button of await section.getByRole('button', { name: 'Numbers' }).all()) await button.click();
    for (const [title, measure] of [
      ['% Q30 by cycle', 'PercentQ30'],
      ['Mean quality score by cycle', 'QualityScoreMean'],
    ] as const) {
      const rows = await readTable(tableNamed(section, title));
      // The reads differ in length; the shorter one has no values for the last cycles.
      const longest = Math.max(...stats.Reads.map(({ Cycles }) => Cycles.length));
      const expected = Array.from({ length: longest }, (_, at) => [
        String(at + 1),
        ...stats.Reads.map(({ Cycles }) => {
          const cycle = Cycles.find((_cycle, index) => index === at);
          return cycle === undefined ? '' : show(cycle[measure]!, title.startsWith('%'));
        }),
      ]);
      expect(rows).toEqual(expected);
    }
    await section.getByText(show(stats.PercentQ30, true)).first().waitFor();
  });
});

describe('every page', () => {
  it('has no violation of accessibility rules that axe knows, in light and in dark', async () => {
    const { storageConnections } = await call<{ storageConnections: { id: string }[] }>(
      'GET',
      '/v1/storage-connections',
    );
    const { providers } = await call<{ providers: { id: string }[] }>('GET', '/v1/providers');
    const storageId = storageConnections[0]!.id;
    const addresses = [
      ...['/', '/runs', `/runs/${runId}`, `/runs/${runId}#metrics`, `/runs/${runId}#files`, '/executions'],
      ...[`/executions/${executionId}`, `/executions/${executionId}#log`, '/instruments'],
      ...[`/instruments/${encodeURIComponent(run.instrumentName)}`, '/data', `/data/${storageId}`, '/access'],
      ...[`/access/${storageId}`, '/setup', '/providers', `/providers/${providers[0]!.id}`, '/providers/new'],
      ...['/storage', `/storage/${storageId}`, '/compute', '/flows', '/flows/new', '/keys', '/audit', '/webhooks'],
    ];
    const found: string[] = [];
    for (const address of addresses) {
      await open(address);
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        for (const violation of await findViolations(page)) found.push(`${address} (${colorScheme}): ${violation}`);
      }
      await page.emulateMedia({ colorScheme: 'light' });
    }
    expect(found).toEqual([]);
  });
});

describe('signing out', () => {
  it('ends the session, so that the cookie of before is worth nothing', async () => {
    const other = await openWindow(browser, stack.info);
    await signInWithKey(other, stack.info.apiKey);
    const cookies = await other.context.cookies();
    await other.page.getByRole('button', { name: /^Account of/ }).click();
    await other.page.getByRole('menuitem', { name: 'Sign out' }).click();
    await other.page.getByRole('heading', { name: 'Sign in to polony' }).waitFor();
    await other.context.addCookies(cookies);
    const answer = await other.context.request.get('/v1/session');
    expect(answer.status()).toBe(401);
    expectNoProblems(other);
    await other.context.close();
  });
});

/** As the console writes a number. */
const show = (value: number, isPercent: boolean): string =>
  isPercent
    ? `${value.toLocaleString('en-US', { maximumFractionDigits: 2 })} %`
    : value.toLocaleString('en-US', { maximumFractionDigits: 3 });
