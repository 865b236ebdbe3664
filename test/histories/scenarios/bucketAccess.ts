import { type Client, WithStartWorkflowOperation, type WorkflowStartOptions } from '@temporalio/client';
import type { GrantAgenda, GrantChange } from '../../../domain/grants/grant.js';
import { type BucketAccessInput, changeGrantUpdate } from '../../../workflows/messages/grants.js';
import { retrySignal } from '../../../workflows/messages/retry.js';
import { answers, blocked, denied, finalFailure, hang, type Scenario, sleep, soonFailure } from '../scenario.js';

type Changed = GrantChange & { agenda: GrantAgenda };

const BUCKET = 'lab-bucket';
const GRANT_ID = '01920000-0000-7000-8000-0000000000c1';
const request = { bucket: BUCKET, grantId: GRANT_ID, principal: 'arn:aws:iam::444455556666:root' };
/** Makes the history longer than the recorder's server suggests. A server accepts at most ten updates at once. */
const MANY_CHANGES = 8;

const nothingLeft: GrantAgenda = { due: null, open: 0, problem: null };
const problem = { ...denied, action: 's3:PutBucketPolicy' };
const leftOpen: GrantAgenda = { due: null, open: 1, problem };
const active: Changed = { state: 'active', problem: null, agenda: nothingLeft };
const pending: Changed = { state: 'pending', problem, agenda: leftOpen };
/** A grant that expires after a number of seconds. */
const expiring = (seconds: number) => async (): Promise<Changed> => ({
  ...active,
  agenda: { ...nothingLeft, due: Date.now() + seconds * 1000 },
});

/** Requests a change like the API: starts the workflow with the update, or sends the update to the running workflow. */
async function change(client: Client, options: WorkflowStartOptions): Promise<unknown> {
  const startWorkflowOperation = new WithStartWorkflowOperation('bucketAccess', {
    ...options,
    args: options.args as [BucketAccessInput],
    workflowIdConflictPolicy: 'USE_EXISTING',
  });
  return client.workflow
    .executeUpdateWithStart(changeGrantUpdate, { args: [request], startWorkflowOperation })
    .catch(() => undefined);
}
/** Retries all open changes, like the API. */
const settle = (client: Client, options: WorkflowStartOptions): Promise<unknown> =>
  client.workflow.signalWithStart('bucketAccess', { ...options, signal: retrySignal });

const bucketAccess = (
  outcome: string,
  status: Scenario['status'],
  activities: ReturnType<Scenario['activities']>,
  more: Partial<Scenario> = {},
): Scenario => ({
  workflow: 'bucketAccess',
  outcome,
  input: { bucket: BUCKET } satisfies BucketAccessInput,
  start: change,
  status,
  activities: () => activities,
  ...more,
});

