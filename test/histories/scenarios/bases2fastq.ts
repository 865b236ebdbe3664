import type { StartedRun } from '../../../activities/executions/start.js';
import type { WatchedStatus } from '../../../activities/executions/runWatcher.js';
import type { Activities } from '../../../activities/index.js';
import type { Bases2FastqInput } from '../../../workflows/messages/executions.js';
import { type CancelRequest, cancelSignal, stateQuery } from '../../../workflows/messages/executions.js';
import { retrySignal } from '../../../workflows/messages/retry.js';
import { type RunUploadEnded, runUploadEndedSignal } from '../../../workflows/messages/runs.js';
import {
  answers,
  blocked,
  type Calls,
  type Drive,
  finalFailure,
  hang,
  laterFailure,
  onceCancelled,
  QUEUES,
  type Scenario,
  sleep,
  soonFailure,
} from '../scenario.js';

const input: Bases2FastqInput = {
  executionId: '01920000-0000-7000-8000-0000000000e1',
  executionName: 'b2f RUN',
  flowName: 'b2f',
  runName: 'RUN',
  instrumentName: 'AV240001',
  runFolder: '20260101_AV240001_RUN',
  providerName: 'lab',
  account: '111122223333',
  region: 'us-west-2',
  storageConnectionName: 'runs',
  waitForUpload: false,
  watchTaskQueue: QUEUES.watch,
};
const waiting: Bases2FastqInput = { ...input, waitForUpload: true };
/** About four seconds: a probe fails at once, and the next one would come five seconds later. */
const impatient: Bases2FastqInput = { ...input, giveUpDays: 0.00005 };

const first: StartedRun = { healthOmicsRunId: '1000001', runOutputUri: 's3://b/o/1000001', attempt: 1 };
const second: StartedRun = { healthOmicsRunId: '1000002', runOutputUri: 's3://b/o/1000002', attempt: 2 };
const running: WatchedStatus = { status: 'RUNNING', healthOmicsStatus: 'RUNNING' };
const completed: WatchedStatus = { status: 'COMPLETED', healthOmicsStatus: 'COMPLETED' };
const canceled: WatchedStatus = { status: 'CANCELED', healthOmicsStatus: 'CANCELLED' };
const failed = (failureReason?: string): WatchedStatus => ({
  status: 'FAILED',
  healthOmicsStatus: 'FAILED',
  failureReason,
  statusMessage: failureReason === undefined ? undefined : 'It failed',
});
const transient = failed('INSTANCE_RESERVATION_FAILED');
const request: CancelRequest = { requestedBy: 'lims', reason: 'wrong manifest' };
const results = { description: '2 samples', runOutputUri: first.runOutputUri };

/** Activities that answer as for a successful run, except those in `changed`. */
const successful = (changed: Partial<Activities> = {}): Partial<Activities> => ({
  judgeUpload: answers<RunUploadEnded | null>({ usable: true, reason: 'The run is complete' }),
  prepareExecution: answers<void>(undefined),
  startRun: answers(first),
  watchRun: answers(running, completed),
  readResults: answers(results),
  recordEnd: answers<void>(undefined),
  ...changed,
});
/** Answers that the run is cancelled, but only after CancelRun was sent. */
const untilCancelRun = (calls: Calls) => async (): Promise<WatchedStatus> => {
  await calls.until('cancelRun');
  return canceled;
};
const cancelled = (calls: Calls, changed: Partial<Activities> = {}): Partial<Activities> =>
  successful({ watchRun: answers(running, untilCancelRun(calls)), cancelRun: answers<void>(undefined), ...changed });

async function untilWaitingForNextAttempt({ handle, calls }: Drive): Promise<void> {
  await calls.until('nextAttempt');
  while ((await handle.query(stateQuery)).status !== 'INITIALIZED') await sleep(50);
}

const one = (
  outcome: string,
  status: Scenario['status'],
  activities: Scenario['activities'],
  more: Partial<Scenario> = {},
): Scenario => ({ workflow: 'bases2fastq', outcome, input, status, activities, ...more });

