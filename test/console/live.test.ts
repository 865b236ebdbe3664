import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  addStatements,
  adminClients,
  apiClient,
  connectAccount,
  type CustomerAccount,
  setUpCustomer,
} from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { denialsOf, executionsOf, HELD_MS, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';
import { launchBrowser } from './browser.js';
import {
  type ConsolePage,
  expectNoProblems,
  openAddress,
  openSignedIn,
  readTable,
  settled,
  tableNamed,
} from './page.js';

// The tests follow each other: the run that the first one uploads is that of the executions of the others.
let stateDir: string;
let stack: Stack;
let browser: Browser;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let { details, inStatus, runsOf } = {} as ReturnType<typeof executionsOf>;
let s3: ReturnType<typeof adminClients>['s3'];
let flowId: string;
let runId: string;
let completedId: string;
let window: ConsolePage;
let page: Page;
/** A second window, which stays at the overview. */
let overview: ConsolePage;
const run = describeRun({ runName: 'LIVE' });
const cycles = Object.values(run.cycles).reduce((sum, each) => sum + each, 0);

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-live-'));
  browser = await launchBrowser();
  stack = await startTestStack({
    stateDir,
    console: true,
    // Tests end the runs of HealthOmics themselves.
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: HELD_MS, STOPPING: 50 } },
  });
  call = apiClient(stack.info);
  ({ details, inStatus, runsOf } = executionsOf(stack, call));
  ({ s3 } = adminClients(stack.info));
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'live', ['omics:StartRun']);
  ({ flowId } = await connectAccount(call, account));
  window = await openSignedIn(browser, stack.info);
  ({ page } = window);
  await window.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  overview = await openSignedIn(browser, stack.info);
});

afterEach(() => {
  for (const each of [window, overview]) if (each !== undefined) expectNoProblems(each);
});

afterAll(async () => {
  await browser?.close();
  s3?.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

const open = (address: string): Promise<void> => openAddress(page, address);

/** Marks the document, so that {@link expectNoReload} sees whether it is still the same. */
const markDocument = (marked: Page): Promise<unknown> => marked.evaluate('globalThis.isSameDocument = true');
const expectNoReload = async (marked: Page): Promise<void> =>
  expect(await marked.evaluate('globalThis.isSameDocument')).toBe(true);

const rowOf = (table: Locator, name: string): Locator => table.getByRole('row').filter({ hasText: name });
/** Waits until a text is there. The reader of the page may find it at several places. */
const untilText = (within: Page | Locator, text: string): Promise<void> =>
  within.getByText(text, { exact: true }).first().waitFor();
const button = (name: string): Locator => page.getByRole('button', { name, exact: true });
const dialogNamed = (name: string): Locator => page.getByRole('dialog', { name });

it('shows an upload that grows, stops, goes on and ends', async () => {
  let sentCycles = 0;
  const simulation = simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run,
    concurrency: 1,
    stallAt: 0.25,
    onProgress: ({ path: name }) => {
      if (name.startsWith('BaseCalls/')) sentCycles += 1;
      if (sentCycles === 24 && name.startsWith('BaseCalls/')) simulation.pause();
    },
  });
  const uploading = tableNamed(page, 'Uploading');
  await markDocument(page);
  // The overview is open already: the run appears there.
  await untilText(rowOf(uploading, run.runName), `10 of ${cycles} cycles`);
  await uploading.getByRole('link', { name: run.runName }).click();
  await page.getByRole('heading', { level: 1, name: run.runName }).waitFor();
  await untilText(page, 'Sequencing');
  const progress = page.getByRole('progressbar', { name: 'Cycles' });
  await untilText(page, `10 of ${cycles} cycles`);
  expect(Number(await progress.getAttribute('value'))).toBe((10 / cycles) * 100);
  simulation.resume();
  await untilText(page, `24 of ${cycles} cycles`);
  simulation.resume();
  await simulation.done;
  await untilText(page, 'Completed');
  await untilText(page, `${cycles} of ${cycles} cycles`);
  await untilText(overview.page, 'No instrument uploads a run now.');
  await rowOf(tableNamed(overview.page, 'Runs that were completed today'), run.runName).waitFor();
  await expectNoReload(page);
  runId = new URL(page.url()).pathname.split('/').at(-1)!;
});

