import { retrySignal } from '../../../workflows/messages/retry.js';
import {
  type DiscoverRunsInput,
  lookSignal,
  WAITS_FOR_OTHER,
  type RunUploadEnded,
  type RunUploadInput,
} from '../../../workflows/messages/runs.js';
import { answers, blocked, finalFailure, hang, laterFailure, type Scenario, soonFailure } from '../scenario.js';

const upload: RunUploadInput = {
  runId: '01920000-0000-7000-8000-0000000000a1',
  storageConnectionId: '01920000-0000-7000-8000-0000000000b1',
  storageConnectionName: 'runs',
  instrumentName: 'AV240001',
  runFolder: '20260101_AV240001_RUN',
  runName: 'RUN',
};
/** About four seconds. */
const SHORT_DAYS = 0.00005;

const usable: RunUploadEnded = { usable: true, reason: 'The run is complete' };
const notUsable: RunUploadEnded = { usable: false, reason: 'It was aborted' };
const started = answers({ executions: ['01920000-0000-7000-8000-0000000000e1'] });
const nothingStarted = answers<{ executions: string[] }>({ executions: [] });
/** The upload continues, and the next poll comes only after the recording. */
const notYet = laterFailure('NotYet');

const runUpload = (
  outcome: string,
  status: Scenario['status'],
  activities: ReturnType<Scenario['activities']>,
  more: Partial<Scenario> = {},
): Scenario => ({ workflow: 'runUpload', outcome, input: upload, status, activities: () => activities, ...more });

/** An upload ends as not usable. Someone asks for another check while the workflow ends. */
function lookWhileEnding(outcome: string, first: RunUploadEnded): Scenario {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  return runUpload(
    outcome,
    'COMPLETED',
    {
      watchUpload: answers<RunUploadEnded>(first, usable),
      startFlows: answers<{ executions: string[] }>(
        async () => {
          await released;
          return { executions: [] };
        },
        { executions: ['01920000-0000-7000-8000-0000000000e1'] },
      ),
    },
    {
      drive: async ({ handle, calls }) => {
        await calls.until('startFlows');
        await handle.signal(lookSignal);
        release();
      },
    },
  );
}

/** Each look adds an event. So many exceed the history length at which the workflow continues as new. */
const MANY_LOOKS = 2010;