const completes: Scenario[] = [
  one('completed', 'COMPLETED', () => successful()),
  one('completed-after-upload', 'COMPLETED', () => successful(), {
    input: waiting,
    drive: async ({ handle }) => handle.signal(runUploadEndedSignal, { usable: true, reason: 'The run is complete' }),
  }),
  one('completed-started-with-upload-ended', 'COMPLETED', () => successful(), {
    input: waiting,
    start: (client, options) =>
      client.workflow.signalWithStart('bases2fastq', {
        ...options,
        signal: runUploadEndedSignal,
        signalArgs: [{ usable: true, reason: 'The run is complete' }],
      }),
  }),
  one(
    'completed-after-forged-upload-end',
    'COMPLETED',
    () => successful({ judgeUpload: answers<RunUploadEnded | null>(null, { usable: true, reason: 'complete' }) }),
    {
      input: waiting,
      drive: async ({ handle, calls }) => {
        await handle.signal(runUploadEndedSignal, { usable: false, reason: 'Somebody says so' });
        await calls.until('judgeUpload');
        await sleep(500);
        await handle.signal(runUploadEndedSignal, { usable: true, reason: 'The run is complete' });
      },
    },
  ),
  one('completed-without-seen-running', 'COMPLETED', () => successful({ watchRun: answers(completed) })),
  one('completed-after-retried-activities', 'COMPLETED', () =>
    successful({
      prepareExecution: answers<void>(soonFailure('Throttled'), undefined),
      startRun: answers<StartedRun>(soonFailure('Waiting'), first),
      readResults: answers<typeof results>(soonFailure('Network'), results),
    }),
  ),
];

