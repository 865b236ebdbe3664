import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateRoleCommand } from '@aws-sdk/client-iam';
import {
  GetBucketPolicyCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import type { Browser, Download, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  addStatements,
  adminClients,
  apiClient,
  connectAccount,
  type CustomerAccount,
  setUpCustomer,
} from '../../cli/customer.js';
import { createSignInUrl } from '../../cli/localInfo.js';
import { describeRun, runFolderName, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { executionsOf, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';
import { launchBrowser } from './browser.js';
import {
  type ConsolePage,
  expectNoProblems,
  findViolations,
  openAddress,
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
let storageId: string;
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
  ({ storageConnectionId: storageId } = await connectAccount(call, account, { autoStart: true }));
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

const open = (address: string): Promise<void> => openAddress(page, address);

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

  it('signs in with a one-time address where the page that asks for a sign-in is open already', async () => {
    const other = await openWindow(browser, stack.info);
    other.expectFailures(401);
    await other.page.goto('/sign-in');
    await other.page.getByRole('heading', { name: 'Sign in to polony' }).waitFor();
    await other.page.goto((await createSignInUrl(stack.info))!);
    await other.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    expect(new URL(other.page.url()).hash).toBe('');
    expectNoProblems(other);
    await other.context.close();
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

const press = (within: Locator | Page, name: string): Promise<void> =>
  within.getByRole('button', { name, exact: true }).click();
const rowOf = (within: Locator | Page, name: string): Locator =>
  within.getByRole('row').filter({ has: page.getByRole('rowheader', { name, exact: true }) });

/** Opens a menu with actions, and chooses one. */
async function choose(menu: string, action: string | RegExp): Promise<void> {
  await press(page, menu);
  await page.getByRole('menuitem', { name: action, exact: true }).click();
}

async function expectAccessible(of: Page = page): Promise<void> {
  await settled(of);
  expect(await findViolations(of)).toEqual([]);
}

const bytesOf = async (key: string): Promise<Buffer> => {
  const object = await s3.send(new GetObjectCommand({ Bucket: account.bucket, Key: key }));
  return Buffer.from(await object.Body!.transformToByteArray());
};

describe('the Data Explorer', () => {
  const folder = [run.instrumentName, runFolderName(run)];
  const keyOf = (name: string): string => [account.prefix, ...folder, name].join('/');

  it('downloads a file under its name, with the bytes that S3 has', async () => {
    await open('/data');
    await page.getByRole('link', { name: 'runs', exact: true }).waitFor();
    // From the page of the storage connection, which has read the same connection already.
    await open(`/storage/${storageId}`);
    await page.getByText('Explore data', { exact: true }).click();
    for (const name of folder) await page.getByRole('link', { name, exact: true }).click();
    await rowOf(tableNamed(page, 'Files'), 'RunParameters.json').waitFor();
    const folders = page.getByRole('navigation', { name: 'Folders' });
    await folders.getByRole('link', { name: new RegExp(`^s3://${account.bucket}`) }).waitFor();
    const begun = beginsDownload();
    await choose('Actions for RunParameters.json', 'Download');
    const download = await begun;
    expect(download.suggestedFilename()).toBe('RunParameters.json');
    expect(readFileSync(await download.path())).toEqual(await bytesOf(keyOf('RunParameters.json')));
  });

  it('shows a text file', async () => {
    await page.getByRole('link', { name: 'RunParameters.json', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'RunParameters.json' });
    const shown = await dialog.getByRole('group', { name: 'Content of RunParameters.json' }).innerText();
    expect(JSON.parse(shown)).toEqual(JSON.parse((await bytesOf(keyOf('RunParameters.json'))).toString()));
    await expectAccessible();
    await dialog.getByRole('button', { name: 'Close' }).last().click();
    await dialog.waitFor({ state: 'detached' });
  });

  it('shows an HTML report in a frame that reaches neither cookies nor storage nor the page around it', async () => {
    const probe = (name: string, expression: string): string =>
      `try { out.push('${name}: ' + String(${expression})) } catch (error) { out.push('${name}: ' + error.name) }`;
    const html =
      '<!doctype html><title>Probe</title><p id="out"></p><script>const out = [];' +
      probe('cookies', 'document.cookie') +
      probe('storage', 'localStorage.length') +
      probe('page', 'parent.document.title') +
      "document.getElementById('out').textContent = out.join(', ');</script>";
    await s3.send(new PutObjectCommand({ Bucket: account.bucket, Key: keyOf('probe.html'), Body: html }));
    await press(page, 'Load the folder again');
    await page.getByRole('link', { name: 'probe.html', exact: true }).click();
    const frame = page.locator('iframe[title="Report probe.html"]');
    expect(await frame.getAttribute('sandbox')).toBe('allow-scripts');
    const out = frame.contentFrame().locator('#out');
    await out.filter({ hasText: 'page' }).waitFor();
    expect(await out.innerText()).toBe('cookies: SecurityError, storage: SecurityError, page: SecurityError');
    const dialog = page.getByRole('dialog', { name: 'probe.html' });
    await dialog.getByRole('button', { name: 'Close' }).last().click();
  });

  /** The next download. It belongs to this page or to the tab that the link opens for it. */
  const beginsDownload = (): Promise<Download> =>
    Promise.race([
      page.waitForEvent('download'),
      window.context.waitForEvent('page').then((popup) => popup.waitForEvent('download')),
    ]);
});

describe('Manage Data Access', () => {
  const readPolicy = async (): Promise<string> => {
    try {
      return (await s3.send(new GetBucketPolicyCommand({ Bucket: account.bucket }))).Policy ?? '';
    } catch (error) {
      if ((error as Error).name === 'NoSuchBucketPolicy') return '';
      throw error;
    }
  };
  const grants = (): Locator => tableNamed(page, 'Who may read runs');
  let principal: string;

  it('shares a folder with a role, which the bucket policy then names', async () => {
    const actions = ['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy'];
    const bucketArn = `arn:aws:s3:::${account.bucket}`;
    await addStatements(stack.info, account.providerRoleArn, [
      { Effect: 'Allow', Action: actions, Resource: bucketArn },
    ]);
    const { iam } = adminClients(stack.info);
    const owner = { AWS: `arn:aws:iam::${stack.info.adminAccessKeyId}:root` };
    const { Role } = await iam.send(
      new CreateRoleCommand({
        RoleName: 'Analysis',
        AssumeRolePolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Principal: owner, Action: 'sts:AssumeRole' }],
        }),
      }),
    );
    iam.destroy();
    principal = Role!.Arn!;
    await open(`/data/${storageId}?prefix=${run.instrumentName}/`);
    await page.getByRole('link', { name: 'Share', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'Share data' });
    await dialog.getByRole('textbox', { name: 'Principal', exact: true }).fill(principal);
    await dialog.getByRole('textbox', { name: /^Description/ }).fill('Analysis of the lab');
    const folder = dialog.getByRole('textbox', { name: 'Folder', exact: true });
    const uri = `s3://${account.bucket}/${account.prefix}/${run.instrumentName}/`;
    expect(await folder.inputValue()).toBe(uri);
    await folder.fill(`s3://another-bucket/${run.instrumentName}/`);
    await dialog.getByText(`must be below s3://${account.bucket}/${account.prefix}`).waitFor();
    expect(await dialog.getByRole('button', { name: 'Share', exact: true }).isDisabled()).toBe(true);
    // As the Data Explorer copies it.
    await folder.fill(uri);
    await expectAccessible();
    await press(dialog, 'Share');
    await dialog.waitFor({ state: 'detached' });
    // The role of polony may not see how the bucket is encrypted, so that it cannot rule out a key of KMS.
    const details = page.getByRole('dialog', { name: 'Access grant' });
    await details.getByText('The grant alone may not be enough').waitFor();
    await details.getByRole('button', { name: 'Close' }).last().click();
    await details.waitFor({ state: 'detached' });
    await rowOf(grants(), principal).getByText('Active', { exact: true }).waitFor();
    const policy = await readPolicy();
    expect(policy).toContain(principal);
    expect(policy).toContain(`${bucketArn}/${account.prefix}/${run.instrumentName}/*`);
    expect(policy).not.toContain('s3://');
  });

  it('shows what somebody changed in the bucket policy, and repairs it', async () => {
    const shared = await readPolicy();
    const changed = shared.replaceAll('s3:GetObject"', 's3:GetObjectTagging"');
    expect(changed).not.toBe(shared);
    await s3.send(new PutBucketPolicyCommand({ Bucket: account.bucket, Policy: changed }));
    await press(page, 'Read the bucket policy again');
    await rowOf(grants(), principal).getByText('Changed', { exact: true }).waitFor();
    await choose(`Actions for the grant of ${principal}`, 'Details');
    const dialog = page.getByRole('dialog', { name: 'Access grant' });
    await dialog.getByText('Somebody changed this grant in the bucket policy').waitFor();
    await expectAccessible();
    await press(dialog, 'Repair');
    await dialog.waitFor({ state: 'detached' });
    await rowOf(grants(), principal).getByText('Active', { exact: true }).waitFor();
    expect(JSON.parse(await readPolicy())).toEqual(JSON.parse(shared));
  });

  it('takes access back, so that the bucket policy no longer names the role', async () => {
    await choose(`Actions for the grant of ${principal}`, 'Remove');
    const dialog = page.getByRole('dialog', { name: 'Remove this grant?' });
    await press(dialog, 'Remove');
    await rowOf(grants(), principal).waitFor({ state: 'detached' });
    expect(await readPolicy()).not.toContain(principal);
  });
});

describe('a narrow key', () => {
  it('sees only its own, is offered only what it may do, and causes no failing request', async () => {
    const second = describeRun({ runName: 'CONSOLE2' });
    await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run: second }).done;
    const other = await waitFor('the flow of the second run', async () => {
      const { executions } = await call<{ executions: { id: string; inputs: { run: { id: string } }[] }[] }>(
        'GET',
        '/v1/executions',
      );
      return executions.find(({ id }) => id !== executionId);
    });
    await executionsOf(stack, call).inStatus(other.id, 'COMPLETED');
    const { key } = await call<{ key: string }>('POST', '/v1/api-keys', {
      name: 'one-run',
      scopes: [
        `runs:read:${runId}`,
        `executions:*:${executionId}`,
        `storage:read:${storageId}`,
        `storage:download:${storageId}`,
      ],
    });
    const narrow = await openWindow(browser, stack.info);
    const own = narrow.page;
    const go = async (address: string): Promise<void> => {
      await own.goto(address);
      await settled(own);
    };
    await signInWithKey(narrow, key);
    await settled(own);
    const pages = own.getByRole('navigation', { name: 'Pages' }).getByRole('link');
    await pages.first().waitFor();
    expect((await pages.allInnerTexts()).map((text) => text.trim())).toEqual([
      ...['Overview', 'Runs', 'Executions', 'Data Explorer', 'Storage'],
    ]);
    await expectAccessible(own);

    await go('/runs');
    const headers = (name: string): Promise<string[]> =>
      tableNamed(own, name).locator('tbody').getByRole('rowheader').allInnerTexts();
    await own.getByRole('link', { name: run.runName, exact: true }).waitFor();
    expect(await headers('Runs')).toEqual([run.runName]);
    await go(`/runs/${runId}`);
    await own.getByRole('heading', { level: 1, name: run.runName }).waitFor();
    expect(await own.getByRole('button', { name: 'Start a flow' }).count()).toBe(0);
    expect(await own.getByRole('tab', { name: 'Files' }).count()).toBe(0);

    await go('/executions');
    await tableNamed(own, 'Executions').locator('tbody').getByRole('rowheader').first().waitFor();
    expect(await headers('Executions')).toHaveLength(1);
    // Neither is allowed by executions:*:<id>, because what is started has no ID yet.
    expect(await own.getByRole('button', { name: 'Relaunch' }).count()).toBe(0);
    await own.getByRole('button', { name: 'Cancel', exact: true }).waitFor();
    await go(`/executions/${executionId}#log`);
    await own.getByRole('tab', { name: 'Log', exact: true }).waitFor();
    expect(await own.getByRole('button', { name: 'Relaunch' }).count()).toBe(0);

    await go('/data');
    await own.getByRole('link', { name: 'runs', exact: true }).click();
    await own.getByRole('link', { name: run.instrumentName, exact: true }).waitFor();
    await go(`/storage/${storageId}`);
    await own.getByRole('heading', { level: 1, name: 'runs' }).waitFor();
    for (const name of ['Edit', 'Delete', 'Verify now', 'Manage data access', 'Discover runs now'])
      expect(await own.getByText(name, { exact: true }).count(), name).toBe(0);
    expectNoProblems(narrow);

    narrow.expectFailures(404);
    await own.goto(`/executions/${other.id}`);
    await own.getByText('The execution could not be loaded').waitFor();
    await own.goto(`/runs/${other.inputs[0]!.run.id}`);
    await own.getByText('The run could not be loaded').waitFor();
    expectNoProblems(narrow);
    await narrow.context.close();
  });
});