it('shows what an execution waits for, and that it goes on and completes once it has that', async () => {
  await markDocument(page);
  await markDocument(overview.page);
  await button('Start a flow').click();
  const dialog = dialogNamed(`Start a flow for ${run.runName}`);
  await dialog.getByLabel('Flow', { exact: true }).click();
  await page.getByRole('option', { name: 'b2f' }).click();
  await dialog.getByRole('button', { name: 'Start', exact: true }).click();
  await page.waitForURL(/\/executions\//);
  completedId = new URL(page.url()).pathname.split('/').at(-1)!;

  await untilText(page, 'Waits for the permission omics:StartRun');
  const { blocked } = (await details(completedId)).details;
  expect(blocked!.statement).toMatchObject({ Effect: 'Allow' });
  const { execution } = await details(completedId);
  const waiting = tableNamed(overview.page, 'Waits for a person');
  await untilText(rowOf(waiting, execution.name), 'omics:StartRun');
  await button('Copy the missing statement').click();
  await untilText(page, 'Copied');
  const copied = JSON.parse(await page.evaluate<string>('navigator.clipboard.readText()')) as unknown;
  expect(copied).toEqual(blocked!.statement);
  expect(JSON.parse(await page.getByRole('group', { name: 'the missing statement' }).innerText())).toEqual(copied);

  await addStatements(stack.info, account.providerRoleArn, [copied]);
  await untilText(page, 'Running on HealthOmics');
  await page.getByText('Waits for the permission').first().waitFor({ state: 'detached' });
  await untilText(overview.page, 'Nothing waits for a person.');
  await rowOf(tableNamed(overview.page, 'Running'), execution.name).waitFor();
  stack.aws.emulator.finish(runsOf(completedId)[0]!.id);
  await page.getByRole('tab', { name: 'Samples, metrics and plots' }).waitFor();
  await untilText(page, 'Completed');
  await rowOf(tableNamed(overview.page, 'Finished today'), execution.name).waitFor();
  await expectNoReload(page);
  await expectNoReload(overview.page);
});

/** Starts an execution of the run through the API. */
async function start(name: string): Promise<string> {
  const answer = await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId, name });
  return answer.execution.id;
}

const choose = (name: string): Promise<void> =>
  page.getByRole('checkbox', { name: `Choose ${name}`, exact: true }).check({ force: true });

/** The names and the results in the dialog of an action on several executions. */
async function readResults(dialog: Locator): Promise<Record<string, string>> {
  const rows = await readTable(tableNamed(dialog, 'Chosen executions'));
  return Object.fromEntries(rows.map((cells) => [cells[0]!, cells.at(-1)!]));
}

const closeDialog = async (dialog: Locator): Promise<void> => {
  await dialog.getByRole('button', { name: 'Close' }).last().click();
  await dialog.waitFor({ state: 'hidden' });
};

