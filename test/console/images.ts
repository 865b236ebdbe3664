import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Locator, Page } from 'playwright-core';
import { abortOnTermination } from '../../cli/local.js';
import { startStack } from '../../local/stack.js';
import { launchBrowser } from './browser.js';
import { makeState, type State } from './imagesState.js';
import { type ConsolePage, openSignedIn, openWindow, settled } from './page.js';
import { shrinkPng } from './png.js';

/*
 * `npm run console:images`: pictures of every page of the console, for the documentation. It starts a local stack of
 * its own and fills it. `npm run console:images -- runs overview` makes only those whose names begin so.
 */
const FOLDER = fileURLToPath(new URL('../../docs/images', import.meta.url));
const WIDTH = 1280;
/** A page is shown up to here. What is below looks alike. */
const HEIGHT = { least: 480, most: 1000 };

interface Picture {
  /** The file is `console-<name>.png`. */
  name: string;
  address: string;
  colorScheme?: 'dark';
  /** Signed in or not. */
  isStranger?: boolean;
  /** Shows less or more of the page than usual. */
  most?: number;
  /** What must be on the page before it is shown. */
  until: (page: Page) => Locator;
  /** Does what a person does before. */
  act?: (page: Page) => Promise<void>;
}

const text =
  (what: string | RegExp) =>
  (page: Page): Locator =>
    page.getByText(what).first();
const heading =
  (name: string | RegExp) =>
  (page: Page): Locator =>
    page.getByRole('heading', { name }).first();

function picturesOf(state: State): Picture[] {
  const { connected, account } = state;
  const setup = new URLSearchParams({ account: '111122223333', region: 'us-west-2' });
  const planned = new URLSearchParams({ ...Object.fromEntries(setup), bucket: 'lab-aviti-new', prefix: 'runs' });
  const connectedSetup = new URLSearchParams({
    ...Object.fromEntries(setup),
    bucket: account.bucket,
    prefix: account.prefix,
    provider: connected.providerId,
    storage: connected.storageConnectionId,
    compute: connected.computeConnectionId,
    flow: connected.flowId,
  });
  const run = `/runs/${state.runId}`;
  const execution = `/executions/${state.executionId}`;
  return [
    { name: 'sign-in', address: '/sign-in', isStranger: true, until: heading('Sign in to polony') },
    { name: 'overview', address: '/', until: text('omics:StartRun') },
    { name: 'overview-dark', address: '/', colorScheme: 'dark', until: text('omics:StartRun') },
    { name: 'runs', address: '/runs', until: text('WGS-pool-11') },
    { name: 'run-uploading', address: `/runs/${state.uploadingRunId}#setup`, until: text('Folder') },
    { name: 'run-metrics', address: `${run}#metrics`, until: heading('% Q30 by cycle'), most: 1600 },
    {
      name: 'run-metrics-dark',
      address: `${run}#metrics`,
      colorScheme: 'dark',
      until: heading('% Q30 by cycle'),
      most: 1600,
    },
    { name: 'run-files', address: `${run}#files`, until: text('AvitiRunStats.json') },
    {
      name: 'run-start-flow',
      address: run,
      until: text('bases2fastq'),
      act: async (page) => {
        await page.getByRole('button', { name: 'Start a flow' }).click();
        await page.getByRole('dialog').getByText('Run manifest').first().waitFor();
      },
    },
    { name: 'executions', address: '/executions', until: text('WGS-pool-11') },
    { name: 'execution', address: execution, until: heading('Timeline') },
    { name: 'execution-metrics', address: `${execution}#metrics`, until: text('NA12878'), most: 1400 },
    { name: 'execution-results', address: `${execution}#files`, until: text('RunStats.json') },
    { name: 'execution-log', address: `${execution}#log`, until: text('Bases2Fastq') },
    { name: 'execution-running', address: `/executions/${state.runningId}`, until: heading('Timeline') },
    { name: 'execution-blocked', address: `/executions/${state.blockedId}`, until: text('omics:StartRun') },
    { name: 'execution-failed', address: `/executions/${state.failedId}`, until: heading('Timeline') },
    { name: 'instruments', address: '/instruments', until: text(state.instrument) },
    { name: 'instrument', address: `/instruments/${state.instrument}`, until: text('WGS-pool-11') },
    { name: 'data', address: '/data', until: text('aviti-runs') },
    {
      name: 'data-files',
      address: `/data/${connected.storageConnectionId}?prefix=${state.instrument}/`,
      until: text('WGS-pool-11'),
    },
    { name: 'access', address: '/access', until: text('aviti-runs') },
    { name: 'access-storage', address: `/access/${connected.storageConnectionId}`, until: text('Tumor board') },
    { name: 'setup', address: `/setup?${planned.toString()}`, until: text('sts:AssumeRole'), most: 1800 },
    { name: 'setup-done', address: `/setup?${connectedSetup.toString()}`, until: text('The account is ready') },
    { name: 'providers', address: '/providers', until: text('genomics-core') },
    { name: 'provider', address: `/providers/${connected.providerId}`, until: text('s3:ListBucket') },
    { name: 'storage', address: '/storage', until: text('aviti-runs') },
    {
      name: 'storage-connection',
      address: `/storage/${connected.storageConnectionId}`,
      until: text('s3:ListBucket'),
    },
    { name: 'compute', address: '/compute', until: text('omics') },
    { name: 'flows', address: '/flows', until: text('bases2fastq') },
    { name: 'flow-new', address: '/flows/new', until: heading('Create flow'), most: 1600 },
    {
      name: 'verification',
      address: `/verification/provider/${connected.providerId}`,
      until: text('s3:ListBucket'),
      most: 1400,
    },
    { name: 'keys', address: '/keys', until: text('lims') },
    { name: 'audit', address: '/audit', until: text('apiKeys.create') },
    { name: 'webhooks', address: '/webhooks', until: text('LIMS') },
    { name: 'webhook', address: `/webhooks/${state.webhookId}`, until: text('execution.completed') },
    {
      name: 'palette',
      address: '/',
      until: text('omics:StartRun'),
      act: async (page) => {
        await page.keyboard.press('Control+k');
        await page.keyboard.type('WGS');
        await page.getByRole('dialog').getByText('WGS-pool-11').first().waitFor();
      },
    },
  ];
}

