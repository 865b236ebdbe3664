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
import type { ExecutionEnd } from '../activities/executions/end.js';
import type { StartedRun } from '../activities/executions/start.js';
import type { WatchedStatus } from '../activities/executions/watch.js';
import type { Activities } from '../activities/index.js';
import { type ExecutionStatus, isFinalStatus } from '../domain/executions/execution.js';
import { cutToBytes } from '../domain/names.js';
import { isTransientFailure } from '../domain/connections/runSettings.js';
import {
  trackRetrySignals,
  getApplicationFailure,
  FIRST_TRIES,
  GIVE_UP_DAYS,
  BlockableSteps,
  FAST_TAKEOVER,
} from './blocking.js';
import {
  type Bases2FastqInput,
  type Bases2FastqResult,
  type CancelRequest,
  cancelSignal,
  type ExecutionState,
  stateQuery,
} from './messages/executions.js';
import { type RunUploadEnded, runUploadEndedSignal } from './messages/runs.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';

const activities = proxyActivities<Activities>(FIRST_TRIES);

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
  #healthOmicsRunId: string | undefined;
  /** What a message says. Anybody with access to Temporal can send one, with any content. */
  #uploadEnded: RunUploadEnded | undefined;
  #cancel: CancelRequest | undefined;
  #isCancelledByTemporal = false;
  /** What a cancel may interrupt at this moment. */
  #interruptible: CancellationScope | undefined;
  readonly #steps: BlockableSteps;
  readonly #cancelSteps: BlockableSteps;
  /** Shielded from Temporal's cancellation of the workflow, which must lead to CancelRun instead of ending it. */
  readonly #cancelScope: CancellationScope;
  #isCancelling = false;

  constructor(private readonly input: Bases2FastqInput) {
    this.#status = input.waitForUpload ? 'UNTRIGGERED' : 'INITIALIZED';
    const retries = trackRetrySignals({ kind: 'execution', id: input.executionId });
    this.#steps = new BlockableSteps(() => this.#describe(), retries, input.giveUpDays);
    this.#cancelSteps = new BlockableSteps(
      () => `Cancelling HealthOmics run ${this.#healthOmicsRunId}`,
      retries,
      input.giveUpDays,
    );
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
        if (failure === undefined) throw error;
        if (failure.type === 'Blocked') return this.end('FAILED', this.#describeGivingUp(failure), 'BlockedTooLong');
        return this.end('FAILED', failure.message, failure.type ?? undefined);
      }
    });
  }

  async waitForUpload(): Promise<void> {
    this.#show('waiting for the upload of the run to end');
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
    this.#show('checking the shared workflow');
    await this.#runInterruptibly((options) =>
      activities.prepareExecution.executeWithOptions(
        { ...options, ...FAST_TAKEOVER, summary: toSummary(`GetWorkflow for ${this.input.flowName}`) },
        [this.input.executionId],
      ),
    );
  }

  /** @returns null when the execution was cancelled before there was a run. */
  async startRun(): Promise<StartedRun | null> {
    this.#show('starting the HealthOmics run');
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
    this.#status = 'PENDING';
    upsertSearchAttributes([
      { key: attributes.status, value: this.#status },
      { key: attributes.healthOmicsRunId, value: this.#healthOmicsRunId },
    ]);
    this.#cancelHealthOmicsRun();
    for (;;) {
      const from: ExecutionStatus = this.#status;
      this.#show(from === 'PENDING' ? 'waiting for HealthOmics to run it' : 'running on HealthOmics');
      const seen: WatchedStatus = await this.#steps.run((options, _probing, isBlocked) =>
        this.#watchUntilNot(from, options, isBlocked),
      );
      this.#status = seen.status;
      if (isFinalStatus(seen.status)) return seen;
      this.#upsertStatus();
    }
  }

  #watchUntilNot(from: ExecutionStatus, options: ActivityOptions, probing: boolean): Promise<WatchedStatus> {
    return activities.watchRun.executeWithOptions(
      {
        ...options,
        taskQueue: this.input.watchTaskQueue,
        startToCloseTimeout: '60 days',
        scheduleToCloseTimeout: undefined,
        heartbeatTimeout: `${this.input.heartbeatTimeoutSeconds ?? 30} seconds`,
        summary: toSummary(`Watch HealthOmics run ${this.#healthOmicsRunId} (${from})`),
      },
      [this.input.executionId, from, probing],
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
    this.#show(`${describeEnd(run, ended)}. The failure is transient, so attempt ${next.attempt} starts ${when}`);
  }

  waitForCancel(seconds: number): Promise<boolean> {
    return condition(() => this.#cancel !== undefined, seconds * 1000);
  }

  /** Reads the results and ends the execution as completed. */
  async readResults(): Promise<Bases2FastqResult> {
    this.#cancelScope.cancel();
    this.#cancelSteps.clear();
    this.#show('reading the results');
    const results = await this.#runInterruptibly((options) =>
      activities.readResults.executeWithOptions(
        { ...options, startToCloseTimeout: '1 hour', heartbeatTimeout: '2 minutes', summary: 'Read the results' },
        [this.input.executionId],
      ),
    );
    if (results === undefined) return this.#endWithoutResults();
    this.#upsertStatus();
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
    await this.#recordEnd(toSummary(description), { status, description, cancel: this.#cancel });
    this.#upsertStatus();
    this.#show(description);
    return { status, healthOmicsRunId: this.#healthOmicsRunId, description };
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
    await this.#recordEnd(toSummary(`${status}: ${description}`), {
      status,
      description,
      errorType,
      cancel: this.#cancel,
    });
    this.#upsertStatus();
    this.#show(description);
    if (status === 'FAILED') throw ApplicationFailure.nonRetryable(description, errorType);
    if (this.#isCancelledByTemporal) throw new CancelledFailure(description);
    return { status, healthOmicsRunId: this.#healthOmicsRunId, description };
  }

  #recordEnd(summary: string, end: ExecutionEnd): Promise<void> {
    return activities.recordEnd.executeWithOptions({ ...FIRST_TRIES, summary }, [this.input.executionId, end]);
  }

  #handleMessages(): void {
    setHandler(cancelSignal, (request) => this.#requestCancel(request));
    setHandler(runUploadEndedSignal, (ended) => {
      this.#uploadEnded ??= ended;
    });
    setHandler(stateQuery, () => this.#getState());
    CancellationScope.current().cancelRequested.catch(() => {
      this.#isCancelledByTemporal = true;
      this.#requestCancel({ requestedBy: 'Temporal', reason: 'The cancellation of the workflow was requested' });
    });
  }

  #requestCancel(request: CancelRequest | undefined): void {
    if (this.#cancel !== undefined) return;
    this.#cancel = sanitizeCancelRequest(request);
    this.#interruptible?.cancel();
    this.#cancelHealthOmicsRun();
    this.#steps.show();
  }

  /**
   * Sends CancelRun while the run is still watched: the watching would notice a cancel only with its next heartbeat.
   */
  #cancelHealthOmicsRun(): void {
    if (this.#cancel === undefined || this.#healthOmicsRunId === undefined || this.#isCancelling) return;
    this.#isCancelling = true;
    const request = this.#cancel;
    this.#cancelScope
      .run(() =>
        this.#cancelSteps.run((options) =>
          activities.cancelRun.executeWithOptions(
            { ...options, ...FAST_TAKEOVER, summary: toSummary(`CancelRun ${this.#healthOmicsRunId}`) },
            [this.input.executionId, request],
          ),
        ),
      )
      // Whether or not CancelRun succeeds, watching shows how the run ended.
      .catch(() => undefined);
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
    upsertSearchAttributes([{ key: attributes.status, value: this.#status }]);
  }

  #show(step: string): void {
    this.#step = step;
    this.#steps.show();
  }

  #getState(): ExecutionState {
    return {
      status: this.#status,
      step: this.#step,
      healthOmicsRunId: this.#healthOmicsRunId,
      blocked: this.#steps.blocked ?? this.#cancelSteps.blocked,
      cancelRequested: this.#cancel,
    };
  }

  /** The current details of the workflow, as Markdown. */
  #describe(): string {
    const { flowName, runName, instrumentName, providerName, account, region } = this.input;
    const healthOmicsRun = this.#healthOmicsRunId === undefined ? '' : `, HealthOmics run ${this.#healthOmicsRunId}`;
    return (
      `**${this.#status}**: ${this.#step}\n\nFlow ${flowName}, run ${runName} (${instrumentName}), ` +
      `provider ${providerName}, account ${account}, ${region}${healthOmicsRun}${describeCancel(this.#cancel)}`
    );
  }

  #describeGivingUp({ message }: ApplicationFailure): string {
    return `polony gave up: the execution was blocked for ${this.input.giveUpDays ?? GIVE_UP_DAYS} days. ${message}`;
  }
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

function describeCancel(cancel: CancelRequest | undefined): string {
  if (cancel === undefined) return '';
  const reason = cancel.reason === undefined ? '' : `: ${cancel.reason}`;
  // Not who: anybody can write any name into a signal. The API shows who requested it.
  return `\n\nCancel requested${reason}`;
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