describe('several executions at once', () => {
  const names = ['bulk-1', 'bulk-2', 'bulk-3'];
  let ids: string[];

  it('cancels those that run, with one reason, and leaves out those that have ended', async () => {
    ids = [];
    for (const name of names) ids.push(await start(name));
    for (const id of ids) await inStatus(id, 'RUNNING');
    await open('/executions');
    await untilText(rowOf(tableNamed(page, 'Executions'), 'bulk-3'), 'Running');
    expect(await button('Cancel').isDisabled()).toBe(true);
    await page.getByRole('checkbox', { name: 'Choose all rows of this page' }).check({ force: true });
    await button('Cancel').click();
    const dialog = dialogNamed('Cancel executions');
    await untilText(dialog, '1 of the chosen executions is left out: it has ended.');
    expect(Object.keys(await readResults(dialog)).sort()).toEqual(names);
    await dialog.getByLabel('Reason').fill('wrong manifest');
    await dialog.getByRole('button', { name: 'Cancel 3' }).click();
    await dialog.getByText('Done').nth(2).waitFor();
    expect(await readResults(dialog)).toEqual({ 'bulk-1': 'Done', 'bulk-2': 'Done', 'bulk-3': 'Done' });
    await closeDialog(dialog);
    for (const id of ids) {
      const canceled = await inStatus(id, 'CANCELED');
      expect(canceled.details.cancelRequested).toMatchObject({ reason: 'wrong manifest' });
    }
    expect((await details(completedId)).execution.status).toBe('EXECUTION_STATUS_COMPLETED');
    for (const name of names) await untilText(rowOf(tableNamed(page, 'Executions'), name), 'Canceled');
  });

  it('relaunches those that have ended, and leaves out the one that runs', async () => {
    await start('still-running');
    await rowOf(tableNamed(page, 'Executions'), 'still-running').waitFor();
    for (const name of [...names, 'still-running']) await choose(name);
    await button('Relaunch').click();
    const dialog = dialogNamed('Relaunch executions');
    await untilText(dialog, '1 of the chosen executions is left out: it has not ended.');
    expect(Object.keys(await readResults(dialog)).sort()).toEqual(names);
    await dialog.getByRole('button', { name: 'Relaunch 3' }).click();
    const started = dialog.getByRole('link', { name: 'the new execution' });
    await started.nth(2).waitFor();
    const relaunched = await Promise.all(
      (await started.all()).map(async (each) => (await each.getAttribute('href'))!.split('/').at(-1)!),
    );
    expect(new Set(relaunched).size).toBe(3);
    const origins = await Promise.all(
      relaunched.map(async (id) => {
        const answer = await call<{ details: { relaunchOf: string } }>('GET', `/v1/executions/${id}/details`);
        return answer.details.relaunchOf;
      }),
    );
    expect(origins.sort()).toEqual([...ids].sort());
    await closeDialog(dialog);
  });

  it('tries blocked executions again, and says what became of each', async () => {
    const denials = denialsOf(stack, account);
    await denials.deny('omics:StartRun');
    const blocked = ['blocked-1', 'blocked-2'];
    const started = await Promise.all(blocked.map(start));
    for (const id of started)
      await waitFor('the execution to be blocked', async () => (await details(id)).details.blocked !== null);
    for (const name of [...blocked, 'bulk-1']) {
      await page.getByRole('checkbox', { name: `Choose ${name}`, exact: true }).waitFor();
      await choose(name);
    }
    await button('Try again').click();
    const dialog = dialogNamed('Try blocked executions again');
    await dialog.getByRole('button', { name: 'Try again 2' }).click();
    await dialog.getByText('Done').nth(1).waitFor();
    expect(await readResults(dialog)).toEqual({ 'blocked-1': 'Done', 'blocked-2': 'Done' });
    await closeDialog(dialog);
    await denials.allow();
    for (const id of started) await inStatus(id, 'RUNNING');
  });
});

