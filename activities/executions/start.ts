import { StartRunCommand, type StartRunCommandInput, type StartRunCommandOutput } from '@aws-sdk/client-omics';
import { ApplicationFailure } from '@temporalio/common';
import { type AwsErrorKind, classifyAwsError } from '../../aws/errors.js';
import { DEFAULT_RETRIES } from '../../domain/connections/runSettings.js';
import { beginNextAttempt } from '../../store/executions/attempts.js';
import { closeStart, markStartSent, startRunRequestId } from '../../store/executions/start.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { recordResourcesUsed, updateExecution } from '../../store/executions/update.js';
import { lowerStartRate, raiseStartRate } from '../../store/executions/pacing.js';
import type { Dependencies } from '../dependencies.js';
import { parseDenial } from '../../domain/iam/denials.js';
import { withHeartbeat } from '../heartbeat.js';
import { runCall, withAwsErrors } from './awsCalls.js';
import { checkRunUnchanged } from './runMetadata.js';
import { claimStart } from './startMarkers.js';
import { loadExecution, quotaScope } from './context.js';
import { recordPermissionUse } from './evidence.js';
import { prepare } from './prepare.js';
import { waitForStartTurn } from './startTurn.js';

/** A HealthOmics run as the workflow needs to know it. */
export interface StartedRun {
  healthOmicsRunId: string;
  runOutputUri: string;
  /** Which of the execution's HealthOmics runs it is, from 1; absent in histories from before there were several. */
  attempt?: number;
}

type StartDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'settings'>;

export function createStartActivities(dependencies: StartDependencies) {
  const { db, settings } = dependencies;
  const starter = new RunStarter(dependencies);
  return {
    /**
     * Starts the HealthOmics run, once however often it is called.
     * @param probing whether the execution was blocked at this step.
     */
    async startRun(executionId: string, probing?: boolean): Promise<StartedRun> {
      const execution = await loadExecution(db, executionId);
      const started = findStartedRun(execution);
      if (started !== undefined) return started;
      if (execution.startState !== 'none') return starter.start(execution);
      if (probing !== true) {
        await waitForStartTurn(dependencies, execution, false);
        return starter.start(execution);
      }
      // AWS refused it, and a person may have changed the flow since. So the parameters are settled again.
      await prepare(dependencies, execution);
      const prepared = await loadExecution(db, executionId);
      await waitForStartTurn(dependencies, prepared, true);
      return starter.start(prepared);
    },

    /**
     * Finds out whether a cancelled StartRun started a run, so that the run can be cancelled. Sends StartRun again
     * where its answer was lost.
     * @returns null where no run was started, and none can be started any more.
     */
    async settleStart(executionId: string): Promise<StartedRun | null> {
      const execution = await loadExecution(db, executionId);
      const started = findStartedRun(execution);
      if (started !== undefined) return started;
      // One statement closes it: another attempt that is still running either finds it closed, or has recorded before
      // that it sent StartRun.
      if (await closeStart(db, executionId)) return null;
      return starter.start(await loadExecution(db, executionId));
    },

    /**
     * Keeps a HealthOmics run that failed for a transient reason, and makes the execution ready for the next one.
     * @param attempt the attempt that failed
     * @returns the next attempt and how long to wait before it; null where the flow allows no more.
     */
    async nextAttempt(
      executionId: string,
      attempt: number,
      failed: { failureReason: string; statusMessage?: string; description: string },
    ): Promise<{ attempt: number; waitSeconds: number } | null> {
      const execution = await loadExecution(db, executionId);
      // An execution that is beyond this attempt got its next one before: the activity is repeated.
      const isRepeated = execution.attempt !== attempt;
      if (!isRepeated && attempt > (execution.flow.settings.retries ?? DEFAULT_RETRIES)) return null;
      await beginNextAttempt(db, executionId, attempt, failed);
      return { attempt: attempt + 1, waitSeconds: settings.retryRunSeconds * attempt };
    },
  };
}

/** The HealthOmics run of an execution; undefined where it has none yet. */
function findStartedRun({ healthOmics, attempt }: ExecutionContext): StartedRun | undefined {
  if (healthOmics === null) return undefined;
  return { healthOmicsRunId: healthOmics.runId, runOutputUri: healthOmics.runOutputUri ?? '', attempt };
}