const unblocks: Scenario[] = [
  one('unblocked-prepare-by-probe', 'COMPLETED', () =>
    successful({ prepareExecution: answers<void>(blocked(), undefined) }),
  ),
  one(
    'unblocked-prepare-by-retry',
    'COMPLETED',
    () => successful({ prepareExecution: answers<void>(blocked(), blocked(), undefined) }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('prepareExecution');
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'unblocked-prepare-by-second-retry',
    'COMPLETED',
    () => successful({ prepareExecution: answers<void>(blocked(), blocked(), blocked(), blocked(), undefined) }),
    {
      drive: async ({ handle, calls, untilRetrying }) => {
        await untilRetrying('prepareExecution');
        await handle.signal(retrySignal);
        await calls.until('prepareExecution', 4);
        await untilRetrying('prepareExecution');
        await handle.signal(retrySignal);
      },
    },
  ),
  one('completed-after-superseded-attempt', 'COMPLETED', () =>
    successful({
      startRun: answers(first, second),
      watchRun: answers<WatchedStatus>({ ...failed(), isSuperseded: true }, running, completed),
    }),
  ),
  one(
    'unblocked-start-after-another-cause',
    'COMPLETED',
    () =>
      successful({
        startRun: answers<StartedRun>(blocked(), blocked(), blocked('iam:PassRole'), blocked('iam:PassRole'), first),
        recordRetry: async () => undefined,
      }),
    {
      drive: async ({ handle, calls, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(retrySignal);
        await calls.until('startRun', 4);
        await untilRetrying('startRun');
        await handle.signal(retrySignal);
      },
    },
  ),
  one('unblocked-start-by-probe', 'COMPLETED', () => successful({ startRun: answers<StartedRun>(blocked(), first) })),
  one(
    'unblocked-start-by-retry',
    'COMPLETED',
    () => successful({ startRun: answers<StartedRun>(blocked(), blocked(), first) }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'unblocked-start-by-recorded-retries',
    'COMPLETED',
    () =>
      successful({
        startRun: answers<StartedRun>(blocked(), blocked(), blocked(), blocked(), first),
        recordRetry: async () => undefined,
      }),
    {
      drive: async ({ handle, calls, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(retrySignal, { auditId: 'a' });
        await calls.until('recordRetry', 1);
        await calls.until('startRun', 4);
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'unblocked-start-by-retry-during-probe',
    'COMPLETED',
    () => successful({ startRun: answers<StartedRun>(blocked(), onceCancelled<StartedRun>(blocked()), first) }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('startRun', 2);
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'unblocked-start-by-probe-during-retry',
    'COMPLETED',
    () => successful({ startRun: answers<StartedRun>(blocked(), onceCancelled(first)) }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('startRun', 2);
        await handle.signal(retrySignal);
      },
    },
  ),
  one('unblocked-watch', 'COMPLETED', () =>
    successful({ watchRun: answers<WatchedStatus>(running, blocked(), finalFailure('Unblocked'), completed) }),
  ),
  one('unblocked-watch-by-probe', 'COMPLETED', () => successful({ watchRun: answers(running, blocked(), completed) })),
  one(
    'unblocked-watch-by-retry',
    'COMPLETED',
    () => successful({ watchRun: answers(running, blocked(), blocked(), completed) }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchRun');
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'unblocked-results-by-retry',
    'COMPLETED',
    () => successful({ readResults: answers<typeof results>(blocked(), blocked(), results) }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('readResults');
        await handle.signal(retrySignal);
      },
    },
  ),
];

const fails: Scenario[] = [
  one('failed-run-not-usable', 'FAILED', () => successful(), {
    input: waiting,
    drive: async ({ handle }) => handle.signal(runUploadEndedSignal, { usable: false, reason: 'It was aborted' }),
  }),
  one(
    'failed-judged-not-usable',
    'FAILED',
    () => successful({ judgeUpload: answers<RunUploadEnded | null>({ usable: false, reason: 'It was aborted' }) }),
    {
      input: waiting,
      drive: async ({ handle }) => handle.signal(runUploadEndedSignal, { usable: true, reason: 'Somebody says so' }),
    },
  ),
  one(
    'failed-blocked-too-long-at-prepare',
    'FAILED',
    () => successful({ prepareExecution: answers<void>(blocked()) }),
    {
      input: impatient,
    },
  ),
  one('failed-blocked-too-long-at-start', 'FAILED', () => successful({ startRun: answers<StartedRun>(blocked()) }), {
    input: impatient,
  }),
  one('failed-at-prepare', 'FAILED', () =>
    successful({ prepareExecution: answers<void>(finalFailure('RunNotUsable')) }),
  ),
  one('failed-at-start', 'FAILED', () => successful({ startRun: answers<StartedRun>(finalFailure('StartClosed')) })),
  one('failed-at-watch', 'FAILED', () => successful({ watchRun: answers(running, finalFailure('RunReplaced')) })),
  one('failed-at-results', 'FAILED', () =>
    successful({ readResults: answers<typeof results>(finalFailure('Unexpected')) }),
  ),
  one('failed-on-healthomics', 'FAILED', () =>
    successful({ watchRun: answers(running, failed('WORKFLOW_RUN_FAILED')) }),
  ),
  one('failed-on-healthomics-without-reason', 'FAILED', () => successful({ watchRun: answers(failed()) })),
];

const attempts: Scenario[] = [
  one('completed-at-second-attempt', 'COMPLETED', () =>
    successful({
      startRun: answers(first, second),
      watchRun: answers(running, transient, running, completed),
      nextAttempt: answers({ attempt: 2, waitSeconds: 1 }),
    }),
  ),
  one('completed-at-second-attempt-at-once', 'COMPLETED', () =>
    successful({
      startRun: answers(first, second),
      watchRun: answers(running, transient, running, completed),
      nextAttempt: answers({ attempt: 2, waitSeconds: 0 }),
    }),
  ),
  one('completed-at-third-attempt', 'COMPLETED', () =>
    successful({
      startRun: answers(first, second, { ...second, healthOmicsRunId: '1000003', attempt: 3 }),
      watchRun: answers(transient, transient, running, completed),
      nextAttempt: answers({ attempt: 2, waitSeconds: 1 }, { attempt: 3, waitSeconds: 1 }),
    }),
  ),
  one('failed-no-attempt-left', 'FAILED', () =>
    successful({
      startRun: answers(first, second),
      watchRun: answers(running, transient, running, transient),
      nextAttempt: answers<{ attempt: number; waitSeconds: number } | null>({ attempt: 2, waitSeconds: 1 }, null),
    }),
  ),
  one(
    'cancelled-before-second-attempt',
    'COMPLETED',
    () =>
      successful({
        watchRun: answers(running, transient),
        nextAttempt: answers({ attempt: 2, waitSeconds: 3600 }),
        settleStart: answers<StartedRun | null>(null),
      }),
    {
      drive: async (run) => {
        await untilWaitingForNextAttempt(run);
        await run.handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-during-second-attempt',
    'COMPLETED',
    (calls) =>
      cancelled(calls, {
        startRun: answers(first, second),
        watchRun: answers(running, transient, running, untilCancelRun(calls)),
        nextAttempt: answers({ attempt: 2, waitSeconds: 1 }),
      }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('watchRun', 4);
        await handle.signal(cancelSignal, request);
      },
    },
  ),
];

const cancels: Scenario[] = [
  one(
    'cancelled-waiting-for-upload',
    'COMPLETED',
    () => successful({ settleStart: answers<StartedRun | null>(null) }),
    {
      input: waiting,
      drive: async ({ handle }) => handle.signal(cancelSignal, request),
    },
  ),
  one('cancelled-with-start', 'COMPLETED', () => successful({ settleStart: answers<StartedRun | null>(null) }), {
    start: (client, options) =>
      client.workflow.signalWithStart('bases2fastq', { ...options, signal: cancelSignal, signalArgs: [request] }),
  }),
  one(
    'cancelled-with-start-of-known-run',
    'COMPLETED',
    (calls) => cancelled(calls, { settleStart: answers<StartedRun | null>(first), watchRun: untilCancelRun(calls) }),
    {
      start: (client, options) =>
        client.workflow.signalWithStart('bases2fastq', { ...options, signal: cancelSignal, signalArgs: [request] }),
    },
  ),
  one(
    'cancelled-at-prepare',
    'COMPLETED',
    () =>
      successful({
        prepareExecution: answers<void>(laterFailure('Throttled')),
        settleStart: answers<StartedRun | null>(null),
      }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('prepareExecution');
        await handle.signal(cancelSignal);
      },
    },
  ),
  one(
    'cancelled-blocked-at-prepare',
    'COMPLETED',
    () => successful({ prepareExecution: answers<void>(blocked()), settleStart: answers<StartedRun | null>(null) }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('prepareExecution');
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-during-start-answered',
    'COMPLETED',
    (calls) => cancelled(calls, { startRun: answers(onceCancelled(first)), watchRun: untilCancelRun(calls) }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('startRun');
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-during-start-settled-started',
    'COMPLETED',
    (calls) =>
      cancelled(calls, {
        startRun: answers<StartedRun>(laterFailure('Network')),
        settleStart: answers<StartedRun | null>(first),
        watchRun: untilCancelRun(calls),
      }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-during-start-settled-none',
    'COMPLETED',
    () =>
      successful({
        startRun: answers<StartedRun>(laterFailure('Waiting')),
        settleStart: answers<StartedRun | null>(null),
      }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-during-start-settle-blocked',
    'COMPLETED',
    () =>
      successful({
        startRun: answers<StartedRun>(laterFailure('Network')),
        settleStart: answers<StartedRun | null>(blocked(), blocked(), null),
      }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(cancelSignal, request);
        await untilRetrying('settleStart');
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'cancelled-blocked-at-start',
    'COMPLETED',
    () => successful({ startRun: answers<StartedRun>(blocked()), settleStart: answers<StartedRun | null>(null) }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one('cancelled-while-watching', 'COMPLETED', (calls) => cancelled(calls), {
    drive: async ({ handle, calls }) => {
      await calls.until('watchRun', 2);
      await handle.signal(cancelSignal, request);
    },
  }),
  one('cancelled-twice', 'COMPLETED', (calls) => cancelled(calls), {
    drive: async ({ handle, calls }) => {
      await calls.until('watchRun', 2);
      await Promise.all([handle.signal(cancelSignal, request), handle.signal('cancel', 7)]);
    },
  }),
  one(
    'cancelled-while-pending',
    'COMPLETED',
    (calls) =>
      cancelled(calls, {
        watchRun: answers(untilCancelRun(calls)),
        cancelRun: answers<void>(soonFailure('Conflict'), undefined),
      }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('watchRun');
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-cancel-run-blocked',
    'COMPLETED',
    (calls) =>
      cancelled(calls, {
        watchRun: answers(running, async () => {
          await calls.until('cancelRun', 3);
          return canceled;
        }),
        cancelRun: answers<void>(blocked(), blocked(), undefined),
      }),
    {
      drive: async ({ handle, calls, untilRetrying }) => {
        await calls.until('watchRun', 2);
        await handle.signal(cancelSignal, request);
        await untilRetrying('cancelRun');
        await handle.signal(retrySignal);
      },
    },
  ),
  one(
    'cancelled-outside-while-cancel-run-blocked',
    'COMPLETED',
    (calls) =>
      cancelled(calls, {
        watchRun: answers(running, async () => {
          await calls.until('cancelRun', 2);
          return canceled;
        }),
        cancelRun: answers<void>(blocked()),
      }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('watchRun', 2);
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one(
    'cancelled-blocked-while-watching',
    'COMPLETED',
    (calls) => cancelled(calls, { watchRun: answers(running, blocked(), untilCancelRun(calls)) }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('watchRun', 3);
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one('cancelled-outside', 'COMPLETED', () => successful({ watchRun: answers(running, canceled) })),
  one('cancelled-by-temporal-while-watching', 'CANCELLED', (calls) => cancelled(calls), {
    drive: async ({ handle, calls }) => {
      await calls.until('watchRun', 2);
      await handle.cancel();
    },
  }),
  one(
    'cancelled-by-temporal-during-start',
    'CANCELLED',
    () =>
      successful({
        startRun: answers<StartedRun>(laterFailure('Waiting')),
        settleStart: answers<StartedRun | null>(null),
      }),
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('startRun');
        await handle.cancel();
      },
    },
  ),
  one(
    'cancelled-by-temporal-waiting-for-upload',
    'CANCELLED',
    () => successful({ settleStart: answers<StartedRun | null>(null) }),
    { input: waiting, drive: async ({ handle }) => void (await handle.cancel()) },
  ),
  one(
    'completed-cancelled-too-late',
    'COMPLETED',
    (calls) =>
      cancelled(calls, {
        watchRun: answers(running, async () => {
          await calls.until('cancelRun');
          return completed;
        }),
      }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('watchRun', 2);
        await handle.signal(cancelSignal, request);
      },
    },
  ),
  one('completed-cancelled-while-reading', 'COMPLETED', () => successful({ readResults: hang }), {
    drive: async ({ handle, calls }) => {
      await calls.until('readResults');
      await handle.signal(cancelSignal, request);
    },
  }),
  one(
    'failed-on-healthomics-while-cancelling',
    'FAILED',
    (calls) =>
      cancelled(calls, {
        watchRun: answers(running, async () => {
          await calls.until('cancelRun');
          return transient;
        }),
      }),
    {
      drive: async ({ handle, calls }) => {
        await calls.until('watchRun', 2);
        await handle.signal(cancelSignal, request);
      },
    },
  ),
];

const open: Scenario[] = [
  one('waiting-for-upload-open', 'RUNNING', () => successful(), { input: waiting }),
  one('preparing-open', 'RUNNING', () => successful({ prepareExecution: answers<void>(laterFailure('Throttled')) }), {
    drive: async ({ untilRetrying }) => untilRetrying('prepareExecution'),
  }),
  one('blocked-at-prepare-open', 'RUNNING', () => successful({ prepareExecution: answers<void>(blocked()) }), {
    drive: async ({ untilRetrying }) => untilRetrying('prepareExecution'),
  }),
  one('starting-open', 'RUNNING', () => successful({ startRun: answers<StartedRun>(laterFailure('Waiting')) }), {
    drive: async ({ untilRetrying }) => untilRetrying('startRun'),
  }),
  one('blocked-at-start-open', 'RUNNING', () => successful({ startRun: answers<StartedRun>(blocked()) }), {
    drive: async ({ untilRetrying }) => untilRetrying('startRun'),
  }),
  one('watching-pending-open', 'RUNNING', () => successful({ watchRun: hang }), {
    drive: async ({ calls }) => calls.until('watchRun'),
  }),
  one('watching-running-open', 'RUNNING', () => successful({ watchRun: answers(running, hang) }), {
    drive: async ({ calls }) => calls.until('watchRun', 2),
  }),
  one('blocked-at-watch-open', 'RUNNING', () => successful({ watchRun: answers(running, blocked()) }), {
    drive: async ({ untilRetrying }) => untilRetrying('watchRun'),
  }),
  one('cancelling-open', 'RUNNING', (calls) => cancelled(calls, { watchRun: answers(running, hang) }), {
    drive: async ({ handle, calls }) => {
      await calls.until('watchRun', 2);
      await handle.signal(cancelSignal, request);
      await calls.until('cancelRun');
    },
  }),
  one(
    'cancel-run-blocked-open',
    'RUNNING',
    (calls) => cancelled(calls, { watchRun: answers(running, hang), cancelRun: answers<void>(blocked()) }),
    {
      drive: async ({ handle, calls, untilRetrying }) => {
        await calls.until('watchRun', 2);
        await handle.signal(cancelSignal, request);
        await untilRetrying('cancelRun');
      },
    },
  ),
  one(
    'waiting-for-second-attempt-open',
    'RUNNING',
    () =>
      successful({ watchRun: answers(running, transient), nextAttempt: answers({ attempt: 2, waitSeconds: 3600 }) }),
    { drive: untilWaitingForNextAttempt },
  ),
  one(
    'watching-second-attempt-open',
    'RUNNING',
    () =>
      successful({
        startRun: answers(first, second),
        watchRun: answers(running, transient, running, hang),
        nextAttempt: answers({ attempt: 2, waitSeconds: 1 }),
      }),
    { drive: async ({ calls }) => calls.until('watchRun', 4) },
  ),
  one('reading-results-open', 'RUNNING', () => successful({ readResults: hang }), {
    drive: async ({ calls }) => calls.until('readResults'),
  }),
];

export const bases2fastqScenarios: Scenario[] = [...completes, ...unblocks, ...fails, ...attempts, ...cancels, ...open];
