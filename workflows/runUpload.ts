import {
  ActivityFailure,
  CancellationScope,
  condition,
  continueAsNew,
  log,
  proxyActivities,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { RetryState } from '@temporalio/common';
import type { Activities } from '../activities/index.js';
import { trackRetrySignals, FIRST_TRIES, GIVE_UP_DAYS, BlockableSteps, FAST_TAKEOVER } from './blocking.js';
import { lookSignal, type RunUploadEnded, type RunUploadInput } from './messages/runs.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';

const { watchUpload, startFlows, giveUpUpload } = proxyActivities<Activities>(FIRST_TRIES);

/** Events cost history, unlike polls; a workflow that was told of many goes on in a new one. */
const LONG_HISTORY = 2000;

/** Follows the upload of one run until it has ended, then starts the flows that are assigned to it. */
export async function runUpload(input: RunUploadInput): Promise<RunUploadEnded & { executions: string[] }> {
  const days = input.maximumDays ?? GIVE_UP_DAYS;
  const deadline = input.deadline ?? Date.now() + days * 86_400_000;
  let state = 'following the upload';
  let looks = 0;
  setHandler(lookSignal, () => {
    looks++;
  });
  const steps = new BlockableSteps(
    () =>
      `**${state}**\n\nRun ${input.runName} (${input.instrumentName}) in ${input.storageConnectionName}, folder \`${input.runFolder}\``,
    trackRetrySignals(),
    input.giveUpDays,
  );
  steps.show();

  /** Polls until the upload has ended; undefined where somebody asks for a look now. */
  async function poll(): Promise<RunUploadEnded | undefined> {
    const seen = looks;
    const scope = new CancellationScope();
    let result: { ended: RunUploadEnded } | { error: unknown } | undefined;
    const polling = scope
      .run(() =>
        steps.run((options, probing) =>
          watchUpload.executeWithOptions(
            {
              ...options,
              ...FAST_TAKEOVER,
              scheduleToCloseTimeout: Math.max(1000, deadline - Date.now()),
              summary: toSummary(`Wait for RunUploaded.json of ${input.runName}`),
            },
            [input.runId, probing, seen > 0],
          ),
        ),
      )
      .then(
        (ended) => (result = { ended }),
        (error: unknown) => (result = { error }),
      );
    await condition(() => result !== undefined || looks > seen);
    if (result === undefined) {
      scope.cancel();
      await polling;
    }
    // What it found before it was called off counts.
    const { ended, error } = result as unknown as { ended?: RunUploadEnded; error?: unknown };
    if (ended !== undefined) return ended;
    if (looks > seen && scope.consideredCancelled) return undefined;
    // With the last look's failure as its cause: the time is over, and there was no other look.
    if (!(error instanceof ActivityFailure && error.retryState === RetryState.TIMEOUT)) throw error;
    const reason = `The upload did not end within ${days} days`;
    await giveUpUpload(input.runId, reason);
    return { usable: false, reason };
  }

  let ended: RunUploadEnded | undefined;
  while (ended === undefined) {
    if (workflowInfo().historyLength > LONG_HISTORY) await continueAsNew<typeof runUpload>({ ...input, deadline });
    ended = await poll();
  }
  state = ended.reason;
  steps.show();
  const { executions } = await startFlows.executeWithOptions(
    {
      ...FIRST_TRIES,
      summary: ended.usable ? 'Start the assigned flows' : 'Tell who waits that the run cannot be used',
    },
    [input.runId, ended],
  );
  upsertSearchAttributes([{ key: attributes.status, value: ended.usable ? 'UPLOADED' : 'REFUSED' }]);
  log.info('Upload ended', { ...ended, executions: executions.length });
  return { ...ended, executions };
}