export const runUploadScenarios: Scenario[] = [
  runUpload('usable', 'COMPLETED', {
    watchUpload: answers<RunUploadEnded>(soonFailure('NotYet'), usable),
    startFlows: started,
  }),
  runUpload('not-usable', 'COMPLETED', { watchUpload: answers(notUsable), startFlows: nothingStarted }),
  runUpload('usable-after-other-waits', 'COMPLETED', {
    watchUpload: answers<RunUploadEnded>(finalFailure(WAITS_FOR_OTHER), finalFailure(WAITS_FOR_OTHER), usable),
    startFlows: started,
  }),
  runUpload(
    'cleared-when-cancelled-while-blocked',
    'CANCELLED',
    { watchUpload: answers<RunUploadEnded>(blocked()), startFlows: started },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.cancel();
      },
    },
  ),
  runUpload(
    'cleared-when-failed-while-blocked',
    'FAILED',
    {
      watchUpload: answers<RunUploadEnded>(blocked(), blocked(), finalFailure('RunUnknown')),
      recordRetry: async () => undefined,
    },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.signal(retrySignal);
      },
    },
  ),
  lookWhileEnding('usable-after-look-while-ending', notUsable),
  lookWhileEnding('usable-again-after-look-while-ending', usable),
  runUpload('unblocked-by-probe', 'COMPLETED', {
    watchUpload: answers<RunUploadEnded>(blocked(), soonFailure('NotYet'), usable),
    startFlows: started,
  }),
  runUpload(
    'unblocked-by-retry',
    'COMPLETED',
    { watchUpload: answers<RunUploadEnded>(blocked(), blocked(), usable), startFlows: started },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.signal(retrySignal);
      },
    },
  ),
  runUpload(
    'unblocked-by-recorded-retry',
    'COMPLETED',
    {
      watchUpload: answers<RunUploadEnded>(blocked(), blocked(), usable),
      startFlows: started,
      recordRetry: async () => undefined,
    },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.signal(retrySignal);
      },
    },
  ),
  runUpload(
    'usable-after-look',
    'COMPLETED',
    { watchUpload: answers<RunUploadEnded>(notYet, usable), startFlows: started },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.signal(lookSignal);
      },
    },
  ),
  runUpload(
    'usable-after-look-while-blocked',
    'COMPLETED',
    { watchUpload: answers<RunUploadEnded>(blocked(), blocked(), usable), startFlows: started },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.signal(lookSignal);
      },
    },
  ),
  runUpload(
    'usable-after-look-with-start',
    'COMPLETED',
    { watchUpload: answers(usable), startFlows: started },
    {
      start: (client, options) =>
        client.workflow.signalWithStart('runUpload', { ...options, signal: lookSignal, signalArgs: [] }),
    },
  ),
  runUpload(
    'deadline-reached',
    'COMPLETED',
    {
      watchUpload: answers<RunUploadEnded>(laterFailure('NotYet')),
      giveUpUpload: answers<void>(undefined),
      startFlows: nothingStarted,
    },
    { input: { ...upload, maximumDays: SHORT_DAYS } },
  ),
  runUpload(
    'deadline-reached-after-look',
    'COMPLETED',
    {
      watchUpload: answers<RunUploadEnded>(soonFailure('NotYet'), hang),
      giveUpUpload: answers<void>(undefined),
      startFlows: nothingStarted,
    },
    {
      input: { ...upload, maximumDays: SHORT_DAYS },
      drive: async ({ handle, calls }) => {
        await calls.until('watchUpload', 2);
        await handle.signal(lookSignal);
      },
    },
  ),
  runUpload(
    'deadline-reached-while-blocked',
    'COMPLETED',
    {
      watchUpload: answers<RunUploadEnded>(blocked()),
      giveUpUpload: answers<void>(undefined),
      startFlows: nothingStarted,
    },
    { input: { ...upload, maximumDays: SHORT_DAYS } },
  ),
  runUpload('failed', 'FAILED', { watchUpload: answers<RunUploadEnded>(finalFailure('RunUnknown')) }),
  runUpload('failed-at-start-flows', 'FAILED', {
    watchUpload: answers(usable),
    startFlows: answers<{ executions: string[] }>(finalFailure('RunUnknown')),
  }),
  runUpload(
    'cancelled-by-temporal',
    'CANCELLED',
    { watchUpload: answers<RunUploadEnded>(notYet) },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.cancel();
      },
    },
  ),
  runUpload(
    'continued-as-new',
    'CONTINUED_AS_NEW',
    { watchUpload: answers<RunUploadEnded>(notYet) },
    {
      drive: async ({ handle, untilRetrying }) => {
        await untilRetrying('watchUpload');
        for (let sent = 0; sent < MANY_LOOKS; sent += 30)
          await Promise.all(Array.from({ length: 30 }, () => handle.signal(lookSignal).catch(() => undefined)));
      },
    },
  ),
  runUpload(
    'following-open',
    'RUNNING',
    { watchUpload: answers<RunUploadEnded>(notYet) },
    {
      drive: async ({ untilRetrying }) => untilRetrying('watchUpload'),
    },
  ),
  runUpload(
    'following-after-look-open',
    'RUNNING',
    { watchUpload: answers<RunUploadEnded>(notYet) },
    {
      drive: async ({ handle, calls, untilRetrying }) => {
        await untilRetrying('watchUpload');
        await handle.signal(lookSignal);
        await calls.until('watchUpload', 2);
        await untilRetrying('watchUpload');
      },
    },
  ),
  runUpload(
    'blocked-open',
    'RUNNING',
    { watchUpload: answers<RunUploadEnded>(blocked()) },
    {
      drive: async ({ untilRetrying }) => untilRetrying('watchUpload'),
    },
  ),
  runUpload(
    'starting-flows-open',
    'RUNNING',
    {
      watchUpload: answers(usable),
      startFlows: answers<{ executions: string[] }>(laterFailure('Unexpected')),
    },
    { drive: async ({ untilRetrying }) => untilRetrying('startFlows') },
  ),
];

