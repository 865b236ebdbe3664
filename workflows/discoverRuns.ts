import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import { code } from '../domain/markdown.js';
import type { Activities } from '../activities/index.js';
import { trackRetrySignals, BlockableSteps, Blocks, clearAtEnd } from './blocking.js';
import { describePoints, time } from './details.js';
import type { DiscoverRunsInput } from './messages/runs.js';
import { toSummary } from './messages/summary.js';

const SEARCH: ActivityOptions = { startToCloseTimeout: '30 minutes', heartbeatTimeout: '2 minutes' };
/** The schedule starts the next search soon, so one that keeps failing ends and shows as failed. */
const FEW_ATTEMPTS: ActivityOptions['retry'] = {
  maximumAttempts: 3,
  initialInterval: '1 second',
  nonRetryableErrorTypes: ['Blocked'],
};
// Without retry options here: Temporal merges them with those of each call, and the limit of attempts must not hold for
// probes.
const { discoverRunFolders } = proxyActivities<Activities>(SEARCH);

/**
 * Searches a storage connection for run folders once. While AWS denies the search, the workflow stays open and probes,
 * and the schedule starts no other. So one workflow says what is missing, instead of a failed one every minute.
 */
export async function discoverRuns(
  input: DiscoverRunsInput,
): Promise<{ instruments: number; runFolders: number; started: number }> {
  const began = Date.now();
  const blocks = new Blocks({}, () => describeSearch(input, began));
  const steps = new BlockableSteps(
    blocks,
    trackRetrySignals({ kind: 'storageConnection', id: input.storageConnectionId }),
    input.giveUpDays,
  );
  blocks.show();
  return clearAtEnd(() =>
    steps.run((options, probing) =>
      discoverRunFolders.executeWithOptions(
        {
          ...SEARCH,
          ...(probing
            ? { retry: options.retry, scheduleToCloseTimeout: options.scheduleToCloseTimeout }
            : { retry: FEW_ATTEMPTS }),
          summary: toSummary(`List run folders of ${input.storageConnectionName}`),
        },
        [input],
      ),
    ),
  );
}

function describeSearch(
  { storageConnectionName, storageConnectionId, only }: DiscoverRunsInput,
  began: number,
): string {
  return describePoints('**Search for new runs**', [
    ['Since', time(began)],
    ['Storage connection', `${code(storageConnectionName)} (${code(storageConnectionId)})`],
    ['Only the folder', only === undefined ? undefined : code(`${only.parentPath}/${only.runFolder}`)],
    ['Continues', 'by itself, when S3 has listed the folders'],
    ['Reset, terminate, cancel', 'safe: the schedule starts the next search, which finds the same runs'],
  ]);
}