/** Shows the page as high as it is, within limits. */
async function fit(page: Page, most: number): Promise<void> {
  await page.setViewportSize({ width: WIDTH, height: HEIGHT.least });
  const height = Number(await page.evaluate('document.scrollingElement.scrollHeight'));
  await page.setViewportSize({ width: WIDTH, height: Math.min(Math.max(height, HEIGHT.least), most) });
}

/** Messages would cover what the picture shows, and a pointer or a focus would change it. */
async function take({ page }: ConsolePage, picture: Picture): Promise<number> {
  await page.goto('about:blank');
  await page.emulateMedia({ colorScheme: picture.colorScheme ?? 'light' });
  await page.goto(picture.address);
  await settled(page);
  await picture.until(page).waitFor();
  await settled(page);
  await picture.act?.(page);
  await fit(page, picture.most ?? HEIGHT.most);
  await settled(page);
  const png = shrinkPng(await page.screenshot({ animations: 'disabled', caret: 'hide' }));
  writeFileSync(path.join(FOLDER, `console-${picture.name}.png`), png);
  return png.length;
}

async function main(wanted: readonly string[]): Promise<void> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-images-'));
  const signal = abortOnTermination();
  const browser = await launchBrowser();
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
    if (wanted.length === 0)
      for (const file of readdirSync(FOLDER)) if (file.startsWith('console-')) rmSync(path.join(FOLDER, file));
    const member = await openSignedIn(browser, stack.info);
    const stranger = await openWindow(browser, stack.info);
    stranger.expectFailures(401);
    for (const picture of pictures) {
      if (wanted.length > 0 && !wanted.some((name) => picture.name.startsWith(name))) continue;
      signal.throwIfAborted();
      try {
        const size = await take(picture.isStranger === true ? stranger : member, picture);
        say(`${(size / 1024).toFixed(0).padStart(4)} KB  ${picture.name}`);
      } catch (error) {
        problems.push(`${picture.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    problems.push(...member.problems, ...stranger.problems);
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
