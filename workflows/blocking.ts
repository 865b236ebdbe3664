import {
  type ActivityOptions,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  condition,
  ContinueAsNew,
  isCancellation,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import { HandlerUnfinishedPolicy, type SearchAttributeUpdatePair } from '@temporalio/common';
import { blockedByValues, type BlockedPlace, causeOf } from '../domain/executions/blockedCause.js';
import type { Blocked } from '../domain/executions/execution.js';
import type { Activities } from '../activities/index.js';
import { describeBlocked } from './details.js';
import { type RetryRequest, retrySignal, type RetryTarget } from './messages/retry.js';
import { attributes } from './messages/searchAttributes.js';

/**
 * Options of a step that is not blocked. Temporal retries what time fixes. What a person must fix (`Blocked`) returns
 * to the workflow at once.
 */
export const FIRST_TRIES: ActivityOptions = {
  // When a worker dies, another takes over its activity after this time, or after the heartbeat timeout.
  startToCloseTimeout: '1 minute',
  retry: {
    initialInterval: '1 second',
    backoffCoefficient: 2,
    maximumInterval: '1 minute',
    nonRetryableErrorTypes: ['Blocked'],
  },
};

/** How many days a step may stay blocked before the workflow gives up, where the settings do not say it. */
export const GIVE_UP_DAYS = 14;

/**
 * Options of a step that is blocked. One activity probes it at growing intervals, at most five minutes apart, so that
 * waiting for a person adds nothing to the history however long it takes.
 */
const PROBING: ActivityOptions = {
  startToCloseTimeout: '5 minutes',
  scheduleToCloseTimeout: `${GIVE_UP_DAYS} days`,
  retry: {
    initialInterval: '5 seconds',
    backoffCoefficient: 1.5,
    maximumInterval: '5 minutes',
    // Not superfluous: the SDK merges these options into FIRST_TRIES, whose list would apply here too.
    nonRetryableErrorTypes: [],
  },
};

/**
 * For activities that call AWS, which may take long. They heartbeat meanwhile, so that another worker takes over within
 * seconds when theirs dies.
 */
export const FAST_TAKEOVER: ActivityOptions = { startToCloseTimeout: '10 minutes', heartbeatTimeout: '15 seconds' };

/** The application failure with which an activity ended; undefined for timeouts and all other errors. */
export function getApplicationFailure(error: unknown): ApplicationFailure | undefined {
  return error instanceof ActivityFailure && error.cause instanceof ApplicationFailure ? error.cause : undefined;
}

const { recordRetry } = proxyActivities<Activities>(FIRST_TRIES);

/**
 * Counts the `retry` signals. Call it once in a workflow.
 * @param target what the audit log says was retried. A signal counts when it is recorded. Absent where the audit log
 * has what the workflow does.
 */
export function trackRetrySignals(target?: RetryTarget): { count: number } {
  const retries = { count: 0 };
  const usedIds = new Set<string>();
  setHandler(
    retrySignal,
    async (request) => {
      // Histories from before this patch record nothing.
      if (target !== undefined && patched('record-retry')) {
        const auditId = takeAuditId(request, usedIds);
        try {
          await CancellationScope.nonCancellable(() =>
            recordRetry.executeWithOptions({ ...FIRST_TRIES, summary: 'Record the signal retry' }, [target, auditId]),
          );
        } catch {
          return;
        }
      }
      retries.count++;
    },
    {
      // A signal that comes when the workflow ends has no effect, so it needs no entry.
      unfinishedPolicy: HandlerUnfinishedPolicy.ABANDON,
      description:
        'Tries a blocked step again at once instead of at its next probe. Safe at any time: it has no effect where ' +
        'nothing is blocked. Needs no input; the API sends {"auditId": "<its entry in the audit log>"}.',
    },
  );
  return retries;
}

/** @returns the entry of the audit log that a signal names. Each proves one signal, because its id is in the history. */
function takeAuditId(request: RetryRequest | undefined, used: Set<string>): string | undefined {
  const id: unknown = (request as Partial<RetryRequest> | null | undefined)?.auditId;
  if (typeof id !== 'string' || id.length > 200 || used.has(id)) return undefined;
  used.add(id);
  return id;
}

/**
 * Makes one activity call with the options it is given. `probing`: the step is blocked, and this call probes it.
 * `isBlocked`: the step still shows as blocked. An activity that goes on for long must end as `Unblocked` then, once
 * nothing blocks it.
 */
type Step<T> = (options: ActivityOptions, probing: boolean, isBlocked: boolean) => Promise<T>;

/** What blocks one step, by the clock of the workflow in milliseconds since 1970. */
interface Block {
  blocked: Blocked;
  since: number;
  giveUpAt: number;
}

/**
 * What blocks a workflow, which may try several steps at a time: a run is watched while CancelRun is tried. The search
 * attributes and the current details show all blocks together.
 */
export class Blocks {
  readonly #blocks = new Map<BlockableSteps, Block>();
  #shownCauses = '';

  /**
   * @param place what the workflow knows of the place where it works
   * @param describe the current details of the workflow, as Markdown; what blocks it is added.
   */
  constructor(
    private readonly place: BlockedPlace,
    private readonly describe: () => string,
  ) {}

  get all(): Block[] {
    return [...this.#blocks.values()];
  }

  /** The first problem; undefined where nothing is blocked. */
  get blocked(): Blocked | undefined {
    return this.all[0]?.blocked;
  }

  /** Updates the current details of the workflow. */
  show(): void {
    const blocks = this.all.map(({ blocked, since, giveUpAt }) =>
      describeBlocked(blocked, causeOf(blocked, this.place), since, giveUpAt),
    );
    setCurrentDetails([this.describe(), ...blocks].join('\n\n'));
  }

  /** Shows that a step is blocked, or no longer. */
  set(steps: BlockableSteps, blocked: Blocked | undefined, giveUpAt: number): void {
    const before = this.#blocks.get(steps);
    if (before === undefined && blocked === undefined) return;
    if (blocked === undefined) this.#blocks.delete(steps);
    else {
      const isSame = before?.blocked.kind === blocked.kind && before.blocked.action === blocked.action;
      this.#blocks.set(steps, { blocked, since: isSame ? before.since : Date.now(), giveUpAt });
    }
    // Histories from before the patch have no command where only the cause changes.
    if ((before === undefined) !== (blocked === undefined) || (this.#hasOtherCauses() && patched('blocked-by')))
      this.#upsert();
    this.show();
  }

  /** The workflow ends, and its search attributes say that it waits for nothing. The details no longer show blocks. */
  forget(): void {
    this.#blocks.clear();
  }

  #hasOtherCauses(): boolean {
    return this.#shownCauses !== this.#causes().join('\n');
  }

  #causes(): string[] {
    return blockedByValues(
      this.all.map((each) => each.blocked),
      this.place,
    );
  }

  #upsert(): void {
    const causes = this.#causes();
    this.#shownCauses = causes.join('\n');
    upsertSearchAttributes([
      { key: attributes.blocked, value: causes.length > 0 },
      { key: attributes.blockedBy, value: causes.length > 0 ? causes : null },
      { key: attributes.waitingSince, value: new Date() },
    ]);
  }
}

/** What the search attributes say once a workflow waits for nothing any more. Add it to the status that they show. */
export const NOT_WAITING: SearchAttributeUpdatePair[] = [
  { key: attributes.blocked, value: false },
  { key: attributes.blockedBy, value: null },
  { key: attributes.waitingSince, value: null },
];

/**
 * Runs a workflow that shows its blocks in search attributes, and clears these however it ends. It ends by a failure
 * where a step stayed blocked for too long, for example, and by a cancellation.
 */
export async function clearAtEnd<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    // Histories from before this patch have no command here. A workflow that continues as new has not ended.
    if (!(error instanceof ContinueAsNew) && patched('clear-at-end')) upsertSearchAttributes(NOT_WAITING);
    throw error;
  }
}

