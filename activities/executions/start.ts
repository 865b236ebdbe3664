import { StartRunCommand, type StartRunCommandInput, type StartRunCommandOutput } from '@aws-sdk/client-omics';
import { isDeepStrictEqual } from 'node:util';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { type AwsErrorKind, classifyAwsError } from '../../aws/errors.js';
import { START_CONFLICT } from '../../domain/executions/execution.js';
import { DEFAULT_RETRIES } from '../../domain/connections/runSettings.js';
import { noteLogIds } from '../../observability/logContext.js';
import { counted } from '../../observability/metrics.js';
import { beginNextAttempt } from '../../store/executions/attempts.js';
import {
  closeStart,
  markStartRefused,
  markStartSent,
  recordStartedRun,
  startRunRequestId,
} from '../../store/executions/start.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { recordResourcesUsed } from '../../store/executions/update.js';
import { lowerStartRate, raiseStartRate } from '../../store/executions/pacing.js';
import type { Dependencies } from '../dependencies.js';
import { parseDenial } from '../../domain/iam/denials.js';
import { createBlockedFailure } from '../failures.js';
import { withHeartbeat } from '../heartbeat.js';
import { runCall, withAwsErrors } from './awsCalls.js';
import { checkRunUnchanged } from './runMetadata.js';
import { isSameStart } from '../../domain/executions/record.js';
import { type EarlierStart, peekRecordedStart, recordRunInBucket, recordStart, recordStartRefused } from './records.js';
import { recallSentStart, recallStart, throwIfEndRecorded } from './recallStart.js';
import { findRunInOutput } from './runsInOutput.js';
import { claimStart } from './startMarkers.js';
import { loadExecution, quotaScope, throwIfEnded } from './context.js';
import { recordPermissionUse } from './evidence.js';
import { prepare } from './prepare.js';
import { loadStartedExecution } from './startedExecution.js';
import { StartTurns, waitForStartTurn } from './startTurn.js';

/** A HealthOmics run as the workflow needs to know it. */
export interface StartedRun {
  healthOmicsRunId: string;
  runOutputUri: string;
  /** Which of the execution's HealthOmics runs it is, from 1; absent in histories from before there were several. */
  attempt?: number;
}

type StartDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'secrets' | 'settings'>;

export function createStartActivities(dependencies: StartDependencies) {
  const { db, settings } = dependencies;
  const starter = new RunStarter(dependencies);
  const turns = new StartTurns(db, settings.startRunsPerSecond);
  return {
    /**
     * Starts the HealthOmics run, once however often it is called.
     * @param probing whether the execution was blocked at this step.
     */
    async startRun(executionId: string, probing?: boolean): Promise<StartedRun> {
      const execution = await loadExecution(db, executionId);
      const started = findStartedRun(execution);
      if (started !== undefined) return started;
      throwIfEnded(execution);
      const isProbing = probing === true;
      // AWS refused it, and a person may have changed the flow since. So the parameters are settled again. A request
      // whose answer was lost is repeated as it was.
      const isSettledAgain = isProbing && execution.startState === 'none';
      if (isSettledAgain) await prepare(dependencies, execution);
      const toStart = isSettledAgain ? await loadExecution(db, executionId) : execution;
      // A repeated call needs its turn too, because AWS counts every call.
      await waitForStartTurn(db, turns, toStart, isProbing);
      return starter.start(toStart);
    },

    /**
     * Finds out whether a cancelled StartRun started a run, so that the run can be cancelled. Sends StartRun again
     * where its answer was lost.
     * @returns null where no run was started, and none can be started any more.
     */
    async settleStart(executionId: string): Promise<StartedRun | null> {
      // Where the database has forgotten the run, Temporal may name it.
      const execution = await loadStartedExecution(dependencies, executionId);
      const started = findStartedRun(execution);
      if (started !== undefined) return started;
      await recallSentStart(dependencies, execution);
      // One statement closes it: another attempt that is still running either finds it closed, or has recorded before
      // that it sent StartRun.
      if (await closeStart(db, executionId)) return null;
      const recalled = await loadExecution(db, executionId);
      return findStartedRun(recalled) ?? starter.start(recalled);
    },

    /**
     * Keeps a HealthOmics run that failed for a transient reason, and makes the execution ready for the next one.
     * @param attempt the attempt that failed
     * @returns the next attempt and how long to wait before it; null where the flow allows no more, or it has ended.
     */
    async nextAttempt(
      executionId: string,
      attempt: number,
      failed: { failureReason: string; statusMessage?: string; description: string },
    ): Promise<{ attempt: number; waitSeconds: number } | null> {
      const execution = await loadStartedExecution(dependencies, executionId, attempt);
      // An execution that is beyond this attempt got its next one before: the activity is repeated.
      const isRepeated = execution.attempt > attempt;
      if (!isRepeated && attempt > (execution.flow.settings.retries ?? DEFAULT_RETRIES)) return null;
      const isMoved = await beginNextAttempt(db, executionId, attempt, failed);
      // An execution that has ended gets no other attempt, also where its workflow was reset and may retry more by now.
      if (!isMoved && (await loadExecution(db, executionId)).attempt <= attempt) return null;
      return { attempt: attempt + 1, waitSeconds: settings.retryRunSeconds * attempt };
    },
  };
}