const discover: DiscoverRunsInput = {
  storageConnectionId: '01920000-0000-7000-8000-0000000000b1',
  storageConnectionName: 'runs',
};
const found = { instruments: 1, runFolders: 2, started: 2 };

const discoverRuns = (
  outcome: string,
  status: Scenario['status'],
  discoverRunFolders: () => Promise<typeof found>,
  more: Partial<Scenario> = {},
): Scenario => ({
  workflow: 'discoverRuns',
  outcome,
  input: discover,
  status,
  activities: () => ({ discoverRunFolders }),
  ...more,
});

export const discoverRunsScenarios: Scenario[] = [
  discoverRuns('completed', 'COMPLETED', answers(found)),
  discoverRuns('completed-one-folder', 'COMPLETED', answers(found), {
    input: { ...discover, only: { parentPath: 'AV240001', runFolder: '20260101_AV240001_RUN' } },
  }),
  discoverRuns('completed-after-retried-activity', 'COMPLETED', answers<typeof found>(soonFailure('Throttled'), found)),
  discoverRuns('unblocked-by-probe', 'COMPLETED', answers<typeof found>(blocked(), found)),
  discoverRuns('unblocked-by-retry', 'COMPLETED', answers<typeof found>(blocked(), blocked(), found), {
    drive: async ({ handle, untilRetrying }) => {
      await untilRetrying('discoverRunFolders');
      await handle.signal(retrySignal);
    },
  }),
  discoverRuns('unblocked-by-recorded-retry', 'COMPLETED', answers<typeof found>(blocked(), blocked(), found), {
    activities: () => ({
      discoverRunFolders: answers<typeof found>(blocked(), blocked(), found),
      recordRetry: async () => undefined,
    }),
    drive: async ({ handle, untilRetrying }) => {
      await untilRetrying('discoverRunFolders');
      await handle.signal(retrySignal);
    },
  }),
  discoverRuns('failed', 'FAILED', answers<typeof found>(soonFailure('Throttled'))),
  discoverRuns('failed-blocked-too-long', 'FAILED', answers<typeof found>(blocked()), {
    input: { ...discover, giveUpDays: SHORT_DAYS },
  }),
  discoverRuns('cleared-when-blocked-too-long', 'FAILED', answers<typeof found>(blocked()), {
    input: { ...discover, giveUpDays: SHORT_DAYS },
  }),
  discoverRuns('searching-open', 'RUNNING', hang, {
    drive: async ({ calls }) => calls.until('discoverRunFolders'),
  }),
  discoverRuns('blocked-open', 'RUNNING', answers<typeof found>(blocked()), {
    drive: async ({ untilRetrying }) => untilRetrying('discoverRunFolders'),
  }),
];

const swept = { executions: 1, storageConnections: 1 };

export const sweepScenarios: Scenario[] = [
  {
    workflow: 'sweep',
    outcome: 'completed',
    status: 'COMPLETED',
    activities: () => ({ handOver: answers(swept) }),
  },
  {
    workflow: 'sweep',
    outcome: 'failed',
    status: 'FAILED',
    activities: () => ({ handOver: answers<typeof swept>(soonFailure('Unexpected')) }),
  },
  {
    workflow: 'sweep',
    outcome: 'sweeping-open',
    status: 'RUNNING',
    activities: () => ({ handOver: hang }),
    drive: async ({ calls }) => calls.until('handOver'),
  },
];