describe('a one-time address', () => {
  it('signs in once, and says at the second use that it has been used', async () => {
    const address = (await createSignInUrl(stack.info))!;
    const first = await openWindow(browser, stack.info);
    first.expectFailures(401);
    await first.page.goto(address);
    await first.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    const second = await openWindow(browser, stack.info);
    second.expectFailures(401);
    await second.page.goto(address);
    await second.page.getByText('You are not signed in').waitFor();
    await second.page.getByText(/The sign-in link has been used/).waitFor();
    expect(await second.context.cookies()).toEqual([]);
    await expectAccessible(second.page);
    for (const each of [first, second]) {
      expectNoProblems(each);
      await each.context.close();
    }
  });
});

describe('API keys', () => {
  it('ends the sessions of a key that is revoked: an open page leads to the sign-in by itself', async () => {
    await open('/keys');
    await press(page, 'Create a key');
    const dialog = page.getByRole('dialog', { name: 'Create an API key' });
    await dialog.getByRole('textbox', { name: 'Name', exact: true }).fill('reader');
    await choose('Add those of', /^Reader/);
    await expectAccessible();
    await press(dialog, 'Create');
    const secret = await keepSecret('API key reader', 'the API key');

    const other = await openWindow(browser, stack.info);
    const followed = other.page.waitForResponse((answer) => answer.url().includes('/v1/changes?') && answer.ok());
    await signInWithKey(other, secret);
    await other.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await followed;

    await choose('Actions for the key reader', 'Revoke');
    const confirm = page.getByRole('dialog', { name: 'Revoke the key reader?' });
    expect(await confirm.getByRole('button', { name: 'Revoke', exact: true }).isDisabled()).toBe(true);
    await confirm.getByRole('textbox', { name: 'To confirm, type reader' }).fill('reader');
    // The page hears of it with the next change, by its stream or by what it then asks for, whichever is first.
    const refused = other.page.waitForResponse((answer) => answer.status() === 401);
    await press(confirm, 'Revoke');
    await rowOf(tableNamed(page, 'API keys'), 'reader').getByText('Revoked', { exact: true }).waitFor();
    await call('POST', `/v1/executions/${executionId}/relaunch`, {});
    await refused;
    await other.page.getByRole('heading', { name: 'Sign in to polony' }).waitFor();
    expect((await other.context.request.get('/v1/session')).status()).toBe(401);
    expectNoProblems(other);
    await other.context.close();
  });
});