/** The HealthOmics run of an execution; undefined where it has none yet. */
function findStartedRun({ healthOmics, attempt }: ExecutionContext): StartedRun | undefined {
  if (healthOmics === null) return undefined;
  return { healthOmicsRunId: healthOmics.runId, runOutputUri: healthOmics.runOutputUri ?? '', attempt };
}

const START_CLOSED = 'StartClosed';

function startClosed(): ApplicationFailure {
  return ApplicationFailure.nonRetryable('The execution was cancelled before StartRun was sent', START_CLOSED);
}

/** After these errors nobody knows whether HealthOmics started the run. */
const LEAVES_OPEN: readonly AwsErrorKind[] = ['network', 'internal', 'unknown'];

/** HealthOmics also answers a Conflict for a short time, while it works on another call with the same `requestId`. */
const PASSING_CONFLICTS = 4;

/** @returns the Conflict while it may pass by itself, and then a failure that says what a person can do. */
function describeConflict(execution: ExecutionContext, conflict: unknown): unknown {
  if (Context.current().info.attempt <= PASSING_CONFLICTS) return conflict;
  const { action, resource } = runCall(execution, 'omics:StartRun');
  return createBlockedFailure({
    kind: START_CONFLICT,
    owner: 'polony',
    action,
    resource,
    message:
      `${action} on ${resource}: ${classifyAwsError(conflict).message} HealthOmics has a run for this execution that ` +
      'another request started, and neither the database nor the bucket says which run that is.',
    remedy:
      `Allow the provider omics:ListRuns and run polony reconcile: it finds the run by its tag polony:execution = ` +
      `${execution.id}. Or set flow and compute connection back to what they were at the first call. polony also finds ` +
      `the run once it writes to ${execution.outputUri}; polony then continues automatically.`,
  });
}

/** What StartRun answers, or is known of the run otherwise. */
export interface RunAnswer {
  id?: string;
  uuid?: string | null;
  arn?: string | null;
  runOutputUri?: string;
}

/** How long the run waited for this start, since both its files and the request were there. */
function observeWait({ run, timeCreated }: ExecutionContext): void {
  const since = Math.max(timeCreated.getTime(), run.timeUploaded?.getTime() ?? 0);
  counted.uploadToStart.observe(Math.max(0, Date.now() - since) / 1000);
}

class RunStarter {
  /** Providers that lack omics:TagResource. Their runs have no tags. */
  readonly #untaggedProviders = new Set<string>();

  constructor(private readonly dependencies: StartDependencies) {}

