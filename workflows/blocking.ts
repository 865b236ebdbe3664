import {
  type ActivityOptions,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  condition,
  isCancellation,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { Blocked } from '../domain/executions/execution.js';
import { retrySignal } from './messages/retry.js';
import { attributes } from './messages/searchAttributes.js';

/** First tries of a step: what time mends is retried, what a person must mend comes back to the workflow at once. */
export const FIRST_TRIES: ActivityOptions = {
  // The work of an activity whose worker died is taken over after this, or after its heartbeat timeout.
  startToCloseTimeout: '1 minute',
  retry: {
    initialInterval: '1 second',
    backoffCoefficient: 2,
    maximumInterval: '1 minute',
    nonRetryableErrorTypes: ['Blocked'],
  },
};

/** How long a step may stay blocked before the workflow gives up, in days, where nothing else is said. */
export const GIVE_UP_DAYS = 14;

/**
 * Tries of a step that is blocked: probes with growing intervals, at most five minutes apart, inside one activity, so that
 * waiting for a person costs no history however long it takes.
 */
export const PROBING: ActivityOptions = {
  startToCloseTimeout: '5 minutes',
  scheduleToCloseTimeout: `${GIVE_UP_DAYS} days`,
  // The empty list counts: options are laid over those of the first tries, whose list would otherwise hold here too.
  retry: {
    initialInterval: '5 seconds',
    backoffCoefficient: 1.5,
    maximumInterval: '5 minutes',
    nonRetryableErrorTypes: [],
  },
};

/** For activities that call AWS, which may take long and heartbeat meanwhile: where a worker dies, another takes over within seconds. */
export const FAST_TAKEOVER: ActivityOptions = { startToCloseTimeout: '10 minutes', heartbeatTimeout: '15 seconds' };

/** The application failure that an activity ended with; undefined for time-outs and all else. */
export function getApplicationFailure(error: unknown): ApplicationFailure | undefined {
  return error instanceof ActivityFailure && error.cause instanceof ApplicationFailure ? error.cause : undefined;
}

/** How often the `retry` signal has come; to be made once in a workflow. */
export function trackRetrySignals(): { count: number } {
  const retries = { count: 0 };
  setHandler(retrySignal, () => {
    retries.count++;
  });
  return retries;
}

/** Runs steps that may be blocked, one after the other, and shows what they wait for. */
export class BlockableSteps {
  blocked: Blocked | undefined;

  /** @param describe the current details beside what blocks, as Markdown. */
  constructor(
    private readonly describe: () => string,
    private readonly retries: { count: number },
    private readonly giveUpDays = GIVE_UP_DAYS,
  ) {}

  /** Shows where the workflow stands. */
  show(): void {
    const { blocked } = this;
    setCurrentDetails(
      blocked === undefined
        ? this.describe()
        : `${this.describe()}\n\n**Blocked: ${blocked.kind}** ${blocked.action ?? ''} ${blocked.resource ?? ''}\n\n${blocked.message}\n\n${blocked.remedy}${
            blocked.statement === undefined
              ? ''
              : `\n\n\`\`\`json\n${JSON.stringify(blocked.statement, null, 2)}\n\`\`\``
          }\n\nTried again by itself, for ${this.giveUpDays} days, or at once on the signal \`retry\`.`,
    );
  }

  #setBlocked(blocked: Blocked | undefined): void {
    if (this.blocked === undefined && blocked === undefined) return;
    const changed = (this.blocked === undefined) !== (blocked === undefined);
    this.blocked = blocked;
    if (changed) upsertSearchAttributes([{ key: attributes.blocked, value: blocked !== undefined }]);
    this.show();
  }

  /**
   * Runs one step: an activity call that is given options and whether it is a probe. While it is blocked it is probed; it
   * goes on when a probe succeeds, or at once on the `retry` signal.
   * @throws what the activity failed with for good, `Blocked` when it stayed blocked for too long; a cancellation of the surrounding scope ends it.
   */
  async run<T>(step: (options: ActivityOptions, probing: boolean) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const result = await step(FIRST_TRIES, false);
        this.#setBlocked(undefined);
        return result;
      } catch (error) {
        const failure = getApplicationFailure(error);
        if (failure?.type !== 'Blocked') throw error;
        this.#setBlocked(failure.details?.[0] as Blocked);
      }
      const seen = this.retries.count;
      const scope = new CancellationScope();
      const probe = scope
        .run(() => step({ ...PROBING, scheduleToCloseTimeout: `${this.giveUpDays} days` }, true))
        .then(
          (value) => ({ value }),
          (error: unknown) => ({ error }),
        );
      let ended: { value: T } | { error: unknown } | undefined;
      void probe.then((result) => (ended = result));
      try {
        await condition(() => ended !== undefined || this.retries.count > seen);
      } catch (error) {
        if (!isCancellation(error)) throw error;
        // The surrounding scope is cancelled, and the probe with it: what it has done meanwhile counts, so its end is awaited.
      }
      if (ended === undefined) {
        scope.cancel();
        ended = await CancellationScope.nonCancellable(() => probe);
      }
      if ('value' in ended) {
        this.#setBlocked(undefined);
        return ended.value;
      }
      const failure = getApplicationFailure(ended.error);
      if (!CancellationScope.current().consideredCancelled) {
        if (failure?.type === 'Unblocked') {
          this.#setBlocked(undefined);
          continue;
        }
        // Asked to try again now: the probe was called off, or was just refused once more.
        if (this.retries.count > seen && (isCancellation(ended.error) || failure?.type === 'Blocked')) {
          if (failure?.type === 'Blocked') this.#setBlocked(failure.details?.[0] as Blocked);
          continue;
        }
      }
      throw ended.error;
    }
  }

  /** Nothing is waited for any more: the workflow ends. */
  clear(): void {
    this.#setBlocked(undefined);
  }
}