describe('finding something', () => {
  const filter = (): string | null => new URL(page.url()).searchParams.get('filter');
  const input = (): Locator => page.getByRole('combobox', { name: 'Filter executions' });
  const executions = (): Locator => tableNamed(page, 'Executions');

  it('filters with values that occur and with negation, and keeps that in the address', async () => {
    await open('/executions');
    await input().fill('Flow name = ');
    await page.getByRole('option', { name: 'Flow name = b2f' }).click();
    await page.getByRole('group', { name: 'Flow name = b2f' }).waitFor();
    expect(filter()).toBe('flow.name:"b2f"');
    await input().fill('Status != ');
    await page.getByRole('option', { name: 'canceled' }).click();
    await button('Apply').click();
    await page.getByRole('group', { name: 'Status != canceled' }).waitFor();
    await input().fill('Name !: blocked');
    await input().press('Enter');
    await page.getByRole('group', { name: 'Name !: blocked' }).waitFor();
    expect(filter()).toBe('flow.name:"b2f" status!=canceled name!=blocked');
    await rowOf(executions(), 'bulk-1').filter({ hasText: 'Canceled' }).waitFor({ state: 'detached' });
    await executions().getByText('blocked-1').waitFor({ state: 'detached' });
    await page.reload();
    await settled(page);
    for (const name of ['Flow name = b2f', 'Status != canceled', 'Name !: blocked'])
      await page.getByRole('group', { name }).waitFor();
    await executions().getByRole('link', { name: 'still-running' }).waitFor();
    expect(await executions().getByText('Canceled', { exact: true }).count()).toBe(0);
    expect(await executions().getByText('blocked-1').count()).toBe(0);
    await page.getByRole('button', { name: 'Remove the condition' }).first().click();
    await page.getByRole('group', { name: 'Flow name = b2f' }).waitFor({ state: 'detached' });
    expect(filter()).toBe('status!=canceled name!=blocked');
  });

  it('keeps the filter and the order under a name', async () => {
    // The header that stays in view lies above the one with the role.
    await executions().getByRole('columnheader', { name: 'Name' }).getByRole('button').click({ force: true });
    await page.waitForURL((url) => url.searchParams.get('orderBy') === 'name');
    await button('Views').click();
    await page.getByRole('menuitem', { name: 'Save this view…' }).click();
    const dialog = dialogNamed('Save this view');
    await dialog.getByLabel('Name').fill('Going on');
    await dialog.getByRole('button', { name: 'Save', exact: true }).click();
    await dialog.waitFor({ state: 'hidden' });
    await open('/executions');
    await executions().getByText('blocked-1').waitFor();
    await button('Views').click();
    await page.getByRole('menuitem', { name: 'Going on', exact: true }).click();
    await page.waitForURL((url) => url.searchParams.get('orderBy') === 'name');
    expect(filter()).toBe('status!=canceled name!=blocked');
    await page.getByRole('group', { name: 'Status != canceled' }).waitFor();
    await button('Views').click();
    await page.getByRole('menuitem', { name: 'Remove Going on' }).click();
    await button('Views').click();
    await page.getByRole('menuitem', { name: 'Save this view…' }).waitFor();
    expect(await page.getByRole('menuitem').count()).toBe(1);
    await page.keyboard.press('Escape');
  });

  it('goes to the filter with /, and to the content with the first link', async () => {
    await open(`/runs/${runId}#setup`);
    await page.keyboard.press('Tab');
    await page.getByRole('link', { name: 'Skip to the content' }).and(page.locator(':focus')).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('#main:focus').waitFor();
    // The open tab stays open.
    expect(new URL(page.url()).hash).toBe('#setup');
    await untilText(page, 'Folder');
    await open('/executions');
    await page.keyboard.press('/');
    await input().and(page.locator(':focus')).waitFor();
    expect(await input().inputValue()).toBe('');
    await page.keyboard.type('a/b');
    expect(await input().inputValue()).toBe('a/b');
    await input().fill('');
    await page.keyboard.press('Escape');
  });

  it('goes anywhere by name with Ctrl-K', async () => {
    await page.keyboard.press('Control+k');
    const palette = dialogNamed('Go to');
    await palette.getByRole('combobox').fill('audit');
    await palette.getByRole('option', { name: 'Audit log' }).and(palette.locator('[aria-selected=true]')).waitFor();
    await palette.getByRole('combobox').fill(run.runName);
    await palette.getByRole('option', { name: `${run.runName} Run` }).waitFor();
    await palette.getByRole('combobox').press('Enter');
    await page.getByRole('heading', { level: 1, name: run.runName }).waitFor();
    expect(new URL(page.url()).pathname).toBe(`/runs/${runId}`);
    await page.keyboard.press('Control+k');
    await palette.getByRole('combobox').fill('blocked-1');
    await palette.getByRole('option', { name: 'blocked-1 Execution' }).click();
    await page.getByRole('heading', { level: 1, name: 'blocked-1' }).waitFor();
  });
});
