import type { Locator, Page } from 'playwright-core';
import type { State } from './imagesState.js';
import { settled } from './page.js';
import { shrinkPng } from './png.js';

const WIDTH = 1280;
/** A page is shown up to here. What is below looks alike. */
const HEIGHT = { least: 620, most: 1000 };

export interface Picture {
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

/** All pictures, in the order of the pages of the console. */
export function picturesOf(state: State): Picture[] {
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
  // Nothing but the instrument has measured this one.
  const measured = `/runs/${state.measuredRunId}#metrics`;
  const execution = `/executions/${state.executionId}`;
  return [
    { name: 'sign-in', address: '/sign-in', isStranger: true, until: heading('Sign in to polony') },
    { name: 'overview', address: '/', until: text('omics:StartRun') },
    { name: 'overview-dark', address: '/', colorScheme: 'dark', until: text('omics:StartRun') },
    { name: 'runs', address: '/runs', until: text('WGS-pool-11') },
    { name: 'run-uploading', address: `/runs/${state.uploadingRunId}#setup`, until: text('Folder') },
    { name: 'run-metrics', address: measured, until: heading('% Q30 by cycle'), most: 1600 },
    {
      name: 'run-metrics-dark',
      address: measured,
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
    { name: 'execution', address: execution, until: text('NA12878') },
    { name: 'execution-metrics', address: `${execution}#metrics`, until: text('NA12878'), most: 1400 },
    { name: 'execution-results', address: `${execution}#files`, until: text('RunStats.json'), most: 1700 },
    { name: 'execution-log', address: `${execution}#log`, until: text('Bases2Fastq'), most: 1700 },
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
    { name: 'compute', address: '/compute', until: text('healthomics') },
    { name: 'flows', address: '/flows', until: text('bases2fastq') },
    { name: 'flow-new', address: '/flows/new', until: heading('Add a flow'), most: 1200 },
    {
      name: 'verification',
      address: `/verification/provider/${connected.providerId}`,
      until: text('s3:ListBucket'),
      most: 1400,
    },
    { name: 'keys', address: '/keys', until: text('lims') },
    { name: 'audit', address: '/audit', until: text('Create API key') },
    { name: 'webhooks', address: '/webhooks', until: text('LIMS') },
    { name: 'webhook', address: `/webhooks/${state.webhookId}`, until: text('execution.completed') },
  ];
}

/** Shows the page as high as it is, within limits. */
async function fit(page: Page, most: number): Promise<void> {
  await page.setViewportSize({ width: WIDTH, height: HEIGHT.least });
  const height = Number(await page.evaluate('document.scrollingElement.scrollHeight'));
  await page.setViewportSize({ width: WIDTH, height: Math.min(Math.max(height, HEIGHT.least), most) });
}

/** Opens the page and takes the picture. @returns a PNG */
export async function takePicture(page: Page, picture: Picture): Promise<Buffer> {
  await page.goto('about:blank');
  await page.emulateMedia({ colorScheme: picture.colorScheme ?? 'light' });
  await page.goto(picture.address);
  await settled(page);
  await picture.until(page).waitFor();
  await settled(page);
  await fit(page, picture.most ?? HEIGHT.most);
  await picture.act?.(page);
  await settled(page);
  return shrinkPng(await page.screenshot({ animations: 'disabled', caret: 'hide' }));
}
