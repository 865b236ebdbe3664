import {
  ActivityCancellationType,
  type ActivityOptions,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  log,
  patched,
  proxyActivities,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { SearchAttributeUpdatePair } from '@temporalio/common';
import type { ConfirmedCancel } from '../activities/executions/cancel.js';
import type { ExecutionEnd } from '../activities/executions/end.js';
import type { StartedRun } from '../activities/executions/start.js';
import type { WatchedStatus } from '../activities/executions/runWatcher.js';
import type { Activities } from '../activities/index.js';
import { type ExecutionStatus, isFinalStatus } from '../domain/executions/execution.js';
import { explainFailure } from '../domain/executions/failures.js';
import { cutToBytes } from '../domain/names.js';
import { isTransientFailure } from '../domain/connections/runSettings.js';
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
import { describeToDo } from './details.js';
import { describeExecution, describeWho, describeWhy, type ReceivedCancel } from './executionDetails.js';
import {
  type Bases2FastqInput,
  type Bases2FastqResult,
  type CancelRequest,
  cancelSignal,
  type ExecutionFailure,
  type ExecutionState,
  stateQuery,
} from './messages/executions.js';
import { type RunUploadEnded, runUploadEndedSignal } from './messages/runs.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';

const activities = proxyActivities<Activities>(FIRST_TRIES);

const BY_ITSELF = 'by itself';

/**
 * One execution of a Bases2Fastq flow: checks the shared workflow, starts the HealthOmics run, watches it until it ends
 * and reads its results. A cancel at any moment leads to CancelRun, or to no run at all.
 *
 * Running workflows replay this code. The order of commands must not change, and neither must the number of awaits
 * between them while CancelRun is tried beside the watching (test/histories).
 */
export async function bases2fastq(input: Bases2FastqInput): Promise<Bases2FastqResult> {
  const execution = new Bases2FastqExecution(input);
  return execution.runToEnd(async () => {
    if (input.waitForUpload) await execution.waitForUpload();
    await execution.getWorkflow();
    let run = await execution.startRun();
    for (;;) {
      if (run === null) return execution.end('CANCELED', 'Cancelled before a HealthOmics run was started');
      const ended = await execution.watchRun(run);
      if (ended.isSuperseded) {
        execution.leaveAttempt();
        run = await execution.startRun();
        continue;
      }
      run = execution.currentRun(run, ended);
      if (ended.status === 'COMPLETED') return execution.readResults();
      if (ended.status === 'CANCELED') return execution.endAsCancelled(run);
      const next = execution.mayRetry(ended) ? await execution.nextAttempt(run, ended) : null;
      if (next === null) return execution.endAsFailed(run, ended);
      execution.announceNextAttempt(run, ended, next);
      await execution.waitForCancel(next.waitSeconds);
      run = await execution.startRun();
    }
  });
}

/** The state of an execution, the signals and queries that act on it, and the steps of its lifecycle. */
class Bases2FastqExecution {
  #status: ExecutionStatus;
  #step = 'accepted';
  #stepSince = Date.now();
  #continues = BY_ITSELF;
  #toDo: string | undefined;
  #healthOmicsRunId: string | undefined;
  /** Which of the execution's HealthOmics runs that is. A restored database may know only an earlier one. */
  #attempt: number | undefined;
  /** What a message says. Anybody with access to Temporal can send one, with any content. */
  #uploadEnded: RunUploadEnded | undefined;
  #cancel: ReceivedCancel | undefined;
  #isCancelledByTemporal = false;
  /** What a cancel may interrupt at this moment. */
  #interruptible: CancellationScope | undefined;
  readonly #blocks: Blocks;
  readonly #steps: BlockableSteps;
  readonly #cancelSteps: BlockableSteps;
  /** Shielded from Temporal's cancellation of the workflow, which must lead to CancelRun instead of ending it. */
  readonly #cancelScope: CancellationScope;
  #isCancelling = false;

  constructor(private readonly input: Bases2FastqInput) {
    this.#status = input.waitForUpload ? 'UNTRIGGERED' : 'INITIALIZED';
    const retries = trackRetrySignals({ kind: 'execution', id: input.executionId });
    this.#blocks = new Blocks({ account: input.account, flow: input.flowName }, () => this.#describe());
    this.#steps = new BlockableSteps(this.#blocks, retries, input.giveUpDays);
    this.#cancelSteps = new BlockableSteps(this.#blocks, retries, input.giveUpDays);
    this.#cancelScope = new CancellationScope({
      cancellable: true,
      parent: new CancellationScope({ cancellable: false }),
    });
    this.#handleMessages();
  }

  /**
   * Runs the lifecycle, and records how the execution ended where a step fails. A cancellation by Temporal acts like
   * the signal: it leads to CancelRun instead of abandoning what runs.
   */
  runToEnd(lifecycle: () => Promise<Bases2FastqResult>): Promise<Bases2FastqResult> {
    return CancellationScope.nonCancellable(async () => {
      try {
        return await lifecycle();
      } catch (error) {
        const failure = getApplicationFailure(error);
        if (failure === undefined) return clearAtEnd(() => rethrow(error));
        // The database has an end that this workflow does not know: it was reset.
        if (failure.type === 'ExecutionEnded' && failure.details?.[0] === 'CANCELED')
          return this.end('CANCELED', failure.message);
        if (failure.type === 'Blocked') return this.end('FAILED', this.#describeGivingUp(failure), 'BlockedTooLong');
        return this.end('FAILED', failure.message, failure.type ?? undefined);
      }
    });
  }

  async waitForUpload(): Promise<void> {
    this.#show(
      'waiting for the upload of the run to end',
      'by itself, when the upload is complete. The workflow `run-upload/…` of the run says what is missing',
    );
    const ended = await this.#awaitEndOfUpload();
    if (this.#cancel === undefined && ended?.usable === false)
      await this.end('FAILED', `The run cannot be analysed: ${ended.reason}`, 'RunNotUsable');
    this.#status = 'INITIALIZED';
    if (this.#cancel === undefined) this.#upsertStatus();
  }

  /** @returns undefined when a cancel came first. */
  async #awaitEndOfUpload(): Promise<RunUploadEnded | undefined> {
    for (;;) {
      await condition(() => this.#uploadEnded !== undefined || this.#cancel !== undefined);
      // Histories from before this patch believe the message.
      if (this.#cancel !== undefined || !patched('judge-upload')) return this.#uploadEnded;
      this.#uploadEnded = undefined;
      const ended = await this.#runInterruptibly((options) =>
        activities.judgeUpload.executeWithOptions(
          { ...options, summary: toSummary(`Look up how the upload of ${this.input.runName} ended`) },
          [this.input.executionId],
        ),
      );
      if (ended !== null) return ended;
      log.warn('The run is still uploading, so this execution ignores the message that the upload has ended');
    }
  }

  async getWorkflow(): Promise<void> {
    this.#show('checking the shared workflow, the run manifest and the parameters');
    await this.#runInterruptibly((options) =>
      activities.prepareExecution.executeWithOptions(
        { ...options, ...FAST_TAKEOVER, summary: toSummary(`GetWorkflow for ${this.input.flowName}`) },
        [this.input.executionId],
      ),
    );
  }

  /** @returns null when the execution was cancelled before there was a run. */
  async startRun(): Promise<StartedRun | null> {
    this.#show(
      'starting the HealthOmics run',
      'by itself, once it is its turn to call StartRun. The pending activity says its place in the queue',
    );
    return (
      (await this.#runInterruptibly((options, probing) => this.#sendStartRun(options, probing))) ??
      this.#steps.run((options) =>
        activities.settleStart.executeWithOptions(
          { ...options, ...FAST_TAKEOVER, summary: 'Find out whether a run was started' },
          [this.input.executionId],
        ),
      )
    );
  }

  #sendStartRun(options: ActivityOptions, probing: boolean): Promise<StartedRun> {
    return activities.startRun.executeWithOptions(
      {
        ...options,
        ...FAST_TAKEOVER,
        // The answer to a StartRun that was sent says what there is to cancel.
        cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary: toSummary(`StartRun for ${this.input.runName}`),
      },
      [this.input.executionId, probing],
    );
  }

  /** @returns how the HealthOmics run ended. */
  async watchRun(run: StartedRun): Promise<WatchedStatus> {
    this.#healthOmicsRunId = run.healthOmicsRunId;
    this.#attempt = run.attempt;
    this.#status = 'PENDING';
    this.#upsertStatus();
    this.#cancelHealthOmicsRun();
    for (;;) {
      const attempt = this.#attempt ?? 1;
      const from: ExecutionStatus = this.#status;
      this.#show(
        from === 'PENDING' ? 'waiting for HealthOmics to run it' : 'running on HealthOmics',
        `by itself, when HealthOmics ${from === 'PENDING' ? 'starts' : 'ends'} the run`,
      );
      const seen: WatchedStatus = await this.#steps.run((options, _probing, isBlocked) =>
        this.#watchUntilNot(attempt, from, options, isBlocked),
      );
      this.#healthOmicsRunId = seen.healthOmicsRunId ?? this.#healthOmicsRunId;
      this.#attempt = seen.attempt ?? this.#attempt;
      this.#status = seen.status;
      if (isFinalStatus(seen.status)) return seen;
      this.#upsertStatus();
    }
  }

  /**
   * The workflow was reset to an attempt that is over. What StartRun has done for the later one decides how it goes on,
   * also where the execution is cancelled: the later run may exist.
   */
  leaveAttempt(): void {
    this.#status = 'INITIALIZED';
    this.#healthOmicsRunId = undefined;
    this.#isCancelling = false;
    this.#upsertStatus();
  }

  /** The run that was watched. After a reset, it can be a later one than the history says. */
  currentRun(run: StartedRun, { healthOmicsRunId = run.healthOmicsRunId, attempt = run.attempt }: WatchedStatus) {
    return { ...run, healthOmicsRunId, attempt };
  }

  #watchUntilNot(
    attempt: number,
    from: ExecutionStatus,
    options: ActivityOptions,
    probing: boolean,
  ): Promise<WatchedStatus> {
    return activities.watchRun.executeWithOptions(
      {
        ...options,
        taskQueue: this.input.watchTaskQueue,
        startToCloseTimeout: '60 days',
        scheduleToCloseTimeout: undefined,
        // The activity ends when whoever watches the run completes it. If that process dies, another takes over.
        heartbeatTimeout: undefined,
        // Without heartbeats, nobody hears of a cancellation.
        cancellationType: 'TRY_CANCEL',
        summary: toSummary(`Watch HealthOmics run ${this.#healthOmicsRunId} (${from})`),
      },
      [this.input.executionId, from, probing, attempt],
    );
  }

  /** Whether another HealthOmics run may succeed where this one failed. */
  mayRetry(ended: WatchedStatus): boolean {
    return this.#cancel === undefined && isTransientFailure(ended.failureReason) && patched('next-attempt');
  }

  /** Keeps the failed HealthOmics run. @returns null where no attempt is left. */
  async nextAttempt(run: StartedRun, ended: WatchedStatus): Promise<NextAttempt | null> {
    const failed = {
      failureReason: ended.failureReason ?? '',
      statusMessage: ended.statusMessage,
      description: describeEnd(run, ended),
    };
    return activities.nextAttempt.executeWithOptions(
      { ...FIRST_TRIES, summary: toSummary(`Keep the failed HealthOmics run ${run.healthOmicsRunId}`) },
      [this.input.executionId, run.attempt ?? 1, failed],
    );
  }

  announceNextAttempt(run: StartedRun, ended: WatchedStatus, next: NextAttempt): void {
    this.#status = 'INITIALIZED';
    this.#healthOmicsRunId = undefined;
    this.#upsertStatus();
    const when = next.waitSeconds === 0 ? 'at once' : `in ${next.waitSeconds} s`;
    this.#show(
      `${describeEnd(run, ended)}. The failure is transient, so attempt ${next.attempt} starts ${when}`,
      `by itself at ${new Date(Date.now() + next.waitSeconds * 1000).toISOString()}`,
    );
  }

  waitForCancel(seconds: number): Promise<boolean> {
    return condition(() => this.#cancel !== undefined, seconds * 1000, { summary: 'Wait for the next attempt' });
  }

  /** Reads the results and ends the execution as completed. */
  async readResults(): Promise<Bases2FastqResult> {
    this.#cancelScope.cancel();
    this.#cancelSteps.clear();
    this.#show('reading the results');
    const results = await this.#runInterruptibly((options) =>
      activities.readResults.executeWithOptions(
        { ...options, startToCloseTimeout: '1 hour', heartbeatTimeout: '2 minutes', summary: 'Read the results' },
        [this.input.executionId, this.#attempt],
      ),
    );
    if (results === undefined) return this.#endWithoutResults();
    this.#upsertEnd();
    this.#show(results.description);
    return { status: 'COMPLETED', healthOmicsRunId: this.#healthOmicsRunId, ...results };
  }

  /** A cancel came too late: the run has completed, and there is nothing left to cancel. */
  async #endWithoutResults(): Promise<Bases2FastqResult> {
    const status = 'COMPLETED';
    const description =
      `HealthOmics run ${this.#healthOmicsRunId} completed. polony did not read its results, because the execution ` +
      'was cancelled meanwhile';
    this.#steps.clear();
    const end = { status, description, cancel: this.#cancel?.request } as const;
    this.#confirmCancel(await this.#recordEnd(toSummary(description), end));
    this.#upsertEnd();
    this.#show(description);
    return { status, healthOmicsRunId: this.#healthOmicsRunId, description, ...this.#describeCancelled() };
  }

  endAsCancelled(run: StartedRun): Promise<Bases2FastqResult> {
    this.#cancelScope.cancel();
    const outside = this.#cancel === undefined ? ' outside polony' : '';
    return this.end('CANCELED', `HealthOmics run ${run.healthOmicsRunId} was cancelled${outside}`);
  }

  endAsFailed(run: StartedRun, ended: WatchedStatus): Promise<Bases2FastqResult> {
    this.#cancelScope.cancel();
    const errorType = ended.failureReason ?? `HealthOmics${ended.healthOmicsStatus}`;
    return this.end('FAILED', describeEnd(run, ended), errorType);
  }

  /**
   * Records that the execution ended without results.
   * @throws ApplicationFailure where it failed, CancelledFailure where Temporal cancelled the workflow.
   */
  async end(status: 'FAILED' | 'CANCELED', description: string, errorType?: string): Promise<Bases2FastqResult> {
    this.#status = status;
    this.#steps.clear();
    this.#cancelSteps.clear();
    const end = { status, description, errorType, cancel: this.#cancel?.request };
    this.#confirmCancel(await this.#recordEnd(toSummary(`${status}: ${description}`), end));
    this.#upsertEnd();
    if (status === 'FAILED') throw this.#fail(description, errorType ?? 'Failed');
    this.#show(description);
    const cancelled = this.#describeCancelled();
    if (this.#isCancelledByTemporal) throw new CancelledFailure(description, [cancelled]);
    return { status, healthOmicsRunId: this.#healthOmicsRunId, description, ...cancelled };
  }

  /** The failure of a failed execution says who must do what, so that nobody needs the API to know it. */
  #fail(description: string, errorType: string): ApplicationFailure {
    const { owner, what, toDo } = explainFailure(errorType);
    this.#toDo = describeToDo(owner, toDo);
    this.#show(description);
    const details: ExecutionFailure = { description, owner, what, toDo, healthOmicsRunId: this.#healthOmicsRunId };
    return ApplicationFailure.create({
      type: errorType,
      message: `${description.replace(/\.$/, '')}. ${this.#toDo}`,
      nonRetryable: true,
      details: [details],
    });
  }

  #recordEnd(summary: string, end: ExecutionEnd): Promise<ConfirmedCancel | void> {
    return activities.recordEnd.executeWithOptions({ ...FIRST_TRIES, summary }, [this.input.executionId, end]);
  }

  /** @param confirmed who requested it, as the database knows it; histories from before that have nothing. */
  #confirmCancel(confirmed: ConfirmedCancel | void | null): void {
    if (this.#cancel === undefined || confirmed?.cancelledBy === undefined) return;
    this.#cancel.confirmedBy = confirmed.cancelledBy;
    this.#blocks.show();
  }

  #describeCancelled(): Pick<Bases2FastqResult, 'cancelled'> {
    const cancel = this.#cancel;
    if (cancel === undefined) return {};
    return {
      cancelled: { who: describeWho(cancel), why: describeWhy(cancel), at: new Date(cancel.at).toISOString() },
    };
  }

  #handleMessages(): void {
    setHandler(cancelSignal, (request) => this.#requestCancel(request, 'signal'), {
      description:
        'Cancels the execution: sends CancelRun, or starts no HealthOmics run. Input, optional: {"reason": "why", ' +
        '"requestedBy": "who you are"}. Both are shown; who you are is a claim, because Temporal does not verify it. ' +
        'To be named as the one who cancelled, use the API: POST /v1/executions/<id>/cancel.',
    });
    setHandler(
      runUploadEndedSignal,
      (ended) => {
        this.#uploadEnded ??= ended;
      },
      {
        description:
          'polony sends it when the upload of the run has ended. Do not send it: the database decides whether the ' +
          'upload has ended. Input: {"usable": true or false, "reason": "…"}.',
      },
    );
    setHandler(stateQuery, () => this.#getState(), {
      description:
        'Where the execution stands: status, step and since when, HealthOmics run, what blocks it (action, resource, ' +
        'answer of AWS, remedy), and the request to cancel. Needs no input.',
    });
    CancellationScope.current().cancelRequested.catch(() => {
      this.#isCancelledByTemporal = true;
      this.#requestCancel(
        { requestedBy: 'Temporal', reason: 'The cancellation of the workflow was requested' },
        'cancellation',
      );
    });
  }

  #requestCancel(request: CancelRequest | undefined, by: ReceivedCancel['by']): void {
    if (this.#cancel !== undefined) return;
    this.#cancel = { request: sanitizeCancelRequest(request), at: Date.now(), by };
    this.#interruptible?.cancel();
    this.#cancelHealthOmicsRun();
    this.#blocks.show();
  }

  /**
   * Sends CancelRun while the run is still watched: the watching does not hear of a cancel.
   */
  #cancelHealthOmicsRun(): void {
    if (this.#cancel === undefined || this.#healthOmicsRunId === undefined || this.#isCancelling) return;
    this.#isCancelling = true;
    const { request } = this.#cancel;
    this.#cancelScope
      .run(() =>
        this.#cancelSteps.run((options) =>
          activities.cancelRun.executeWithOptions(
            { ...options, ...FAST_TAKEOVER, summary: toSummary(`CancelRun ${this.#healthOmicsRunId}`) },
            [this.input.executionId, request, this.#attempt],
          ),
        ),
      )
      // Whether or not CancelRun succeeds, watching shows how the run ended.
      .then(
        (confirmed) => this.#confirmCancel(confirmed),
        () => undefined,
      );
  }

  /** Runs a step that a cancel interrupts. @returns undefined when it was interrupted. */
  async #runInterruptibly<T>(step: (options: ActivityOptions, probing: boolean) => Promise<T>): Promise<T | undefined> {
    if (this.#cancel !== undefined) return undefined;
    const scope = new CancellationScope();
    this.#interruptible = scope;
    try {
      return await scope.run(() => this.#steps.run(step));
    } catch (error) {
      if (this.#cancel !== undefined) return undefined;
      throw error;
    } finally {
      this.#interruptible = undefined;
    }
  }

  #upsertStatus(): void {
    upsertSearchAttributes([
      { key: attributes.status, value: this.#status },
      { key: attributes.waitingSince, value: new Date() },
      ...this.#runAttribute(),
    ]);
  }

  /** Once it has ended, it waits for nothing. */
  #upsertEnd(): void {
    upsertSearchAttributes([{ key: attributes.status, value: this.#status }, ...this.#runAttribute(), ...NOT_WAITING]);
  }

  #runAttribute(): SearchAttributeUpdatePair[] {
    return this.#healthOmicsRunId === undefined
      ? []
      : [{ key: attributes.healthOmicsRunId, value: this.#healthOmicsRunId }];
  }

  #show(step: string, continues = BY_ITSELF): void {
    this.#step = step;
    this.#stepSince = Date.now();
    this.#continues = continues;
    this.#blocks.show();
  }

  #getState(): ExecutionState {
    return {
      status: this.#status,
      step: this.#step,
      since: new Date(this.#stepSince).toISOString(),
      healthOmicsRunId: this.#healthOmicsRunId,
      blocked: this.#blocks.blocked,
      cancelRequested: this.#cancel?.request,
    };
  }

  /** The current details of the workflow, as Markdown. */
  #describe(): string {
    return describeExecution(this.input, {
      status: this.#status,
      step: this.#step,
      since: this.#stepSince,
      continues: this.#continues,
      isBlocked: this.#blocks.blocked !== undefined,
      healthOmicsRunId: this.#healthOmicsRunId,
      cancel: this.#cancel,
      toDo: this.#toDo,
    });
  }

  #describeGivingUp({ message }: ApplicationFailure): string {
    return `polony gave up: the execution was blocked for ${this.input.giveUpDays ?? GIVE_UP_DAYS} days. ${message}`;
  }
}

async function rethrow(error: unknown): Promise<never> {
  throw error;
}

interface NextAttempt {
  attempt: number;
  waitSeconds: number;
}

function describeEnd(run: StartedRun, { healthOmicsStatus, failureReason, statusMessage }: WatchedStatus): string {
  const reason = failureReason === undefined ? '' : ` (${failureReason})`;
  const message = statusMessage === undefined ? '' : `: ${statusMessage}`;
  return `HealthOmics run ${run.healthOmicsRunId} ended as ${healthOmicsStatus}${reason}${message}`;
}

/**
 * Anyone may send the signal with any content: drops what is not text, and makes the rest fit to be stored and shown.
 */
function sanitizeCancelRequest(request: unknown): CancelRequest {
  const given = (typeof request === 'object' && request !== null ? request : {}) as Record<string, unknown>;
  const text = (value: unknown): string | undefined =>
    typeof value === 'string'
      ? cutToBytes(value.replace(/[\p{Cc}\p{Cs}]+/gu, ' ').trim(), 1000) || undefined
      : undefined;
  return { reason: text(given.reason), requestedBy: text(given.requestedBy) };
}