  /**
   * Sends StartRun with the execution's own requestId, so that HealthOmics answers a repeated call with the same run.
   * polony stores the request. It sends the same request until it knows that it started nothing, even when flow and
   * connections have changed since.
   */
  async start(execution: ExecutionContext): Promise<StartedRun> {
    try {
      return await this.#start(execution);
    } catch (error) {
      if (!(error instanceof ApplicationFailure) || error.type !== START_CLOSED) throw error;
      // Another call may have recorded the run meanwhile.
      const known = findStartedRun(await loadExecution(this.dependencies.db, execution.id));
      if (known === undefined) throw error;
      return known;
    }
  }

  async #start(execution: ExecutionContext): Promise<StartedRun> {
    const { db } = this.dependencies;
    // What blocks StartRun stays visible, with the time since when, until StartRun itself succeeds.
    const unblocked = { ...execution, blocked: null };
    await checkRunUnchanged(this.dependencies, unblocked);
    await claimStart(this.dependencies, unblocked);
    const toSend = await this.#recordInBucket(unblocked);
    if ('healthOmicsRunId' in toSend) return toSend;
    const answer = await withHeartbeat(() =>
      withAwsErrors(this.dependencies, execution, runCall(execution, 'omics:StartRun'), () =>
        this.#send(toSend.execution, toSend.isUncertain),
      ),
    );
    if (answer.id === undefined) throw ApplicationFailure.retryable('StartRun answered without a run id', 'Unexpected');
    const runOutputUri = answer.runOutputUri ?? `${execution.outputUri}${answer.id}`;
    const { id: runId, uuid = null, arn = null } = answer;
    await recordRunInBucket(this.dependencies, execution, { runId, uuid, arn, runOutputUri });
    const isRecorded = await recordStartedRun(db, execution, { runId, uuid, arn, runOutputUri });
    // Another call was faster: that of a workflow that was reset while AWS answered, or of a worker that seemed dead.
    const known = isRecorded ? undefined : findStartedRun(await loadExecution(db, execution.id));
    if (known !== undefined) return known;
    noteLogIds({ healthOmicsRunId: answer.id });
    if (execution.attempt === 1) observeWait(execution);
    await this.#recordSuccess(execution);
    return { healthOmicsRunId: answer.id, runOutputUri, attempt: execution.attempt };
  }

  /**
   * Records StartRun in the bucket before its first call. A database that was restored from an older dump may have
   * forgotten an earlier call; the bucket has not.
   * @returns the run that the earlier call started, or the execution to send, with the request of the earlier call.
   * `isUncertain` where the earlier call had another request, and may have started a run.
   */
  async #recordInBucket(
    execution: ExecutionContext,
  ): Promise<StartedRun | { execution: ExecutionContext; isUncertain: boolean }> {
    if (execution.startState !== 'none') return { execution, isUncertain: false };
    await throwIfEndRecorded(this.dependencies, execution);
    const own = this.#buildRequest(execution);
    const earlier = await withHeartbeat(() => recordStart(this.dependencies, execution, own));
    if (earlier === 'unreadable') return { execution, isUncertain: true };
    if (earlier?.run !== undefined) {
      if (!(await recallStart(this.dependencies, execution, earlier))) throw startClosed();
      const { runId: healthOmicsRunId, runOutputUri } = earlier.run;
      return { healthOmicsRunId, runOutputUri, attempt: execution.attempt };
    }
    if (earlier === undefined) return { execution, isUncertain: false };
    const { request } = earlier.start;
    // Where flow or connections have changed since, HealthOmics answers Conflict if the earlier call started a run.
    if (!isSameStart(request, own)) return { execution, isUncertain: true };
    return { execution: { ...execution, startState: 'sent', startRequest: request }, isUncertain: false };
  }

  async #send(execution: ExecutionContext, isUncertain: boolean): Promise<RunAnswer> {
    const wasSentBefore = execution.startState === 'sent';
    const request =
      wasSentBefore && execution.startRequest !== null
        ? (execution.startRequest as unknown as StartRunCommandInput)
        : this.#buildRequest(execution);
    try {
      return await this.#sendTaggedOrNot(execution, request, wasSentBefore);
    } catch (error) {
      if (error instanceof ApplicationFailure) throw error;
      const { kind } = classifyAwsError(error);
      if (kind === 'conflict') return this.#findConflicting(execution, request, error);
      // An earlier call may have been valid: what it names may have changed since.
      const started =
        wasSentBefore && kind === 'invalid'
          ? await findRunInOutput(this.dependencies, execution).catch(() => undefined)
          : undefined;
      if (started !== undefined) return started;
      if (await this.#isRefusedForCertain(execution, error, wasSentBefore)) {
        // The record first: where the database is restored later, it must not say less than the bucket.
        const isOther =
          isUncertain || (wasSentBefore && (await this.#findOtherRecord(execution, request)) !== undefined);
        if (!isOther) await recordStartRefused(this.dependencies, execution, request);
        await markStartRefused(this.dependencies.db, execution);
      }
      throw error;
    }
  }

  /** The record of another StartRun of this attempt than a request; undefined where there is none. */
  async #findOtherRecord(
    execution: ExecutionContext,
    request: object,
  ): Promise<EarlierStart | 'unreadable' | undefined> {
    const recorded = await peekRecordedStart(this.dependencies, execution);
    if (recorded === undefined || recorded === 'unreadable' || recorded.run !== undefined) return recorded;
    return isDeepStrictEqual(recorded.start.request, { ...request }) ? undefined : recorded;
  }

  /**
   * Finds the run of another request with the same `requestId`, which HealthOmics answers with a Conflict. The database
   * does not know that request where it was restored from a dump, and flow or connections have changed since.
   * @throws where no run is found, which says nothing about whether one exists: the Conflict, and once it lasts, a
   * failure that is blocked by it.
   */
  async #findConflicting(
    execution: ExecutionContext,
    request: StartRunCommandInput,
    conflict: unknown,
  ): Promise<RunAnswer> {
    const found = await this.#findOtherRecord(execution, request);
    const recorded = found === 'unreadable' ? undefined : found;
    if (recorded?.run !== undefined) return { ...recorded.run, id: recorded.run.runId };
    // What cannot be read now is read with the next try.
    const inOutput = await findRunInOutput(this.dependencies, execution).catch(() => undefined);
    if (inOutput !== undefined) return inOutput;
    if (recorded === undefined) throw describeConflict(execution, conflict);
    try {
      return await this.#sendTaggedOrNot(
        execution,
        recorded.start.request as unknown as StartRunCommandInput,
        true,
        request,
      );
    } catch (error) {
      if (error instanceof ApplicationFailure) throw error;
      // The earlier request may have lost its role or its workflow since. The run exists all the same.
      const { kind } = classifyAwsError(error);
      if (!['conflict', 'denied', 'invalid', 'not-found'].includes(kind)) throw error;
    }
    throw describeConflict(execution, conflict);
  }

  /** Starts the run without tags where the provider may not tag it: the vendor's policy lacks omics:TagResource. */
  async #sendTaggedOrNot(
    execution: ExecutionContext,
    request: StartRunCommandInput,
    wasSentBefore: boolean,
    stored = request,
  ): Promise<StartRunCommandOutput> {
    try {
      return await this.#sendOnce(execution, request, stored);
    } catch (error) {
      const { kind, message } = classifyAwsError(error);
      const isTagDenied = kind === 'denied' && message.includes('omics:TagResource');
      const { tags, ...untagged } = request;
      if (isTagDenied) this.#untaggedProviders.add(execution.provider.id);
      if (isTagDenied && !wasSentBefore) return this.#sendOnce(execution, untagged);
      if (tags !== undefined && wasSentBefore && (isTagDenied || kind === 'conflict'))
        return this.#sendAgainUntagged(execution, request, stored, error);
      throw error;
    }
  }

  /**
   * Sends a request without its tags, although an earlier call with tags may have started the run: a worker can die
   * between the denial of the tags and the call without them. HealthOmics refuses the second of two different requests
   * with one `requestId`, so that no second run can start. The request with tags stays stored, because it may be the one
   * that started the run.
   * @param stored what to send again where the answer is lost
   * @param refusal of the request with tags
   */
  async #sendAgainUntagged(
    execution: ExecutionContext,
    request: StartRunCommandInput,
    stored: StartRunCommandInput,
    refusal: unknown,
  ): Promise<StartRunCommandOutput> {
    const { tags: _, ...untagged } = request;
    try {
      return await this.#sendOnce(execution, untagged, stored);
    } catch (error) {
      throw classifyAwsError(error).kind === 'conflict' ? refusal : error;
    }
  }

  /** @param stored what to send again where the answer is lost */
  async #sendOnce(
    execution: ExecutionContext,
    request: StartRunCommandInput,
    stored = request,
  ): Promise<StartRunCommandOutput> {
    const { aws, db } = this.dependencies;
    // Recorded before every single call, so that no run can start that polony does not ask about.
    if (!(await markStartSent(db, execution, { ...stored }))) throw startClosed();
    try {
      return await aws.omics(execution.provider.id, execution.compute.region, true).send(new StartRunCommand(request));
    } catch (error) {
      if (classifyAwsError(error).kind === 'throttled')
        await lowerStartRate(db, quotaScope(execution)).catch(() => undefined);
      throw error;
    }
  }

  #buildRequest(execution: ExecutionContext): StartRunCommandInput {
    const { id, parameters, compute, flow, storage, run, outputUri, provider } = execution;
    const { tags, retries: _, manifestErrors: __, ...runSettings } = flow.settings;
    return {
      workflowId: flow.sharedWorkflowId,
      workflowType: 'PRIVATE',
      workflowOwnerId: flow.workflowOwnerId,
      roleArn: compute.executionRoleArn,
      name: `${flow.name} ${run.name}`.replace(/[^\x20-\x7e]/g, '?').slice(0, 128),
      parameters: parameters ?? {},
      outputUri: outputUri.replace(/\/$/, ''),
      storageType: 'DYNAMIC',
      retentionMode: 'RETAIN',
      ...runSettings,
      requestId: startRunRequestId(execution),
      ...(!this.#untaggedProviders.has(provider.id) && {
        tags: { ...tags, 'polony:execution': id, 'polony:run': run.id, 'polony:storage-connection': storage.id },
      }),
    };
  }

  /** Records what a successful call shows. The run counts more, so failing to record it is ignored. */
  async #recordSuccess(execution: ExecutionContext): Promise<void> {
    const { db } = this.dependencies;
    await Promise.all([
      raiseStartRate(db, quotaScope(execution)),
      recordPermissionUse(this.dependencies, execution, 'omics:StartRun'),
      recordPermissionUse(this.dependencies, execution, 'iam:PassRole'),
      this.#recordResourcesUsed(execution),
    ]).catch(() => undefined);
  }

  /** Verifies the flow and the compute connection again where they show as failed: a run has just started with them. */
  async #recordResourcesUsed(execution: ExecutionContext): Promise<void> {
    const { db, orchestrator } = this.dependencies;
    for (const resource of await recordResourcesUsed(db, execution)) await orchestrator.verification.verify(resource);
  }

  /** Whether AWS refused StartRun so that no call of it started a run. Records what the refusal shows. */
  async #isRefusedForCertain(execution: ExecutionContext, error: unknown, wasSentBefore: boolean): Promise<boolean> {
    const refusal = classifyAwsError(error);
    if (refusal.kind === 'denied')
      await recordPermissionUse(this.dependencies, execution, parseDenial(refusal.message).action, refusal).catch(
        () => undefined,
      );
    // AWS refused this call for certain. An earlier call may still have started the run, unless the request is invalid:
    // then it was invalid before too.
    return (!wasSentBefore || refusal.kind === 'invalid') && !LEAVES_OPEN.includes(refusal.kind);
  }
}
