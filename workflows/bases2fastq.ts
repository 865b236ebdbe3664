import {
  ActivityCancellationType,
  type ActivityOptions,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  patched,
  proxyActivities,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
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

/** A signal may come from anywhere with anything in it: what is not text is left out, the rest made fit to be kept and shown. */
function plainCancel(request: unknown): CancelRequest {
  const given = (typeof request === 'object' && request !== null ? request : {}) as Record<string, unknown>;
  const text = (value: unknown): string | undefined =>
    typeof value === 'string'
      ? cutToBytes(value.replace(/[\p{Cc}\p{Cs}]+/gu, ' ').trim(), 1000) || undefined
      : undefined;
  return { reason: text(given.reason), requestedBy: text(given.requestedBy) };
}

/**
 * One execution of a Bases2Fastq flow: checks the shared workflow, starts the HealthOmics run, watches it to its end and
 * reads its results. A cancel at any moment ends in CancelRun or in no run at all.
 */
export async function bases2fastq(input: Bases2FastqInput): Promise<Bases2FastqResult> {
  const { executionId } = input;
  let status: ExecutionStatus = input.waitForUpload ? 'UNTRIGGERED' : 'INITIALIZED';
  let step = 'accepted';
  let healthOmicsRunId: string | undefined;
  let cancel: CancelRequest | undefined;
  let byTemporal = false;
  let uploadEnded: RunUploadEnded | undefined;
  /** What a cancel may interrupt at this moment. */
  let interruptible: CancellationScope | undefined;

  const retries = trackRetrySignals();
  const steps = new BlockableSteps(
    () =>
      `**${status}**: ${step}\n\nFlow ${input.flowName}, run ${input.runName} (${input.instrumentName}), provider ${input.providerName}, account ${input.account}, ${input.region}${
        healthOmicsRunId === undefined ? '' : `, HealthOmics run ${healthOmicsRunId}`
      }${cancel === undefined ? '' : `\n\nCancel requested by ${cancel.requestedBy ?? 'a Temporal signal'}${cancel.reason === undefined ? '' : `: ${cancel.reason}`}`}`,
    retries,
    input.giveUpDays,
  );
  const show = (now: string): void => {
    step = now;
    steps.show();
  };
  const cancelSteps = new BlockableSteps(
    () => `Cancelling HealthOmics run ${healthOmicsRunId}`,
    retries,
    input.giveUpDays,
  );
  let cancelling: Promise<void> | undefined;
  // Shielded from Temporal's own cancellation of the workflow, which must lead to CancelRun and not end it.
  const cancelScope = new CancellationScope({
    cancellable: true,
    parent: new CancellationScope({ cancellable: false }),
  });

  function requestCancel(request: CancelRequest | undefined): void {
    if (cancel !== undefined) return;
    cancel = plainCancel(request);
    interruptible?.cancel();
    cancelHealthOmicsRun();
    steps.show();
  }

  /** Beside the watching, which would notice a cancellation only with its next heartbeat. */
  function cancelHealthOmicsRun(): void {
    if (cancel === undefined || healthOmicsRunId === undefined || cancelling !== undefined) return;
    const request = cancel;
    cancelling = cancelScope
      .run(() =>
        cancelSteps.run((options) =>
          activities.cancelRun.executeWithOptions(
            { ...options, ...FAST_TAKEOVER, summary: toSummary(`CancelRun ${healthOmicsRunId}`) },
            [executionId, request],
          ),
        ),
      )
      // Whatever becomes of it, watching tells how the run ended.
      .catch(() => undefined);
  }

  setHandler(cancelSignal, requestCancel);
  setHandler(runUploadEndedSignal, (ended) => {
    uploadEnded ??= ended;
  });
  setHandler(stateQuery, (): ExecutionState => ({
    status,
    step,
    healthOmicsRunId,
    blocked: steps.blocked ?? cancelSteps.blocked,
    cancelRequested: cancel,
  }));
  CancellationScope.current().cancelRequested.catch(() => {
    byTemporal = true;
    requestCancel({ requestedBy: 'Temporal', reason: 'The cancellation of the workflow was requested' });
  });

  /** Runs a step that a cancel interrupts. @returns undefined when it was interrupted. */
  async function interruptibly<T>(
    run: (options: ActivityOptions, probing: boolean) => Promise<T>,
  ): Promise<T | undefined> {
    if (cancel !== undefined) return undefined;
    const scope = new CancellationScope();
    interruptible = scope;
    try {
      return await scope.run(() => steps.run(run));
    } catch (error) {
      if (cancel !== undefined) return undefined;
      throw error;
    } finally {
      interruptible = undefined;
    }
  }

  async function end(
    ended: 'FAILED' | 'CANCELED',
    description: string,
    errorType?: string,
  ): Promise<Bases2FastqResult> {
    status = ended;
    steps.clear();
    cancelSteps.clear();
    await activities.recordEnd.executeWithOptions({ ...FIRST_TRIES, summary: toSummary(`${ended}: ${description}`) }, [
      executionId,
      { status: ended, description, errorType, cancel },
    ]);
    upsertSearchAttributes([{ key: attributes.status, value: ended }]);
    show(description);
    if (ended === 'FAILED') throw ApplicationFailure.nonRetryable(description, errorType);
    if (byTemporal) throw new CancelledFailure(description);
    return { status: 'CANCELED', healthOmicsRunId, description };
  }

  /** @returns null when it was cancelled before there was a run. */
  async function start(): Promise<StartedRun | null> {
    show('starting the HealthOmics run');
    return (
      (await interruptibly((options, probing) =>
        activities.startRun.executeWithOptions(
          // A StartRun that is on its way is waited for: its answer says what there is to cancel.
          {
            ...options,
            ...FAST_TAKEOVER,
            cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary: toSummary(`StartRun for ${input.runName}`),
          },
          [executionId, probing],
        ),
      )) ??
      steps.run((options) =>
        activities.settleStart.executeWithOptions(
          { ...options, ...FAST_TAKEOVER, summary: 'Settle whether a run was started' },
          [executionId],
        ),
      )
    );
  }

  async function watchToItsEnd(started: StartedRun): Promise<WatchedStatus> {
    const runId = started.healthOmicsRunId;
    healthOmicsRunId = runId;
    status = 'PENDING';
    upsertSearchAttributes([
      { key: attributes.status, value: status },
      { key: attributes.healthOmicsRunId, value: runId },
    ]);
    cancelHealthOmicsRun();
    for (;;) {
      show(status === 'PENDING' ? 'waiting for HealthOmics to run it' : 'running on HealthOmics');
      const from: ExecutionStatus = status;
      const seen: WatchedStatus = await steps.run((options, probing) =>
        activities.watchRun.executeWithOptions(
          {
            ...options,
            taskQueue: input.watchTaskQueue,
            startToCloseTimeout: '60 days',
            scheduleToCloseTimeout: undefined,
            heartbeatTimeout: `${input.heartbeatTimeoutSeconds ?? 30} seconds`,
            summary: toSummary(`Watch HealthOmics run ${runId} (${from})`),
          },
          [executionId, from, probing],
        ),
      );
      status = seen.status;
      if (isFinalStatus(status)) return seen;
      upsertSearchAttributes([{ key: attributes.status, value: status }]);
    }
  }

  /** @returns null where there is no attempt left. */
  async function nextAttempt(
    started: StartedRun,
    ended: WatchedStatus,
    why: string,
  ): Promise<{ attempt: number; waitSeconds: number } | null> {
    const failed = { failureReason: ended.failureReason ?? '', statusMessage: ended.statusMessage, description: why };
    return activities.nextAttempt.executeWithOptions(
      { ...FIRST_TRIES, summary: toSummary(`Keep the failed HealthOmics run ${started.healthOmicsRunId}`) },
      [executionId, started.attempt ?? 1, failed],
    );
  }

  async function carryOut(): Promise<Bases2FastqResult> {
    if (input.waitForUpload) {
      show('waiting for the upload of the run to end');
      await condition(() => uploadEnded !== undefined || cancel !== undefined);
      if (cancel === undefined && uploadEnded?.usable === false)
        return end('FAILED', `The run cannot be analysed: ${uploadEnded.reason}`, 'RunNotUsable');
      status = 'INITIALIZED';
      if (cancel === undefined) upsertSearchAttributes([{ key: attributes.status, value: status }]);
    }
    show('checking the shared workflow');
    await interruptibly((options) =>
      activities.prepareExecution.executeWithOptions(
        { ...options, ...FAST_TAKEOVER, summary: toSummary(`GetWorkflow for ${input.flowName}`) },
        [executionId],
      ),
    );
    let started = await start();
    for (;;) {
      if (started === null) return end('CANCELED', 'Cancelled before a HealthOmics run was started');
      const ended = await watchToItsEnd(started);
      if (ended.status === 'COMPLETED') break;
      const { healthOmicsRunId: runId } = started;
      if (ended.status === 'CANCELED') {
        cancelScope.cancel();
        return end(
          'CANCELED',
          cancel === undefined
            ? `HealthOmics run ${runId} was cancelled outside polony`
            : `HealthOmics run ${runId} was cancelled`,
        );
      }
      const why = `HealthOmics run ${runId} ended as ${ended.healthOmicsStatus}${ended.failureReason === undefined ? '' : ` (${ended.failureReason})`}${ended.statusMessage === undefined ? '' : `: ${ended.statusMessage}`}`;
      const next =
        cancel === undefined && isTransientFailure(ended.failureReason) && patched('next-attempt')
          ? await nextAttempt(started, ended, why)
          : null;
      if (next === null) {
        cancelScope.cancel();
        return end('FAILED', why, ended.failureReason ?? `HealthOmics${ended.healthOmicsStatus}`);
      }
      status = 'INITIALIZED';
      healthOmicsRunId = undefined;
      upsertSearchAttributes([{ key: attributes.status, value: status }]);
      show(
        `${why}; that passes, so attempt ${next.attempt} is started ${next.waitSeconds === 0 ? 'at once' : `in ${next.waitSeconds} s`}`,
      );
      await condition(() => cancel !== undefined, next.waitSeconds * 1000);
      started = await start();
    }
    cancelScope.cancel();
    cancelSteps.clear();
    show('reading the results');
    const results = await interruptibly((options) =>
      activities.readResults.executeWithOptions(
        { ...options, startToCloseTimeout: '1 hour', heartbeatTimeout: '2 minutes', summary: 'Read the results' },
        [executionId],
      ),
    );
    if (results === undefined) {
      // There is nothing left to cancel: the run has completed, and what it cost is spent.
      const description = `HealthOmics run ${healthOmicsRunId} completed; its results were not read, since the execution was cancelled then`;
      status = 'COMPLETED';
      steps.clear();
      await activities.recordEnd.executeWithOptions({ ...FIRST_TRIES, summary: toSummary(description) }, [
        executionId,
        { status, description, cancel },
      ]);
      upsertSearchAttributes([{ key: attributes.status, value: status }]);
      show(description);
      return { status, healthOmicsRunId, description };
    }
    upsertSearchAttributes([{ key: attributes.status, value: status }]);
    show(results.description);
    return { status: 'COMPLETED', healthOmicsRunId, ...results };
  }

  // A cancellation by Temporal is carried out like the signal: by CancelRun, not by abandoning what runs.
  return CancellationScope.nonCancellable(async () => {
    try {
      return await carryOut();
    } catch (error) {
      const failure = getApplicationFailure(error);
      if (failure === undefined) throw error;
      if (failure.type === 'Blocked')
        return end(
          'FAILED',
          `Given up: it was blocked for ${input.giveUpDays ?? GIVE_UP_DAYS} days. ${failure.message}`,
          'BlockedTooLong',
        );
      return end('FAILED', failure.message, failure.type ?? undefined);
    }
  });
}
