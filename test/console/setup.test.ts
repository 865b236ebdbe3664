import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import { AcceptShareCommand, ListSharesCommand } from '@aws-sdk/client-omics';
import { CreateBucketCommand } from '@aws-sdk/client-s3';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient } from '../../cli/customer.js';
import type { Stack } from '../../local/stack.js';
import { startTestStack } from '../testStack.js';
import { launchBrowser } from './browser.js';
import { type ConsolePage, expectNoProblems, findViolations, openSignedIn, settled, tableNamed } from './page.js';

// The tests follow each other: the second and the third find what those before them connected.
let stateDir: string;
let stack: Stack;
let browser: Browser;
let window: ConsolePage;
let page: Page;
let call: ReturnType<typeof apiClient>;
let aws: ReturnType<typeof adminClients>;

const REGION = 'us-west-2';
const BUCKET = 'lab-aviti-wizard';

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-setup-'));
  browser = await launchBrowser();
  stack = await startTestStack({ stateDir, console: true });
  call = apiClient(stack.info);
  aws = adminClients(stack.info);
  window = await openSignedIn(browser, stack.info);
  ({ page } = window);
});

afterEach(() => {
  if (window !== undefined) expectNoProblems(window);
});

afterAll(async () => {
  await browser?.close();
  for (const client of Object.values(aws ?? {})) client.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

const step = (number: number): Locator => page.getByRole('region', { name: `Step ${number}`, exact: true });
const field = (within: Locator, name: string): Locator => within.getByRole('textbox', { name, exact: true });
const press = (within: Locator | Page, name: string): Promise<void> =>
  within.getByRole('button', { name, exact: true }).click();
const isDone = (number: number): Promise<void> => step(number).getByText('Done', { exact: true }).first().waitFor();

async function expectAccessible(): Promise<void> {
  await settled(page);
  expect(await findViolations(page)).toEqual([]);
}

interface Policy {
  Version: string;
  Statement: { Action: string | string[]; Resource: unknown; Condition?: Record<string, Record<string, unknown>> }[];
}

/** A document as a person copies it from the page. */
async function readDocument(within: Locator, name: string): Promise<Policy> {
  return JSON.parse(await within.getByRole('group', { name, exact: true }).innerText()) as Policy;
}

const text = (policy: Policy): string => JSON.stringify(policy);

/** The policy of somebody who forgot an action. */
const without = (policy: Policy, forgotten: string): Policy => ({
  ...policy,
  Statement: policy.Statement.map((statement) => ({
    ...statement,
    Action: [statement.Action].flat().filter((action) => action !== forgotten),
  })).filter(({ Action }) => Action.length > 0),
});

const createBucket = (bucket: string): Promise<unknown> =>
  aws.s3.send(
    new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: REGION as never } }),
  );

async function createRole(RoleName: string, trust: Policy, granted: Policy): Promise<void> {
  await aws.iam.send(
    new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument: text(trust), MaxSessionDuration: 43_200 }),
  );
  await aws.iam.send(new PutRolePolicyCommand({ RoleName, PolicyName: 'polony', PolicyDocument: text(granted) }));
}

/** Fills in where polony may work, and opens the documents as JSON. */
async function plan(bucket: string, account: string): Promise<void> {
  await step(1)
    .getByRole('textbox', { name: /^AWS account ID/ })
    .fill(account);
  await step(1).getByRole('combobox', { name: 'Region', exact: true }).fill(REGION);
  await field(step(1), 'Bucket').fill(bucket);
  await step(1)
    .getByRole('textbox', { name: /^Prefix/ })
    .fill('runs');
  await step(2).getByRole('tab', { name: 'JSON policies' }).click();
  // The page makes the documents again when somebody has typed.
  await step(2)
    .getByRole('group', { name: 'the permission policy', exact: true })
    .filter({ hasText: `${bucket}/runs/` })
    .waitFor();
}

