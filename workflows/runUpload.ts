import {
  ActivityFailure,
  CancellationScope,
  condition,
  continueAsNew,
  log,
  patched,
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

/** Unlike polls, events add to the history. After this many events the workflow continues in a new history. */
const LONG_HISTORY = 2000;
/** A check that a person asks for after the deadline gets this much time. */
const SHORTEST_CHECK_MS = 60_000;

/** Follows the upload of one run until it ends, then starts the flows that are assigned to it. */
export async function runUpload(input: RunUploadInput): Promise<RunUploadEnded & { executions: string[] }> {
  return new RunUpload(input).run();
}

class RunUpload {
  readonly #input: RunUploadInput;
  readonly #maximumDays: number;
  /** In milliseconds since 1970. */
  readonly #deadline: number;
  readonly #steps: BlockableSteps;
  #state = 'following the upload';
  /** How often the signal `look` has come. */
  #looks = 0;
  /** How often it had come when the last poll began. */
  #looksAtPoll = 0;

  constructor(input: RunUploadInput) {
    this.#input = input;
    this.#maximumDays = input.maximumDays ?? GIVE_UP_DAYS;
    this.#deadline = input.deadline ?? Date.now() + this.#maximumDays * 86_400_000;
    setHandler(lookSignal, () => {
      this.#looks++;
    });
    this.#steps = new BlockableSteps(
      () => this.#describe(),
      trackRetrySignals({ kind: 'run', id: input.runId }),
      input.giveUpDays,
    );
  }

  async run(): Promise<RunUploadEnded & { executions: string[] }> {
    this.#steps.show();
    let ended: RunUploadEnded;
    let executions: string[];
    do {
      ended = await this.#pollToEnd();
      this.#state = ended.reason;
      this.#steps.show();
      executions = await this.#startFlows(ended);
    } while (this.#mustCheckAgain(ended));
    upsertSearchAttributes([{ key: attributes.status, value: ended.usable ? 'UPLOADED' : 'REFUSED' }]);
    log.info('Upload ended', { ...ended, executions: executions.length });
    return { ...ended, executions };
  }

  async #pollToEnd(): Promise<RunUploadEnded> {
    for (;;) {
      if (workflowInfo().historyLength > LONG_HISTORY)
        await continueAsNew<typeof runUpload>({
          ...this.#input,
          deadline: this.#deadline,
          looked: this.#looks > this.#looksAtPoll,
        });
      const ended = await this.#poll();
      if (ended !== undefined) return ended;
    }
  }

  /** Whether someone has asked for a check since the last one: the run may have been uploaded again meanwhile. */
  #mustCheckAgain({ usable }: RunUploadEnded): boolean {
    if (this.#looks === this.#looksAtPoll) return false;
    return usable ? patched('check-usable-before-end') : patched('check-before-end');
  }

  #describe(): string {
    const { runName, instrumentName, storageConnectionName, runFolder } = this.#input;
    return (
      `**${this.#state}**\n\n` +
      `Run ${runName} (${instrumentName}) in ${storageConnectionName}, folder \`${runFolder}\``
    );
  }

  /** Polls until the upload has ended. @returns undefined when the signal `look` asks for a check now. */
  async #poll(): Promise<RunUploadEnded | undefined> {
    const looksBefore = (this.#looksAtPoll = this.#looks);
    const wasLooked = looksBefore > 0 || this.#input.looked === true;
    const scope = new CancellationScope();
    let result: { ended: RunUploadEnded } | { error: unknown } | undefined;
    const polling = scope
      .run(() => this.#watch(wasLooked))
      .then(
        (ended) => (result = { ended }),
        (error: unknown) => (result = { error }),
      );
    await condition(() => result !== undefined || this.#looks > looksBefore);
    if (result === undefined) {
      scope.cancel();
      await polling;
    }
    // The poll may have found the end of the upload before it was cancelled.
    const { ended, error } = result as unknown as { ended?: RunUploadEnded; error?: unknown };
    if (ended !== undefined) return ended;
    if (this.#looks > looksBefore && scope.consideredCancelled) return undefined;
    return this.#giveUp(error);
  }

  /** @param byEvent whether an event, or a person, has asked for a check since the workflow started. */
  #watch(byEvent: boolean): Promise<RunUploadEnded> {
    return this.#steps.run((options, _probing, isBlocked) =>
      watchUpload.executeWithOptions(
        {
          ...options,
          ...FAST_TAKEOVER,
          scheduleToCloseTimeout: Math.max(SHORTEST_CHECK_MS, this.#deadline - Date.now()),
          summary: toSummary(`Wait for RunUploaded.json of ${this.#input.runName}`),
        },
        [this.#input.runId, isBlocked, byEvent],
      ),
    );
  }

  /** @throws the error, unless it says that the time for the upload is over. */
  async #giveUp(error: unknown): Promise<RunUploadEnded> {
    // Temporal reports a time-out with the failure of the last poll as its cause, since it makes no poll after it.
    if (!(error instanceof ActivityFailure && error.retryState === RetryState.TIMEOUT)) throw error;
    const reason = `The upload did not end within ${this.#maximumDays} days`;
    await giveUpUpload(this.#input.runId, reason);
    return { usable: false, reason };
  }

  async #startFlows(ended: RunUploadEnded): Promise<string[]> {
    const { executions } = await startFlows.executeWithOptions(
      {
        ...FIRST_TRIES,
        summary: ended.usable ? 'Start the assigned flows' : 'Tell waiting executions that the run is unusable',
      },
      [this.#input.runId, ended],
    );
    return executions;
  }
}
