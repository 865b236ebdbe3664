import { type ActivityOptions, continueAsNew, proxyActivities, setHandler, workflowInfo } from '@temporalio/workflow';
import { code } from '../domain/markdown.js';
import type { Activities } from '../activities/index.js';
import { trackRetrySignals, BlockableSteps, Blocks, clearAtEnd } from './blocking.js';
import { describePoints, time } from './details.js';
import { type DiscoverRunsInput, searchAgainSignal } from './messages/runs.js';
import { toSummary } from './messages/summary.js';

const SEARCH: ActivityOptions = { startToCloseTimeout: '30 minutes', heartbeatTimeout: '2 minutes' };
/** The next search starts soon, so one that keeps failing ends and shows as failed. */
const FEW_ATTEMPTS: ActivityOptions['retry'] = {
  maximumAttempts: 3,
  initialInterval: '1 second',
  nonRetryableErrorTypes: ['Blocked'],
};
// Without retry options here: Temporal merges them with those of each call, and the limit of attempts must not hold for
// probes.
const { discoverRunFolders } = proxyActivities<Activities>(SEARCH);

/** Requests to search again add to the history. After so many events, a blocked search goes on in a new one. */
const LONG_HISTORY = 2000;

/**
 * Searches a storage connection for run folders once, and again where somebody asks for it meanwhile. While AWS denies
 * the search, the workflow stays open and probes, and no other one starts. So one workflow says what is missing,
 * instead of a failed one every minute.
 */
export async function discoverRuns(
  input: DiscoverRunsInput,
): Promise<{ instruments: number; runFolders: number; started: number }> {
  const began = Date.now();
  let requests = 0;
  const retries = trackRetrySignals({ kind: 'storageConnection', id: input.storageConnectionId });
  setHandler(
    searchAgainSignal,
    () => {
      requests++;
      retries.count++;
    },
    {
      description:
        'Searches once more when this search ends; a blocked search tries again at once. Safe at any time. Needs no ' +
        'input.',
    },
  );
  const blocks = new Blocks({}, () => describeSearch(input, began));
  const steps = new BlockableSteps(blocks, retries, input.giveUpDays);
  blocks.show();
  return clearAtEnd(async () => {
    for (;;) {
      let seen = requests;
      const found = await steps.run(async (options, probing) => {
        if (workflowInfo().historyLength > LONG_HISTORY) {
          steps.clear();
          await continueAsNew<typeof discoverRuns>(input);
        }
        seen = requests;
        return discoverRunFolders.executeWithOptions(
          {
            ...SEARCH,
            ...(probing
              ? { retry: options.retry, scheduleToCloseTimeout: options.scheduleToCloseTimeout }
              : { retry: FEW_ATTEMPTS }),
            summary: toSummary(`List run folders of ${input.storageConnectionName}`),
          },
          [input],
        );
      });
      if (requests === seen) return found;
    }
  });
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
    ['Reset, terminate, cancel', 'safe: a worker soon searches again, and finds the same runs'],
  ]);
}
