import { ActivityFailure, log, proxyActivities, upsertSearchAttributes } from '@temporalio/workflow';
import { RetryState } from '@temporalio/common';
import type { Activities } from '../activities/index.js';
import { countRetries, FIRST, Steps, TAKEN_OVER_SOON } from './blocking.js';
import { attributes, type RunUploadEnded, type RunUploadInput, summaryOf } from './messages.js';

const { watchUpload, startFlows, giveUpUpload } = proxyActivities<Activities>(FIRST);

/** Follows the upload of one run until it has ended, then starts the flows that are assigned to it. */
export async function runUpload(input: RunUploadInput): Promise<RunUploadEnded & { executions: string[] }> {
  let state = 'following the upload';
  const steps = new Steps(() => `**${state}**\n\nRun ${input.runName} (${input.instrumentName}) in ${input.storageConnectionName}, folder \`${input.runFolder}\``, countRetries());
  steps.show();
  let ended: RunUploadEnded;
  try {
    ended = await steps.run((options, probing) =>
      watchUpload.executeWithOptions({ ...options, ...TAKEN_OVER_SOON, scheduleToCloseTimeout: `${input.maximumDays ?? 14} days`, summary: summaryOf(`Wait for RunUploaded.json of ${input.runName}`) }, [input.runId, probing]),
    );
  } catch (error) {
    // With the last look's failure as its cause: the time is over, and there was no other look.
    if (!(error instanceof ActivityFailure && error.retryState === RetryState.TIMEOUT)) throw error;
    ended = { usable: false, reason: `The upload did not end within ${input.maximumDays ?? 14} days` };
    await giveUpUpload(input.runId, ended.reason);
  }
  state = ended.reason;
  steps.show();
  const { executions } = await startFlows.executeWithOptions({ ...FIRST, summary: ended.usable ? 'Start the assigned flows' : 'Tell who waits that the run cannot be used' }, [input.runId, ended]);
  upsertSearchAttributes([{ key: attributes.status, value: ended.usable ? 'UPLOADED' : 'REFUSED' }]);
  log.info('Upload ended', { ...ended, executions: executions.length });
  return { ...ended, executions };
}