/** What the installation has, and the state of each. */
async function readConnections(): Promise<Record<string, string[]>> {
  const states = async (address: string, member: string): Promise<string[]> => {
    const answer = await call<Record<string, { status: string }[]>>('GET', address);
    return answer[member]!.map(({ status }) => status.replace(/^.*_STATUS_/, ''));
  };
  return {
    providers: await states('/v1/providers', 'providers'),
    storage: await states('/v1/storage-connections', 'storageConnections'),
    compute: await states('/v1/compute-connections', 'computeConnections'),
    flows: await states('/v1/flows', 'flows'),
  };
}

describe('the setup', () => {
  let accountId: string;
  let granted: Policy;

  it('leads from an empty installation to the documents that an administrator needs', async () => {
    accountId = stack.info.adminAccessKeyId;
    expect(await readConnections()).toEqual({ providers: [], storage: [], compute: [], flows: [] });
    await page.getByRole('link', { name: 'Set up', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'Set up' }).waitFor();
    await expectAccessible();
    await expect
      .poll(() =>
        step(1)
          .getByRole('radio', { name: /^Role with an external ID/ })
          .isChecked(),
      )
      .toBe(true);
    await step(1).getByRole('checkbox', { name: 'Credentials for the AWS CLI' }).check();
    await plan(BUCKET, accountId);
    await expectAccessible();

    granted = await readDocument(step(2), 'the permission policy');
    const trust = await readDocument(step(2), 'the trust policy');
    expect(text(trust)).toContain(stack.info.trustedAccountId);
    const externalId = trust.Statement[0]!.Condition!.StringEquals!['sts:ExternalId'];
    expect(await field(step(3), 'External ID').inputValue()).toBe(externalId);
    await createBucket(BUCKET);
    await createRole('Element-ServiceUser', trust, without(granted, 's3:ListBucket'));
    await createRole(
      'Element-HealthOmics-Execution',
      await readDocument(step(2), 'the trust policy of the execution role'),
      await readDocument(step(2), 'the permission policy of the execution role'),
    );
  });

  it('says what a pasted policy lacks, and what to add', async () => {
    await press(step(2), 'Check a policy that you have already');
    const policy = field(step(2), 'Permission policy');
    await policy.fill(text(without(granted, 's3:ListBucket')));
    await press(step(2), 'Check the policy');
    const row = tableNamed(step(2), 'What the policy grants')
      .getByRole('row')
      .filter({ has: page.getByRole('rowheader', { name: 's3:ListBucket', exact: true }) });
    await row.getByText('Denied').waitFor();
    const missing = step(2).getByRole('group', { name: 'the missing statements', exact: true });
    expect(await missing.innerText()).toContain('s3:ListBucket');
    await expectAccessible();

    await policy.fill(text(granted));
    await press(step(2), 'Check the policy');
    await row.getByText('Granted').waitFor();
    expect(await missing.count()).toBe(0);
  });

  it('tests the role before it saves it, and connects the account', async () => {
    await press(step(3), 'Test before saving');
    await step(3).getByText('AWS lets polony in').waitFor();
    await expectAccessible();
    await press(step(3), 'Connect the account');
    await isDone(3);
  });

  it('shows the permission that the role lacks, and turns green without a reload when AWS grants it', async () => {
    await press(step(4), 'Connect the bucket');
    await step(4).getByText('Something is missing').waitFor();
    await step(4)
      .getByText(/^AWS denies/)
      .first()
      .waitFor();
    await step(4).getByText('s3:ListBucket', { exact: true }).first().waitFor();
    await expectAccessible();
    const missing = await readDocument(step(4), 'the missing statements');
    const loadedAt = await page.evaluate<number>('performance.timeOrigin');
    await aws.iam.send(
      new PutRolePolicyCommand({
        RoleName: 'Element-ServiceUser',
        PolicyName: 'added',
        PolicyDocument: text(missing),
      }),
    );
    await isDone(4);
    // A reload would have given the page a new time.
    expect(await page.evaluate<number>('performance.timeOrigin')).toBe(loadedAt);
  });

  it('connects HealthOmics and the shared workflow, and ends with everything green', async () => {
    await press(step(5), 'Connect HealthOmics');
    await isDone(5);
    await expectAccessible();
    const { shares } = await aws.omics.send(new ListSharesCommand({ resourceOwner: 'OTHER' }));
    const { shareId, resourceId, ownerId } = shares![0]!;
    await aws.omics.send(new AcceptShareCommand({ shareId: shareId! }));
    await field(step(6), 'Shared workflow ID').fill(resourceId!);
    await field(step(6), 'Owner of the workflow').fill(ownerId!);
    await press(step(6), 'Add the flow');
    await step(7).getByText('The account is ready').waitFor();
    for (const number of [1, 2, 3, 4, 5, 6]) await isDone(number);
    await expectAccessible();
    expect(await readConnections()).toEqual({
      providers: ['CONNECTED'],
      storage: ['CONNECTED'],
      compute: ['CONNECTED'],
      flows: ['CONNECTED'],
    });
    await page.reload();
    await step(7).getByText('The account is ready').waitFor();
  });

  it('connects a second bucket with the access keys of a user, which no address or storage has', async () => {
    await press(page, 'Start over');
    await step(1)
      .getByRole('radio', { name: /^Access keys of a user/ })
      .check();
    await step(1).getByRole('checkbox', { name: 'Bases2Fastq' }).uncheck();
    await plan(`${BUCKET}-keys`, '');
    await createBucket(`${BUCKET}-keys`);
    const UserName = 'Element-ServiceUser';
    await aws.iam.send(new CreateUserCommand({ UserName }));
    await aws.iam.send(
      new PutUserPolicyCommand({
        UserName,
        PolicyName: 'polony',
        PolicyDocument: text(await readDocument(step(2), 'the permission policy')),
      }),
    );
    const { AccessKey: key } = await aws.iam.send(new CreateAccessKeyCommand({ UserName }));
    await field(step(3), 'Access key ID').fill(key!.AccessKeyId!);
    await step(3).getByLabel('Secret access key').fill(key!.SecretAccessKey!);
    await expectAccessible();
    await press(step(3), 'Connect the account');
    await isDone(3);
    await press(step(4), 'Connect the bucket');
    await isDone(4);
    await step(5).getByText('The account is ready').waitFor();
    await expectAccessible();
    const kept = await page.evaluate<string>('location.href + JSON.stringify([localStorage, sessionStorage])');
    expect(kept).not.toContain(key!.SecretAccessKey!);
    expect(kept).not.toContain(key!.AccessKeyId!);
    expect(await readConnections()).toMatchObject({
      providers: ['CONNECTED', 'CONNECTED'],
      storage: ['CONNECTED', 'CONNECTED'],
    });
  });

  it('uses what is connected already, and creates nothing twice', async () => {
    const before = await readConnections();
    await press(page, 'Start over');
    await plan(BUCKET, accountId);
    // The same name once more: the API refuses it, and the page says so at the field.
    window.expectFailures(409);
    await press(step(3), 'Connect the account');
    await step(3).getByText('The provider was not created').waitFor();
    await expectAccessible();
    for (const [number, noun, name] of [
      [3, 'provider', `aws-${accountId}`],
      [4, 'storage connection', BUCKET],
      [5, 'compute connection', `healthomics-${REGION}`],
      [6, 'flow', 'bases2fastq'],
    ] as const) {
      await step(number)
        .getByRole('radio', { name: /^Use (one of|the existing)/ })
        .check();
      await step(number)
        .getByRole('button', { name: new RegExp(`^Existing ${noun}`) })
        .click();
      await page.getByRole('option', { name, exact: true }).click();
      await press(step(number), `Use this ${noun}`);
      await isDone(number);
    }
    await step(7).getByText('The account is ready').waitFor();
    await expectAccessible();
    expect(await readConnections()).toEqual(before);
  });
});