export const bucketAccessScenarios: Scenario[] = [
  bucketAccess('changed', 'COMPLETED', { changeAccess: answers(active) }),
  bucketAccess('changed-then-cleared', 'COMPLETED', { changeAccess: answers(active) }),
  bucketAccess(
    'settled-after-another-cause',
    // The recorder's server suggests it.
    'CONTINUED_AS_NEW',
    {
      changeAccess: answers(pending),
      settleAccess: answers<GrantAgenda>(
        { ...leftOpen, problem: { ...problem, kind: 'MALFORMED_POLICY' } },
        nothingLeft,
      ),
    },
    {
      drive: async ({ handle, calls }) => {
        await calls.until('changeAccess');
        await handle.signal(retrySignal);
        await calls.until('settleAccess');
        await sleep(500);
        await handle.signal(retrySignal);
      },
    },
  ),
  bucketAccess(
    'changed-several',
    'COMPLETED',
    { changeAccess: answers(active) },
    {
      start: (client, options) => Promise.all(Array.from({ length: 3 }, () => change(client, options))),
    },
  ),
  bucketAccess('changed-after-retried-activity', 'COMPLETED', {
    changeAccess: answers<Changed>(soonFailure('Throttled'), active),
  }),
  bucketAccess(
    'update-rejected',
    'COMPLETED',
    { changeAccess: answers(active) },
    {
      drive: async ({ handle }) => {
        for (const wrong of [
          { ...request, grantId: 'x' },
          { ...request, bucket: 'other' },
        ])
          await handle.executeUpdate(changeGrantUpdate, { args: [wrong] }).catch(() => undefined);
      },
    },
  ),
  bucketAccess('update-failed', 'COMPLETED', { changeAccess: answers<Changed>(finalFailure('GrantUnknown')) }),
  bucketAccess('change-unavailable-then-settled', 'COMPLETED', {
    changeAccess: answers<Changed>(soonFailure('Network')),
    settleAccess: answers(nothingLeft),
  }),
  bucketAccess('blocked-then-settled-by-timer', 'COMPLETED', {
    changeAccess: answers(pending),
    settleAccess: answers(leftOpen, nothingLeft),
  }),
  bucketAccess(
    'blocked-then-settled-by-retry',
    'COMPLETED',
    { changeAccess: answers(pending), settleAccess: answers(nothingLeft) },
    {
      drive: async ({ handle, calls }) => {
        await calls.until('changeAccess');
        await handle.signal(retrySignal);
      },
    },
  ),
  bucketAccess(
    'blocked-then-changed',
    'COMPLETED',
    { changeAccess: answers(pending, active) },
    {
      start: async (client, options) => {
        await change(client, options);
        await change(client, options);
      },
    },
  ),
  bucketAccess(
    'settle-unavailable-then-settled',
    'COMPLETED',
    {
      changeAccess: answers(pending),
      settleAccess: answers<GrantAgenda>(finalFailure('Unexpected'), blocked(), nothingLeft),
    },
    {
      drive: async ({ handle, calls }) => {
        await calls.until('changeAccess');
        await handle.signal(retrySignal);
      },
    },
  ),
  bucketAccess(
    'settled-between-changes-continued',
    'CONTINUED_AS_NEW',
    { changeAccess: answers(pending), settleAccess: answers(nothingLeft) },
    {
      // A retry is due 15 seconds after the first change, although another one comes meanwhile.
      start: async (client, options) => {
        await change(client, options);
        await sleep(10_000);
        await change(client, options);
      },
    },
  ),
  bucketAccess('started-by-retry', 'COMPLETED', { settleAccess: answers(nothingLeft) }, { start: settle }),
  bucketAccess('expired', 'COMPLETED', { changeAccess: answers(expiring(3)), settleAccess: answers(nothingLeft) }),
  bucketAccess(
    'expired-after-another-change',
    'COMPLETED',
    {
      changeAccess: answers(expiring(4), expiring(2)),
      settleAccess: answers(nothingLeft),
    },
    {
      start: async (client, options) => {
        await change(client, options);
        await change(client, options);
      },
    },
  ),
  bucketAccess(
    'continued',
    'COMPLETED',
    { settleAccess: answers(nothingLeft) },
    {
      input: {
        bucket: BUCKET,
        agenda: leftOpen,
        tries: 0,
        changes: 12,
        status: 'RETRYING',
        blocked: true,
      } satisfies BucketAccessInput,
      start: undefined,
    },
  ),
  bucketAccess(
    'continued-as-new',
    'CONTINUED_AS_NEW',
    { changeAccess: answers(pending), settleAccess: answers(leftOpen) },
    {
      start: (client, options) => Promise.all(Array.from({ length: MANY_CHANGES }, () => change(client, options))),
    },
  ),
  bucketAccess(
    'cancelled-by-temporal',
    'CANCELLED',
    { changeAccess: answers(expiring(3600)) },
    {
      drive: async ({ handle }) => void (await handle.cancel()),
    },
  ),
  bucketAccess('idle-open', 'RUNNING', { changeAccess: answers(active) }),
  bucketAccess('blocked-open', 'RUNNING', { changeAccess: answers(pending), settleAccess: answers(leftOpen) }),
  bucketAccess('waiting-for-expiry-open', 'RUNNING', { changeAccess: answers(expiring(86_400)) }),
  bucketAccess(
    'changing-open',
    'RUNNING',
    { changeAccess: hang },
    {
      // This does not wait for the answer, which comes only after the history is taken.
      start: async (client, options) => {
        void change(client, options);
        const isThere = (): Promise<boolean> =>
          client.workflow
            .getHandle(options.workflowId)
            .describe()
            .then(
              () => true,
              () => false,
            );
        while (!(await isThere())) await sleep(50);
      },
      drive: async ({ calls }) => calls.until('changeAccess'),
    },
  ),
];
