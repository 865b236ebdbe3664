import {
  CancelRunCommand,
  GetRunCommand,
  type GetRunCommandOutput,
  GetWorkflowCommand,
  StartRunCommand,
  type StartRunCommandInput,
  type StartRunCommandOutput,
} from '@aws-sdk/client-omics';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import { listObjects, parseS3Uri, readBytes, readText, writeText } from '../../aws/s3.js';
import { joinKey } from '../../domain/aws.js';
import { type PermissionScope, workflowArn } from '../../domain/iam/permissions.js';
import { parseIndexAssignment, parseMetrics, parseRunStats } from '../../domain/executions/results.js';
import { errorMessage } from '../../domain/errors.js';
import { checkRunManifest, describeFindings, type ManifestReport } from '../../domain/runs/manifestCheck.js';
import { findBases2FastqVersion, describeVersionConflict } from '../../domain/executions/versionGate.js';
import {
  type Blocked,
  buildRunParameters,
  type ExecutionStatus,
  toExecutionStatus,
  type ExecutionSummary,
  type HealthOmicsStatus,
  type ResultFile,
} from '../../domain/executions/execution.js';
import { DEFAULT_RETRIES } from '../../domain/connections/runSettings.js';
import { beginNextAttempt } from '../../store/executions/attempts.js';
import { recordCancelRequest } from '../../store/executions/cancel.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import { closeStart, markStartSent, startRunRequestId } from '../../store/executions/start.js';
import { recordResourcesUsed, updateExecution } from '../../store/executions/update.js';
import { recordEvidence } from '../../store/verification/evidence.js';
import { hasRecentEvents, type EventSource, recordGenuineEvent } from '../../store/events.js';
import { requestStartTurn, leaveStartQueue, lowerStartRate, raiseStartRate } from '../../store/executions/pacing.js';
import type { CancelRequest } from '../../workflows/messages.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { type AwsCall, createBlockedFailure, getBlocked, findDeniedAction, toActivityFailure } from '../failures.js';

/** A HealthOmics run as the workflow needs to know it. */
export interface StartedRun {
  healthOmicsRunId: string;
  runOutputUri: string;
  /** Which of the execution's it is, from 1; absent in histories from before there were several. */
  attempt?: number;
}

/** What watching has seen. */
export interface WatchedStatus {
  status: ExecutionStatus;
  healthOmicsStatus: HealthOmicsStatus;
  failureReason?: string;
  statusMessage?: string;
}

const HEARTBEAT_MS = 10_000;
/** What the summary of the results is made of. */
const RESULT_FILES = ['RunStats.json', 'IndexAssignment.csv', 'Metrics.csv'] as const;
/** How many files of the results are kept by name; the rest is in their folder. */
const FILES_LISTED = 1000;
/** A run that has changed this lately is looked at more often than others. */
const LATELY_MS = 120_000;
const SOON_MS = 10_000;
/** How much rarer polls are where events arrive. */
const RARELY = 10;
/** The longest wait for a turn that an activity spends waiting. */
const WAITED_HERE_MS = 2000;