/** After these errors nobody knows whether HealthOmics started the run. */
const LEAVES_OPEN: readonly AwsErrorKind[] = ['network', 'internal', 'unknown'];

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
    const { db } = this.dependencies;
    await checkRunUnchanged(this.dependencies, execution);
    await claimStart(this.dependencies, execution);
    const answer = await withHeartbeat(() =>
      withAwsErrors(this.dependencies, execution, runCall(execution, 'omics:StartRun'), () => this.#send(execution)),
    );
    if (answer.id === undefined) throw ApplicationFailure.retryable('StartRun answered without a run id', 'Unexpected');
    const runOutputUri = answer.runOutputUri ?? `${execution.outputUri}${answer.id}`;
    await updateExecution(db, execution.id, {
      status: 'PENDING',
      statusDescription: `HealthOmics run ${answer.id} was started`,
      startState: 'started',
      healthOmics: { runId: answer.id, uuid: answer.uuid, arn: answer.arn, runOutputUri },
      healthOmicsStatus: answer.status ?? 'PENDING',
    });
    await this.#recordSuccess(execution);
    return { healthOmicsRunId: answer.id, runOutputUri, attempt: execution.attempt };
  }

  async #send(execution: ExecutionContext): Promise<StartRunCommandOutput> {
    const wasSentBefore = execution.startState === 'sent';
    const request =
      wasSentBefore && execution.startRequest !== null
        ? (execution.startRequest as unknown as StartRunCommandInput)
        : this.#buildRequest(execution);
    try {
      return await this.#sendTaggedOrNot(execution, request, wasSentBefore);
    } catch (error) {
      if (!(error instanceof ApplicationFailure)) await this.#recordRefusal(execution, error, wasSentBefore);
      throw error;
    }
  }

  /** Starts the run without tags where the provider may not tag it: the vendor's policy lacks omics:TagResource. */
  async #sendTaggedOrNot(
    execution: ExecutionContext,
    request: StartRunCommandInput,
    wasSentBefore: boolean,
  ): Promise<StartRunCommandOutput> {
    try {
      return await this.#sendOnce(execution, request);
    } catch (error) {
      const { kind, message } = classifyAwsError(error);
      const isTagDenied = kind === 'denied' && message.includes('omics:TagResource');
      const { tags, ...untagged } = request;
      if (isTagDenied) this.#untaggedProviders.add(execution.provider.id);
      if (isTagDenied && !wasSentBefore) return this.#sendOnce(execution, untagged);
      if (tags !== undefined && wasSentBefore && (isTagDenied || kind === 'conflict'))
        return this.#sendAgainUntagged(execution, request, error);
      throw error;
    }
  }

  /**
   * Sends a request without its tags, although an earlier call with tags may have started the run: a worker can die
   * between the denial of the tags and the call without them. HealthOmics refuses the second of two different requests
   * with one `requestId`, so that no second run can start. The request with tags stays stored, because it may be the one
   * that started the run.
   * @param refusal of the request with tags
   */
  async #sendAgainUntagged(
    execution: ExecutionContext,
    request: StartRunCommandInput,
    refusal: unknown,
  ): Promise<StartRunCommandOutput> {
    const { tags: _, ...untagged } = request;
    try {
      return await this.#sendOnce(execution, untagged, request);
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
    if (!(await markStartSent(db, execution, { ...stored })))
      throw ApplicationFailure.nonRetryable('The execution was cancelled before StartRun was sent', 'StartClosed');
    return aws.omics(execution.provider.id, execution.compute.region, true).send(new StartRunCommand(request));
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

  async #recordRefusal(execution: ExecutionContext, error: unknown, wasSentBefore: boolean): Promise<void> {
    const { db } = this.dependencies;
    const refusal = classifyAwsError(error);
    if (refusal.kind === 'throttled') await lowerStartRate(db, quotaScope(execution)).catch(() => undefined);
    if (refusal.kind === 'denied')
      await recordPermissionUse(this.dependencies, execution, parseDenial(refusal.message).action, refusal).catch(
        () => undefined,
      );
    // AWS refused this call for certain. An earlier call may still have started the run, unless the request is invalid:
    // then it was invalid before too.
    const startedNothing = !wasSentBefore || refusal.kind === 'invalid';
    if (startedNothing && !LEAVES_OPEN.includes(refusal.kind))
      await updateExecution(db, execution.id, { startState: 'none', startRequest: null });
  }
}
