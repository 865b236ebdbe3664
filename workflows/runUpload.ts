import {
  ActivityFailure,
  type ActivityOptions,
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
import {
  trackRetrySignals,
  getApplicationFailure,
  FIRST_TRIES,
  GIVE_UP_DAYS,
  BlockableSteps,
  Blocks,
  clearAtEnd,
  FAST_TAKEOVER,
  NOT_WAITING,
} from './blocking.js';
import {
  lookSignal,
  type RunUploadEnded,
  type RunUploadInput,
  type UploadWait,
  WAITS_FOR_OTHER,
} from './messages/runs.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';
import { describeUpload, FIRST_WAIT, FOLLOWING } from './uploadDetails.js';

const { watchUpload, startFlows, giveUpUpload } = proxyActivities<Activities>(FIRST_TRIES);

/** Unlike polls, events add to the history. After this many events the workflow continues in a new history. */
const LONG_HISTORY = 2000;
/** A check that a person asks for after the deadline gets this much time. */
const SHORTEST_CHECK_MS = 60_000;
/** So often a check may report that the upload waits for something else, which adds to the history. */
const MOST_WAIT_REPORTS = 20;

/** Follows the upload of one run until it ends, then starts the flows that are assigned to it. */
export async function runUpload(input: RunUploadInput): Promise<RunUploadEnded & { executions: string[] }> {
  const upload = new RunUpload(input);
  return clearAtEnd(() => upload.run());
}

class RunUpload {
  readonly #input: RunUploadInput;
  readonly #maximumDays: number;
  /** In milliseconds since 1970. */
  readonly #deadline: number;
  readonly #blocks: Blocks;
  readonly #steps: BlockableSteps;
  #state = FOLLOWING;
  /** In milliseconds since 1970. */
  #stateSince = Date.now();
  #hasEnded = false;
  #wait: UploadWait;
  /** How often the signal `look` has come. */
  #looks = 0;
  /** How often it had come when the last poll began. */
  #looksAtPoll = 0;

  constructor(input: RunUploadInput) {
    this.#input = input;
    this.#maximumDays = input.maximumDays ?? GIVE_UP_DAYS;
    this.#deadline = input.deadline ?? Date.now() + this.#maximumDays * 86_400_000;
    this.#wait = input.wait ?? { for: FIRST_WAIT, since: Date.now(), reports: 0 };
    setHandler(
      lookSignal,
      () => {
        this.#looks++;
      },
      {
        description:
          'Checks the upload now instead of at its next poll, also a blocked one. Safe at any time. Needs no input.',
      },
    );
    this.#blocks = new Blocks({}, () => this.#describe());
    this.#steps = new BlockableSteps(
      this.#blocks,
      trackRetrySignals({ kind: 'run', id: input.runId }),
      input.giveUpDays,
      this.#deadline,
    );
  }

  async run(): Promise<RunUploadEnded & { executions: string[] }> {
    this.#blocks.show();
    let ended: RunUploadEnded;
    let executions: string[];
    do {
      if (this.#state !== FOLLOWING) this.#show(FOLLOWING);
      ended = await this.#pollToEnd();
      this.#show(`${ended.usable ? 'starting the flows' : 'ending what waits for it'}: ${ended.reason}`);
      executions = await this.#startFlows(ended);
    } while (this.#mustCheckAgain(ended));
    upsertSearchAttributes([{ key: attributes.status, value: ended.usable ? 'UPLOADED' : 'REFUSED' }, ...NOT_WAITING]);
    this.#hasEnded = true;
    this.#blocks.forget();
    this.#show(ended.reason);
    log.info('Upload ended', { ...ended, executions: executions.length });
    return { ...ended, executions };
  }

  async #pollToEnd(): Promise<RunUploadEnded> {
    for (;;) {
      if (workflowInfo().historyLength > LONG_HISTORY) await this.#continueInNewHistory();
      const ended = await this.#poll();
      if (ended !== undefined) return ended;
    }
  }

  async #continueInNewHistory(): Promise<void> {
    // The search attributes stay, and the new history knows no block. Histories from before this patch left them.
    if (this.#blocks.blocked !== undefined && patched('clear-at-end')) this.#steps.clear();
    await continueAsNew<typeof runUpload>({
      ...this.#input,
      deadline: this.#deadline,
      looked: this.#looks > this.#looksAtPoll,
      wait: this.#wait,
    });
  }

  /** Whether someone has asked for a check since the last one: the run may have been uploaded again meanwhile. */
  #mustCheckAgain({ usable }: RunUploadEnded): boolean {
    if (this.#looks === this.#looksAtPoll) return false;
    return usable ? patched('check-usable-before-end') : patched('check-before-end');
  }

  #describe(): string {
    return describeUpload(this.#input, {
      state: this.#state,
      hasEnded: this.#hasEnded,
      isBlocked: this.#blocks.blocked !== undefined,
      since: this.#stateSince,
      wait: this.#wait,
      deadline: this.#deadline,
    });
  }

  #show(state: string): void {
    this.#state = state;
    this.#stateSince = Date.now();
    this.#blocks.show();
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
    return this.#steps.run(async (options, _probing, isBlocked) => {
      for (let isByEvent = byEvent; ; isByEvent = false) {
        try {
          return await this.#check(options, isBlocked, isByEvent);
        } catch (error) {
          if (!this.#noteOtherWait(error)) throw error;
        }
      }
    });
  }

  #check(options: ActivityOptions, isBlocked: boolean, byEvent: boolean): Promise<RunUploadEnded> {
    return watchUpload.executeWithOptions(
      {
        ...options,
        ...FAST_TAKEOVER,
        scheduleToCloseTimeout: Math.max(SHORTEST_CHECK_MS, this.#deadline - Date.now()),
        summary: toSummary(`Wait for RunUploaded.json of ${this.#input.runName}`),
      },
      [this.#input.runId, isBlocked, byEvent, this.#wait.reports < MOST_WAIT_REPORTS ? this.#wait.for : null],
    );
  }

  /** Shows what the upload waits for now. @returns false where a check ended for another reason. */
  #noteOtherWait(error: unknown): boolean {
    const failure = getApplicationFailure(error);
    if (failure?.type !== WAITS_FOR_OTHER) return false;
    this.#wait = {
      for: failure.details?.[0] as UploadWait['for'],
      message: failure.message,
      since: Date.now(),
      reports: this.#wait.reports + 1,
    };
    this.#blocks.show();
    return true;
  }

  /** @throws the error, unless it says that the time for the upload is over. */
  async #giveUp(error: unknown): Promise<RunUploadEnded> {
    // Temporal reports a time-out with the failure of the last poll as its cause, since it makes no poll after it.
    if (!(error instanceof ActivityFailure && error.retryState === RetryState.TIMEOUT)) throw error;
    const reason = `The upload did not end within ${this.#maximumDays} days`;
    await giveUpUpload.executeWithOptions({ ...FIRST_TRIES, summary: 'Record that the upload did not end in time' }, [
      this.#input.runId,
      reason,
    ]);
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