/** Runs steps that may be blocked, one after the other, and shows what they wait for. */
export class BlockableSteps {
  #isBlocked = false;

  /**
   * @param retries from {@link trackRetrySignals}
   * @param deadline when the workflow gives up, in milliseconds since 1970, where `giveUpDays` does not decide it
   */
  constructor(
    private readonly blocks: Blocks,
    private readonly retries: { count: number },
    private readonly giveUpDays = GIVE_UP_DAYS,
    private readonly deadline?: number,
  ) {}

  /**
   * Runs one step. While it is blocked, probes it. Continues when a probe succeeds, or at once on the `retry` signal.
   * @throws the failure with which the activity ended, or `Blocked` where the step stayed blocked for too long. A
   * cancellation of the surrounding scope ends the step.
   */
  async run<T>(step: Step<T>): Promise<T> {
    for (;;) {
      try {
        const result = await step(FIRST_TRIES, false, this.#isBlocked);
        this.#setBlocked(undefined);
        return result;
      } catch (error) {
        const failure = getApplicationFailure(error);
        if (failure?.type === 'Unblocked') {
          this.#setBlocked(undefined);
          continue;
        }
        if (failure?.type !== 'Blocked') throw error;
        this.#setBlocked(failure.details?.[0] as Blocked);
      }
      const retriesBefore = this.retries.count;
      const probe = new BlockedProbe(() =>
        step({ ...PROBING, scheduleToCloseTimeout: `${this.giveUpDays} days` }, true, true),
      );
      try {
        await condition(() => probe.outcome !== undefined || this.retries.count > retriesBefore);
      } catch (error) {
        // A cancellation of the surrounding scope cancels the probe too. The probe may have succeeded meanwhile, so its
        // outcome counts.
        if (!isCancellation(error)) throw error;
      }
      const outcome = probe.outcome ?? (await probe.cancel());
      if ('value' in outcome) {
        this.#setBlocked(undefined);
        return outcome.value;
      }
      if (!this.#shouldTryAgain(outcome.error, retriesBefore)) throw outcome.error;
    }
  }

  /** The workflow ends and waits for nothing any more. */
  clear(): void {
    this.#setBlocked(undefined);
  }

  /** Whether a probe that failed leads to another try: nothing blocks the step any more, or somebody sent `retry`. */
  #shouldTryAgain(error: unknown, retriesBefore: number): boolean {
    if (CancellationScope.current().consideredCancelled) return false;
    const failure = getApplicationFailure(error);
    if (failure?.type === 'Unblocked') {
      this.#setBlocked(undefined);
      return true;
    }
    const isBlocked = failure?.type === 'Blocked';
    if (this.retries.count === retriesBefore || !(isBlocked || isCancellation(error))) return false;
    if (isBlocked) this.#setBlocked(failure.details?.[0] as Blocked);
    return true;
  }

  #setBlocked(blocked: Blocked | undefined): void {
    this.#isBlocked = blocked !== undefined;
    this.blocks.set(this, blocked, this.deadline ?? Date.now() + this.giveUpDays * 86_400_000);
  }
}

type Outcome<T> = { value: T } | { error: unknown };

/** An activity that probes a blocked step, and can be cancelled apart from the rest. */
class BlockedProbe<T> {
  outcome: Outcome<T> | undefined;
  readonly #scope = new CancellationScope();
  readonly #outcome: Promise<Outcome<T>>;

  constructor(call: () => Promise<T>) {
    this.#outcome = this.#scope.run(call).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    void this.#outcome.then((outcome) => (this.outcome = outcome));
  }

  /** @returns how the probe ended; it may have succeeded before the cancellation arrived. */
  cancel(): Promise<Outcome<T>> {
    this.#scope.cancel();
    return CancellationScope.nonCancellable(() => this.#outcome);
  }
}