/** The activities of `bases2fastq`. All of them can be repeated. */
export function createExecutionActivities({ db, aws, orchestrator, settings, polls }: Dependencies) {
  async function load(executionId: string): Promise<ExecutionContext> {
    const execution = await findExecution(db, executionId);
    if (execution === undefined)
      throw ApplicationFailure.nonRetryable(`Execution ${executionId} is not in the store`, 'ExecutionUnknown');
    return execution;
  }

  function scopeOf({ compute, flow, provider, storage }: ExecutionContext): PermissionScope {
    return {
      bucket: storage.bucket,
      prefix: storage.prefix,
      executionRoleArn: compute.executionRoleArn,
      accountId: provider.account || undefined,
      region: compute.region,
      workflowId: flow.sharedWorkflowId,
      workflowOwnerId: flow.workflowOwnerId,
    };
  }

  /** Makes AWS calls; what blocks them is written to the execution before it is thrown, and wiped when they go through. */
  async function calling<T>(execution: ExecutionContext, call: AwsCall, run: () => Promise<T>): Promise<T> {
    try {
      const result = await aws.use(execution.provider.id, run);
      if (execution.blocked) await updateExecution(db, execution.id, { blocked: null });
      return result;
    } catch (error) {
      const failure = toActivityFailure(error, { scope: scopeOf(execution), ...call });
      const blocked = getBlocked(failure);
      if (blocked !== undefined)
        await updateExecution(db, execution.id, {
          blocked,
          statusDescription: `Blocked: ${blocked.message} ${blocked.remedy}`,
        });
      throw failure;
    }
  }

  function runCall(execution: ExecutionContext, action: string, runId = '*'): AwsCall {
    return {
      action,
      resource: `arn:aws:omics:${execution.compute.region}:${execution.provider.account || '*'}:run/${runId}`,
    };
  }

  /** Providers that were found to lack omics:TagResource. */
  const untagged = new Set<string>();

  /** What starting a run has shown of the permissions that verification cannot try; news are verified at once. */
  async function noteUse(
    execution: ExecutionContext,
    action: string | undefined,
    error?: { code: string; message: string },
  ): Promise<void> {
    const { compute, flow, provider } = execution;
    let news = false;
    if (action === 'iam:PassRole')
      news = await recordEvidence(db, provider.id, action, compute.executionRoleArn, error);
    else if (action === 'omics:StartRun')
      news = await recordEvidence(
        db,
        provider.id,
        action,
        workflowArn({
          region: compute.region,
          workflowOwnerId: flow.workflowOwnerId,
          workflowId: flow.sharedWorkflowId,
        }),
        error,
      );
    if (!news) return;
    await orchestrator.verify({ kind: 'computeConnection', id: compute.id, name: compute.name });
    await orchestrator.verify({ kind: 'flow', id: flow.id, name: flow.name });
  }

  /** What AWS counts calls by. */
  function quotaScope({ provider, compute }: ExecutionContext): string {
    return `${provider.account || provider.id}/${compute.region}`;
  }

  function startRequestOf(execution: ExecutionContext): StartRunCommandInput {
    const { id, parameters, compute, flow, storage, run, outputUri, provider } = execution;
    const { tags, retries: _, manifestErrors: __, ...settingsOfRun } = flow.settings;
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
      ...settingsOfRun,
      requestId: startRunRequestId(execution),
      ...(!untagged.has(provider.id) && {
        tags: { ...tags, 'polony:execution': id, 'polony:run': run.id, 'polony:storage-connection': storage.id },
      }),
    };
  }

  /**
   * StartRun with the execution's own requestId, so that asking again answers the same run. What was sent is kept: it is sent
   * again word for word until it is known that it started nothing, whatever has been changed in flow and connections since.
   */
  async function sendStartRun(execution: ExecutionContext): Promise<StartedRun> {
    const { compute, provider } = execution;
    const sentBefore = execution.startState === 'sent';
    let request = (
      sentBefore && execution.startRequest !== null ? execution.startRequest : startRequestOf(execution)
    ) as StartRunCommandInput;
    const omics = aws.omics(provider.id, compute.region, true);
    const send = async (): Promise<StartRunCommandOutput> => {
      // Before every single call: none may go out that nobody would ask after.
      if (!(await markStartSent(db, execution, { ...request })))
        throw ApplicationFailure.nonRetryable('The execution was cancelled before StartRun was sent', 'StartClosed');
      return omics.send(new StartRunCommand(request));
    };
    const answer = await withHeartbeat(() =>
      calling(execution, runCall(execution, 'omics:StartRun'), async () => {
        try {
          try {
            return await send();
          } catch (error) {
            const { kind, message } = classifyAwsError(error);
            // The vendor's template lacks what tags need, and going without them is better than not at all. Where an earlier
            // attempt may have started the run, the request must stay what it was.
            if (sentBefore || kind !== 'denied' || !message.includes('omics:TagResource')) throw error;
            untagged.add(provider.id);
            const { tags: _, ...rest } = request;
            request = rest;
            return await send();
          }
        } catch (error) {
          if (error instanceof ApplicationFailure) throw error;
          // Refused for certain: nothing was started by this attempt. Only an answer that did not come leaves that open; and what
          // is not valid now was not valid then.
          const { kind } = classifyAwsError(error);
          if (kind === 'throttled') await lowerStartRate(db, quotaScope(execution)).catch(() => undefined);
          if (kind === 'denied')
            await noteUse(execution, findDeniedAction(error), classifyAwsError(error)).catch(() => undefined);
          if ((!sentBefore || kind === 'invalid') && !['network', 'internal', 'unknown'].includes(kind))
            await updateExecution(db, execution.id, { startState: 'none', startRequest: null });
          throw error;
        }
      }),
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
    // What use has shown is worth knowing, but not worth losing a run for.
    await Promise.all([
      raiseStartRate(db, quotaScope(execution)),
      noteUse(execution, 'omics:StartRun'),
      noteUse(execution, 'iam:PassRole'),
      recordResourcesUsed(db, execution),
    ]).catch(() => undefined);
    return { healthOmicsRunId: answer.id, runOutputUri, attempt: execution.attempt };
  }

  /**
   * Waits for the turn to call StartRun. A short while is waited here; a longer one by failing as `Waiting`, which Temporal
   * tries again at the time, so that it takes neither a slot of the worker nor history.
   */
  async function takeTurn(execution: ExecutionContext, blocked: boolean): Promise<void> {
    const scope = quotaScope(execution);
    for (;;) {
      const turn = await requestStartTurn(db, {
        executionId: execution.id,
        flowId: execution.flow.id,
        scope,
        perSecond: settings.startRunsPerSecond,
      });
      if (turn.wait === 0) return;
      if (turn.wait <= WAITED_HERE_MS && turn.position <= 10) {
        await withHeartbeat(() => Context.current().sleep(turn.wait));
        continue;
      }
      const message = `Waiting for its turn to be started: place ${turn.position} of ${turn.waiting} in ${scope.replace('/', ', ')}, about ${Math.ceil(turn.wait / 1000)} s; HealthOmics starts ${settings.startRunsPerSecond} a second`;
      if (!blocked) await updateExecution(db, execution.id, { statusDescription: message });
      throw ApplicationFailure.create({
        type: 'Waiting',
        message,
        nextRetryDelay: turn.wait,
        category: ApplicationFailureCategory.BENIGN,
      });
    }
  }

  /**
   * Checks the run manifest that Bases2Fastq would read, and puts one that was given in place of the run's own where it can be read.
   * @returns its `s3://` URI where it is not the run's own.
   */
  async function checkManifest(execution: ExecutionContext): Promise<string | undefined> {
    const { storage, run, manifest } = execution;
    const s3 = aws.s3(execution.storageProviderId, storage.region);
    const own = {
      bucket: storage.bucket,
      key: joinKey(storage.prefix, run.parentPath, run.runFolder, 'RunManifest.csv'),
    };
    const { bucket, key } = manifest === null || 'text' in manifest ? own : parseS3Uri(manifest.uri);
    const found = await withHeartbeat(() =>
      calling(
        ofStorage(execution),
        { action: 's3:GetObject', resource: `arn:aws:s3:::${bucket}/${key}` },
        async (): Promise<{ content: string | Uint8Array } | 'absent' | 'unreadable'> => {
          if (manifest !== null && 'text' in manifest) return { content: manifest.text };
          try {
            const content = await readBytes(s3, bucket, key);
            return content === undefined ? 'absent' : { content };
          } catch (error) {
            // Reading is optional in the vendor's table; without it HealthOmics still reads the file, by its own role.
            if (manifest === null && classifyAwsError(error).kind === 'denied') return 'unreadable';
            throw error;
          }
        },
      ),
    );
    const unchecked = (rule: string, message: string): ManifestReport => ({
      errors: [],
      warnings: [{ rule, message }],
      samples: 0,
      more: 0,
    });
    const report =
      found === 'unreadable'
        ? unchecked('not-checked', 'RunManifest.csv was not checked: the provider may not read it (s3:GetObject)')
        : found === 'absent'
          ? manifest === null
            ? unchecked('no-manifest', 'The run has no RunManifest.csv; Bases2Fastq then takes all reads as one sample')
            : {
                ...unchecked('', ''),
                warnings: [],
                errors: [{ rule: 'no-manifest', message: `there is no object s3://${bucket}/${key}` }],
              }
          : checkRunManifest(found.content, run);
    await updateExecution(db, execution.id, { manifestReport: report });
    if (report.errors.length > 0 && (found === 'absent' || execution.flow.settings.manifestErrors !== 'warn')) {
      const blocked: Blocked = {
        kind: 'MANIFEST_INVALID',
        resource: manifest !== null && 'text' in manifest ? undefined : `s3://${bucket}/${key}`,
        message: `Bases2Fastq would stop at the run manifest: ${describeFindings(report.errors)}`,
        remedy:
          manifest === null
            ? `Replace RunManifest.csv in the run folder, and it goes on by itself; or cancel the execution and relaunch it with another manifest. A flow whose runSettings.manifestErrors is warn leaves it to Bases2Fastq.`
            : 'Cancel the execution and relaunch it with another manifest.',
      };
      await updateExecution(db, execution.id, {
        blocked,
        statusDescription: `Blocked: ${blocked.message} ${blocked.remedy}`,
      });
      throw createBlockedFailure(blocked);
    }
    if (manifest === null) return undefined;
    if ('uri' in manifest) return manifest.uri;
    const target = joinKey(parseS3Uri(execution.outputUri).key.replace(/\/$/, ''), 'input', 'RunManifest.csv');
    await withHeartbeat(() =>
      calling(
        ofStorage(execution),
        { action: 's3:PutObject', resource: `arn:aws:s3:::${storage.bucket}/${target}` },
        () => writeText(s3, storage.bucket, target, manifest.text),
      ),
    );
    return `s3://${storage.bucket}/${target}`;
  }

  /** The execution as calls to its bucket see it: by the provider of the storage connection. */
  function ofStorage(execution: ExecutionContext): ExecutionContext {
    return { ...execution, provider: { ...execution.provider, id: execution.storageProviderId } };
  }

  /** Asks HealthOmics for the shared workflow, checks the run manifest and settles the parameters of the run. */
  async function prepare(given: ExecutionContext): Promise<void> {
    // What blocks it is not wiped before all of this has gone through.
    const execution = { ...given, blocked: null };
    const { flow, compute, storage, run } = execution;
    const omics = aws.omics(execution.provider.id, compute.region);
    const call: AwsCall = {
      action: 'omics:GetWorkflow',
      resource: workflowArn({
        region: compute.region,
        workflowOwnerId: flow.workflowOwnerId,
        workflowId: flow.sharedWorkflowId,
      }),
      whenNotFound: `Accept the share in the HealthOmics console of ${compute.region}, and check the flow's shared workflow ID and owner; a share is only available in its own region.`,
    };
    const workflow = await withHeartbeat(() =>
      calling(execution, call, () =>
        omics.send(
          new GetWorkflowCommand({ id: flow.sharedWorkflowId, type: 'PRIVATE', workflowOwnerId: flow.workflowOwnerId }),
        ),
      ),
    );
    const problem = describeVersionConflict(
      run.platformVersion,
      findBases2FastqVersion(
        `${workflow.name ?? ''} ${flow.settings.workflowVersionName ?? ''}`,
        workflow.description,
        workflow.definition,
      ),
    );
    if (problem !== undefined) {
      const blocked: Blocked = {
        kind: 'VERSION_TOO_OLD',
        resource: call.resource,
        message: problem,
        remedy:
          "Ask Element for a share of a later version and change the flow's sharedWorkflowId; it goes on by itself.",
      };
      await updateExecution(db, execution.id, {
        blocked,
        statusDescription: `Blocked: ${blocked.message} ${blocked.remedy}`,
      });
      throw createBlockedFailure(blocked);
    }
    const runManifest = await checkManifest(execution);
    const runDir = `s3://${storage.bucket}/${joinKey(storage.prefix, run.parentPath, run.runFolder)}`;
    const parameters = await calling(execution, call, async () =>
      buildRunParameters(
        workflow.parameterTemplate ?? {},
        flow.parameterNames,
        { ...flow.parameters, ...execution.ownParameters },
        { runDir, runManifest },
      ),
    );
    await updateExecution(db, execution.id, {
      parameters,
      workflowName: workflow.name ?? `workflow ${flow.sharedWorkflowId}`,
    });
  }

  /** Which sources of events have been asked after lately, and what the answer was. */
  const arriving = new Map<EventSource, { until: number; answer: boolean }>();

  /** Milliseconds until the next look at a run. Where events arrive, looking is a safety net. */
  async function pauseAfter(source: EventSource, changed: number): Promise<number> {
    const known = arriving.get(source);
    if (known === undefined || known.until < Date.now()) {
      const answer = await hasRecentEvents(db, source).catch(() => false);
      arriving.set(source, { until: Date.now() + 60_000, answer });
    }
    const usual = settings.runPollSeconds * 1000;
    if (arriving.get(source)!.answer) return usual * RARELY;
    return Math.min(usual, Date.now() - changed < LATELY_MS ? SOON_MS : Infinity);
  }

  function alreadyStarted(execution: ExecutionContext): StartedRun | undefined {
    return execution.healthOmics === null
      ? undefined
      : {
          healthOmicsRunId: execution.healthOmics.runId,
          runOutputUri: execution.healthOmics.runOutputUri ?? '',
          attempt: execution.attempt,
        };
  }

  async function getRun(execution: ExecutionContext, runId: string): Promise<GetRunCommandOutput> {
    // Never repeated by itself: each call is counted, and the next poll asks again.
    const omics = aws.omics(execution.provider.id, execution.compute.region, true);
    return calling(execution, runCall(execution, 'omics:GetRun', runId), () =>
      omics.send(new GetRunCommand({ id: runId })),
    );
  }

  return {
    /** Asks HealthOmics for the shared workflow and settles the parameters of its run. */
    async prepareExecution(executionId: string): Promise<void> {
      const execution = await load(executionId);
      if (execution.healthOmics !== null) return;
      const { uploadState } = execution.run;
      if (uploadState === 'refused' || uploadState === 'vanished')
        throw ApplicationFailure.nonRetryable(`The run cannot be analysed: it was ${uploadState}`, 'RunNotUsable');
      await updateExecution(db, executionId, {
        status: 'INITIALIZED',
        statusDescription: 'Checking the shared workflow',
      });
      await prepare(execution);
      if (execution.blocked !== null) await updateExecution(db, executionId, { blocked: null });
    },

    /** Starts the HealthOmics run, once however often it is asked for. */
    async startRun(executionId: string, probing?: boolean): Promise<StartedRun> {
      const execution = await load(executionId);
      const started = alreadyStarted(execution);
      if (started !== undefined) return started;
      if (execution.startState !== 'none') return sendStartRun(execution);
      if (probing !== true) {
        await takeTurn(execution, false);
        return sendStartRun(execution);
      }
      // It was refused, and a person may have changed the flow since: what was settled then is settled anew.
      await prepare(execution);
      const anew = await load(executionId);
      await takeTurn(anew, true);
      return sendStartRun(anew);
    },

    /**
     * Settles what became of a StartRun that was given up: asks again where its answer was lost, so that a run that was
     * started is known and can be cancelled.
     */
    async settleStart(executionId: string): Promise<StartedRun | null> {
      const execution = await load(executionId);
      const started = alreadyStarted(execution);
      if (started !== undefined) return started;
      // Closed in one step: an attempt that is still on its way somewhere finds it closed, or has noted that it sent before.
      if (await closeStart(db, executionId)) return null;
      return sendStartRun(await load(executionId));
    },

    /**
     * Watches a HealthOmics run until its execution has another status than `from`. Asks every `runPollSeconds`,
     * sooner after a change or an event, later where the account's calls do not suffice; heartbeats apart from that.
     * `probing`: the workflow waits for a person; say when there is nothing to wait for any more.
     */
    async watchRun(executionId: string, from: ExecutionStatus, probing: boolean): Promise<WatchedStatus> {
      const execution = await load(executionId);
      const context = Context.current();
      const known = execution.healthOmics;
      if (known === null)
        throw ApplicationFailure.nonRetryable('The execution has no HealthOmics run to watch', 'ExecutionUnknown');
      let written = known.status;
      let trouble: string | undefined;
      const beat = (): void =>
        context.heartbeat({
          healthOmicsRunId: known.runId,
          healthOmicsStatus: written,
          ...(trouble !== undefined && { trouble }),
        });
      const beating = setInterval(beat, HEARTBEAT_MS);
      const source = `omics/${quotaScope(execution)}` as const;
      const watch = polls.watch(quotaScope(execution), executionId);
      // Whoever is asked to watch has just been told of a change, or takes over from one who may have missed one.
      let changed = Date.now();
      let notFound = 0;
      try {
        for (let pause = 0; ; pause = await pauseAfter(source, changed)) {
          beat();
          const byEvent = await watch.turn(pause, context.cancellationSignal);
          let run: GetRunCommandOutput;
          try {
            run = await getRun(execution, known.runId);
            trouble = undefined;
          } catch (error) {
            // A run that is deleted is not found any more. One that was just started may not be found yet, so that is asked again.
            if (getBlocked(error)?.kind === 'NOT_FOUND') {
              if (++notFound >= 3) {
                await updateExecution(db, executionId, { blocked: null });
                return {
                  status: 'FAILED',
                  healthOmicsStatus: 'DELETED',
                  failureReason: 'RUN_DELETED',
                  statusMessage: 'HealthOmics does not find it any more: it was deleted before its end was seen',
                };
              }
            }
            // What time mends is asked again at the next poll, without an attempt of the activity for each.
            else if (
              !(error instanceof ApplicationFailure) ||
              !['Throttled', 'Network', 'AwsInternal', 'ExpiredSession', 'Conflict'].includes(error.type ?? '')
            )
              throw error;
            else if (error.type === 'Throttled') watch.throttled();
            trouble = errorMessage(error);
            continue;
          }
          notFound = 0;
          if (known.uuid !== null && run.uuid !== undefined && run.uuid !== known.uuid) {
            throw ApplicationFailure.nonRetryable(
              `HealthOmics run ${known.runId} was deleted and its id given to another run (uuid ${run.uuid}, ours was ${known.uuid})`,
              'RunReplaced',
            );
          }
          const status = run.status as HealthOmicsStatus;
          const mapped = toExecutionStatus(status);
          if (status !== written) {
            await updateExecution(db, executionId, {
              healthOmicsStatus: status,
              ...(mapped === 'PENDING' || mapped === 'RUNNING' ? { status: mapped } : {}),
              statusDescription: `HealthOmics run ${known.runId} is ${status}`,
              ...(run.startTime !== undefined && { timeStarted: run.startTime }),
            });
            written = status;
            changed = Date.now();
            if (byEvent) await recordGenuineEvent(db, source).catch(() => undefined);
          }
          if (mapped === from && probing) throw ApplicationFailure.nonRetryable('No longer blocked', 'Unblocked');
          if (mapped !== from)
            return {
              status: mapped,
              healthOmicsStatus: status,
              failureReason: run.failureReason,
              statusMessage: run.statusMessage,
            };
        }
      } finally {
        clearInterval(beating);
        watch.end();
      }
    },

    /**
     * Keeps a run that failed for a reason that passes, and makes the execution ready for another.
     * @param attempt the one that failed
     * @returns which is next and how long to wait before; null where the flow allows no more.
     */
    async nextAttempt(
      executionId: string,
      attempt: number,
      failed: { failureReason: string; statusMessage?: string; description: string },
    ): Promise<{ attempt: number; waitSeconds: number } | null> {
      const execution = await load(executionId);
      if (execution.attempt === attempt && attempt > (execution.flow.settings.retries ?? DEFAULT_RETRIES)) return null;
      await beginNextAttempt(db, executionId, attempt, failed);
      return { attempt: attempt + 1, waitSeconds: settings.retryRunSeconds * attempt };
    },

    /** Cancels the HealthOmics run; one that has ended or is ending is left as it is. */
    async cancelRun(executionId: string, request: CancelRequest): Promise<void> {
      const execution = await load(executionId);
      const runId = execution.healthOmics?.runId;
      if (runId === undefined) return;
      // Best effort: a note that cannot be written must not keep CancelRun from being sent.
      await recordCancelRequest(db, executionId, request.requestedBy ?? 'a Temporal signal', request.reason).catch(
        () => undefined,
      );
      const omics = aws.omics(execution.provider.id, execution.compute.region);
      await withHeartbeat(() =>
        calling(execution, runCall(execution, 'omics:CancelRun', runId), async () => {
          try {
            await omics.send(new CancelRunCommand({ id: runId }));
          } catch (error) {
            const { kind } = classifyAwsError(error);
            // A run that was deleted needs no cancel.
            if (kind === 'not-found') return;
            // What AWS answers for a run that is ending or has ended is not documented: ask how the run stands.
            if (kind !== 'conflict' && kind !== 'invalid') throw error;
            const { status } = await omics.send(new GetRunCommand({ id: runId }));
            if (status === 'PENDING' || status === 'STARTING' || status === 'RUNNING') throw error;
          }
        }),
      );
    },

    /** Reads the results of a completed run into the execution's summary and ends it as COMPLETED. */
    async readResults(executionId: string): Promise<{ description: string; runOutputUri: string }> {
      const execution = await load(executionId);
      const runOutputUri = execution.healthOmics?.runOutputUri ?? '';
      const { bucket, key } = parseS3Uri(runOutputUri);
      const s3 = aws.s3(execution.storageProviderId, execution.storage.region);
      const prefix = `${key.replace(/\/$/, '')}/`;
      const listed: ResultFile[] = [];
      const keys: Partial<Record<(typeof RESULT_FILES)[number], string>> = {};
      const summary = await calling(
        ofStorage(execution),
        { action: 's3:GetObject', resource: `arn:aws:s3:::${bucket}/${prefix}*` },
        async () => {
          const files = { count: 0, bytes: 0, fastq: 0 };
          let hasQc = false;
          for await (const page of listObjects(s3, bucket, prefix)) {
            Context.current().heartbeat();
            for (const object of page) {
              files.count++;
              files.bytes += object.size;
              if (listed.length < FILES_LISTED)
                listed.push({ key: object.key.slice(prefix.length), size: object.size });
              if (/\.fastq\.gz$/i.test(object.key)) files.fastq++;
              if (object.key.endsWith('_QC.html')) hasQc = true;
              const name = RESULT_FILES.find((each) => object.key.endsWith(`/${each}`));
              // The one nearest to the root: samples have files of their own.
              if (name !== undefined && object.key.length < (keys[name]?.length ?? Infinity)) keys[name] = object.key;
            }
          }
          const warnings: string[] = [];
          if (!hasQc)
            warnings.push(
              'The results have no QC page (<RunName>_QC.html); Bases2Fastq only warns when it cannot make it.',
            );
          if (files.fastq === 0) warnings.push('The results have no FASTQ file.');
          /** A file of the results, parsed; where that cannot be, a warning says so and the rest is read all the same. */
          const read = async <T>(
            name: (typeof RESULT_FILES)[number],
            lacks: string,
            parse: (content: string) => T,
          ): Promise<T | undefined> => {
            const text =
              keys[name] === undefined ? undefined : await readText(s3, bucket, keys[name], 256 * 1024 * 1024);
            Context.current().heartbeat();
            if (text === undefined) {
              warnings.push(`The results have no ${name}, so ${lacks}.`);
              return undefined;
            }
            try {
              return parse(text);
            } catch (error) {
              warnings.push(errorMessage(error));
              return undefined;
            }
          };
          const stats = (await read('RunStats.json', 'there is no summary of yield and quality', parseRunStats)) ?? {
            samples: [],
          };
          const assignment = new Map(
            (await read('IndexAssignment.csv', 'the share of each sample is not known', parseIndexAssignment))?.map(
              (sample) => [sample.name, sample],
            ),
          );
          const metrics = await read('Metrics.csv', 'there are no further figures', parseMetrics);
          const samples = stats.samples.map((sample) => ({
            ...sample,
            percentPolonies: assignment.get(sample.name)?.percentPolonies,
          }));
          return { ...stats, samples, metrics, files, warnings } satisfies ExecutionSummary;
        },
      );
      const description = `${summary.samples.length} samples, ${summary.files.fastq} FASTQ files in ${runOutputUri}`;
      await updateExecution(db, executionId, {
        status: 'COMPLETED',
        statusDescription: description,
        summary,
        files: listed,
        blocked: null,
        timeCompleted: new Date(),
      });
      return { description, runOutputUri };
    },

    /** Ends an execution as failed or canceled. */
    async recordEnd(
      executionId: string,
      end: {
        status: 'COMPLETED' | 'FAILED' | 'CANCELED';
        description: string;
        errorType?: string;
        cancel?: CancelRequest;
      },
    ): Promise<void> {
      await leaveStartQueue(db, executionId);
      if (end.cancel !== undefined)
        await recordCancelRequest(db, executionId, end.cancel.requestedBy ?? 'a Temporal signal', end.cancel.reason);
      await updateExecution(db, executionId, {
        status: end.status,
        statusDescription: end.description,
        blocked: null,
        timeCompleted: new Date(),
        ...(end.status === 'FAILED' && { error: { type: end.errorType ?? 'Failed', message: end.description } }),
      });
    },
  };
}