/** Reads the secret that a dialog shows once, and confirms that it is stored. */
async function keepSecret(title: string, name: string): Promise<string> {
  const dialog = page.getByRole('dialog', { name: title, exact: true });
  const secret = await dialog.getByRole('group', { name, exact: true }).innerText();
  await expectAccessible();
  await dialog.getByRole('checkbox', { name: `I have stored ${name}` }).check();
  await dialog.getByRole('button', { name: 'Close' }).last().click();
  await dialog.waitFor({ state: 'detached' });
  return secret.trim();
}

describe('webhooks', () => {
  it('are created, changed, given another secret, and deleted by their name', async () => {
    const url = 'https://127.0.0.1:9443/polony';
    await open('/webhooks');
    await press(page, 'Create a webhook');
    const form = page.getByRole('dialog', { name: 'Create a webhook' });
    await form.getByRole('textbox', { name: 'URL', exact: true }).fill(url);
    await expectAccessible();
    await press(form, 'Create');
    const first = await keepSecret('Signing secret', 'the signing secret');
    await page.getByRole('link', { name: url, exact: true }).click();

    await press(page, 'Change');
    const change = page.getByRole('dialog', { name: 'Change the webhook' });
    await change.getByRole('textbox', { name: /^Description/ }).fill('For the LIMS');
    await press(change, 'Save');
    await change.waitFor({ state: 'detached' });
    await page.getByText('For the LIMS', { exact: true }).waitFor();

    await choose('More', 'Replace the signing secret');
    await press(page.getByRole('dialog', { name: 'Replace the signing secret?' }), 'Replace');
    const second = await keepSecret('Signing secret', 'the signing secret');
    expect(second).not.toBe(first);
    await expectAccessible();

    await choose('More', 'Delete');
    const confirm = page.getByRole('dialog', { name: `Delete the webhook ${url}?` });
    expect(await confirm.getByRole('button', { name: 'Delete', exact: true }).isDisabled()).toBe(true);
    await confirm.getByRole('textbox', { name: `To confirm, type ${url}` }).fill(url);
    await press(confirm, 'Delete');
    await page.getByText('No webhooks yet').waitFor();
    expect(await call('GET', '/v1/webhooks')).toMatchObject({ webhooks: [] });
  });
});

describe('every page', () => {
  it('has no violation of accessibility rules that axe knows, in light and in dark', async () => {
    const { providers } = await call<{ providers: { id: string }[] }>('GET', '/v1/providers');
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
