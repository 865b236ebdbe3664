import {
  Client,
  Connection,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  WithStartWorkflowOperation,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { ApplicationFailure, TypedSearchAttributes } from '@temporalio/common';
import { cutToBytes } from '../domain/names.js';
import type { GrantChange } from '../domain/grants/grant.js';
import type { VerifiedKind } from '../domain/verification/report.js';
import {
  type Bases2FastqInput,
  cancelSignal,
  type CancelRequest,
  executionWorkflowId,
} from '../workflows/messages/executions.js';
import {
  type GrantChangeRequest,
  bucketAccessWorkflowId,
  changeGrantUpdate,
  DRAINING,
  type BucketAccessInput,
} from '../workflows/messages/grants.js';
import { retrySignal } from '../workflows/messages/retry.js';
import {
  type DiscoverRunsInput,
  lookSignal,
  type RunUploadEnded,
  runUploadEndedSignal,
  type RunUploadInput,
  runUploadWorkflowId,
} from '../workflows/messages/runs.js';
import { discoverScheduleId, SWEEP_SCHEDULE_ID, VERIFY_SCHEDULE_ID } from '../workflows/messages/schedules.js';
import { attributes } from '../workflows/messages/searchAttributes.js';
import { toSummary } from '../workflows/messages/summary.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import {
  VERIFY_WORKFLOWS,
  verifyAgainSignal,
  type VerifyInput,
  verifyWorkflowId,
} from '../workflows/messages/verification.js';
import { type DeliverWebhookInput, webhookWorkflowId } from '../workflows/messages/webhooks.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';

/** A keyword as every visibility store takes it: 255 characters (VARCHAR(255) in PostgreSQL and MySQL). */
const keyword = (text: string): string => cutToBytes(text, 255);

/** How to reach Temporal, as the environment says it. */
export interface TemporalSettings {
  address: string;
  namespace: string;
  /** Temporal Cloud API key, or a token of one's own cluster. */
  apiKey?: string;
  tls?: boolean;
}

/** Connects to Temporal. The caller closes the connection. */
export async function connectTemporal(settings: TemporalSettings): Promise<{ client: Client; connection: Connection }> {
  const connection = await Connection.connect({
    address: settings.address,
    ...(settings.apiKey !== undefined && { apiKey: settings.apiKey }),
    ...(settings.tls === true || settings.apiKey !== undefined ? { tls: true } : {}),
    connectTimeout: 10_000,
  });
  return { connection, client: new Client({ connection, namespace: settings.namespace }) };
}

/** A bucket whose policy is to be changed. */
export interface BucketToChange {
  bucket: string;
  storageConnectionName: string;
}

/** How many updates of one workflow this process has under way: a server takes ten at once of all together (history.maxInFlightUpdates). */
const UPDATES_AT_ONCE = 4;
/** How often an update is sent that its workflow did not come to see. */
const UPDATE_ATTEMPTS = 20;

/** Lets only so many calls of one kind run at once; the others wait in turn. */
class Turns {
  readonly #lanes = new Map<string, { active: number; waiting: (() => void)[] }>();

  async run<T>(key: string, call: () => Promise<T>): Promise<T> {
    const lane = this.#lanes.get(key) ?? { active: 0, waiting: [] };
    this.#lanes.set(key, lane);
    if (lane.active >= UPDATES_AT_ONCE) await new Promise<void>((resolve) => lane.waiting.push(resolve));
    else lane.active++;
    try {
      return await call();
    } finally {
      // Whoever is next takes the place over.
      const next = lane.waiting.shift();
      if (next !== undefined) next();
      else if (--lane.active === 0) this.#lanes.delete(key);
    }
  }
}

/** What starting an execution's workflow needs to know of it. */
export interface ExecutionToStart {
  id: string;
  name: string;
  status: string;
  flow: { name: string };
  run: { name: string; instrumentName: string; runFolder: string };
  storage: { name: string };
  compute: { region: string };
  provider: { name: string; account: string };
}

/**
 * All that polony asks of Temporal from outside a workflow. Every call can be repeated: workflow and schedule ids follow
 * from what they are for, so asking twice starts nothing twice.
 */
export class Orchestrator {
  readonly #client: Client;
  readonly #queues: ReturnType<typeof taskQueues>;

  readonly #giveUpDays: number | undefined;
  readonly #updates = new Turns();

  /**
   * @param taskQueuePrefix see {@link taskQueues}
   * @param giveUpDays how long what is started here may stay blocked, in days; 14 where left out.
   */
  constructor(client: Client, taskQueuePrefix: string, giveUpDays?: number) {
    this.#client = client;
    this.#queues = taskQueues(taskQueuePrefix);
    this.#giveUpDays = giveUpDays;
  }

  /** Throws when Temporal does not answer. */
  async check(): Promise<void> {
    await this.#client.connection.ensureConnected();
    await this.#client.workflowService.describeNamespace({ namespace: this.#client.options.namespace });
  }

  #executionOptions(execution: ExecutionToStart) {
    const { account } = execution.provider;
    const input: Bases2FastqInput = {
      executionId: execution.id,
      executionName: execution.name,
      flowName: execution.flow.name,
      runName: execution.run.name,
      instrumentName: execution.run.instrumentName,
      runFolder: execution.run.runFolder,
      providerName: execution.provider.name,
      account,
      region: execution.compute.region,
      storageConnectionName: execution.storage.name,
      waitForUpload: execution.status === 'UNTRIGGERED',
      watchTaskQueue: this.#queues.watch,
      giveUpDays: this.#giveUpDays,
    };
    return {
      workflowId: executionWorkflowId(execution.id),
      taskQueue: this.#queues.main,
      args: [input] as [Bases2FastqInput],
      // An execution is started once for good: one that ended or was terminated must never start its StartRun again.
      workflowIdReusePolicy: 'REJECT_DUPLICATE' as const,
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.status, value: input.waitForUpload ? 'UNTRIGGERED' : 'INITIALIZED' },
        { key: attributes.blocked, value: false },
        { key: attributes.flow, value: keyword(input.flowName) },
        { key: attributes.run, value: keyword(input.runName) },
        { key: attributes.instrument, value: keyword(input.instrumentName) },
        { key: attributes.provider, value: keyword(input.providerName) },
        { key: attributes.account, value: account },
        { key: attributes.region, value: input.region },
        { key: attributes.storageConnection, value: keyword(input.storageConnectionName) },
      ]),
      staticSummary: toSummary(`${input.flowName}: ${input.runName} on ${input.instrumentName}`),
      staticDetails: `Run folder \`${input.runFolder}\` in storage connection ${input.storageConnectionName}, provider ${input.providerName} (account ${account}, ${input.region}). Execution ${input.executionId}.`,
    };
  }

  /** Starts the workflow of an execution, unless it exists or has existed. */
  async startExecution(execution: ExecutionToStart): Promise<void> {
    try {
      await this.#client.workflow.start(WORKFLOWS.bases2fastq, this.#executionOptions(execution));
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  /** Tells an execution that waits for its run how the upload ended, starting its workflow where that had not happened yet. */
  async endWaiting(execution: ExecutionToStart, ended: RunUploadEnded): Promise<void> {
    const options = this.#executionOptions({ ...execution, status: 'UNTRIGGERED' });
    try {
      await this.#client.workflow.signalWithStart(WORKFLOWS.bases2fastq, {
        ...options,
        signal: runUploadEndedSignal,
        signalArgs: [ended],
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  /**
   * Asks an execution to cancel, starting its workflow first where that had not happened yet, so that a cancel is never lost.
   * @returns false when its workflow has ended.
   */
  async cancelExecution(execution: ExecutionToStart, request: CancelRequest): Promise<boolean> {
    try {
      await this.#client.workflow.signalWithStart(WORKFLOWS.bases2fastq, {
        ...this.#executionOptions(execution),
        signal: cancelSignal,
        signalArgs: [request],
      });
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      throw error;
    }
  }

  /**
   * Executions whose workflow has been closed from outside in the last day: terminated, timed out, or failed without having said so.
   * One request however many there are open; visibility may be a few seconds late.
   */
  async closedExecutions(): Promise<string[]> {
    const since = new Date(Date.now() - 86_400_000).toISOString();
    const ids: string[] = [];
    for await (const workflow of this.#client.workflow.list({
      query: `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus in ("Terminated", "TimedOut", "Failed") and CloseTime > "${since}"`,
    })) {
      const id = /^execution\/(.+)$/.exec(workflow.workflowId)?.[1];
      if (id !== undefined) ids.push(id);
    }
    return ids;
  }

  /**
   * Starts the workflow of an execution again after it was closed from outside or lost with its history: it finds its HealthOmics
   * run in the store and watches it. Nothing happens where it runs.
   * @param cancel to have the run cancelled
   */
  async adoptExecution(execution: ExecutionToStart, cancel?: CancelRequest): Promise<void> {
    const options = { ...this.#executionOptions(execution), workflowIdReusePolicy: 'ALLOW_DUPLICATE' as const };
    try {
      if (cancel === undefined) await this.#client.workflow.start(WORKFLOWS.bases2fastq, options);
      else
        await this.#client.workflow.signalWithStart(WORKFLOWS.bases2fastq, {
          ...options,
          signal: cancelSignal,
          signalArgs: [cancel],
        });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  /** Whether the workflow of an execution runs. */
  async isRunning(executionId: string): Promise<boolean> {
    try {
      return (
        (await this.#client.workflow.getHandle(executionWorkflowId(executionId)).describe()).status.name === 'RUNNING'
      );
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  /** How many workflows of executions run; visibility may be a few seconds late. */
  async countRunning(): Promise<number> {
    return (
      await this.#client.workflow.count(`WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus = "Running"`)
    ).count;
  }

  /** Those of these executions that Temporal knows no workflow of. Asked of the workflows themselves, which are never late. */
  async unknownAmong(executionIds: readonly string[]): Promise<string[]> {
    const running = new Set<string>();
    for await (const workflow of this.#client.workflow.list({
      query: `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus = "Running"`,
    }))
      running.add(workflow.workflowId);
    const unknown: string[] = [];
    for (const id of executionIds.filter((each) => !running.has(executionWorkflowId(each)))) {
      try {
        await this.#client.workflow.getHandle(executionWorkflowId(id)).describe();
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
        unknown.push(id);
      }
    }
    return unknown;
  }

  /** Asks a blocked execution to try again now. @returns false when it is not running. */
  async retryExecution(executionId: string): Promise<boolean> {
    return this.#signal(executionWorkflowId(executionId));
  }

  /** Asks a blocked upload to try again now. @returns false when it is not running. */
  async retryRunUpload(storageConnectionId: string, parentPath: string, runFolder: string): Promise<boolean> {
    return this.#signal(runUploadWorkflowId(storageConnectionId, parentPath, runFolder));
  }

  /** Has an upload looked at now. @returns false when it is not followed. */
  async lookAtRunUpload(storageConnectionId: string, parentPath: string, runFolder: string): Promise<boolean> {
    return this.#signal(runUploadWorkflowId(storageConnectionId, parentPath, runFolder), lookSignal);
  }

  /** Looks for one run folder of which an event has told; it is followed where it is there. */
  async discoverFolder(input: DiscoverRunsInput & { only: { parentPath: string; runFolder: string } }): Promise<void> {
    try {
      await this.#client.workflow.start(WORKFLOWS.discoverRuns, {
        workflowId: `discover-run/${input.storageConnectionId}/${input.only.parentPath}/${input.only.runFolder}`,
        taskQueue: this.#queues.main,
        args: [{ giveUpDays: this.#giveUpDays, ...input }] as [DiscoverRunsInput],
        typedSearchAttributes: new TypedSearchAttributes([
          { key: attributes.blocked, value: false },
          { key: attributes.storageConnection, value: keyword(input.storageConnectionName) },
        ]),
        staticSummary: toSummary(`Look for the run folder ${input.only.runFolder} in ${input.storageConnectionName}`),
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  async #signal(workflowId: string, signal: typeof retrySignal | typeof lookSignal = retrySignal): Promise<boolean> {
    try {
      await this.#client.workflow.getHandle(workflowId).signal(signal);
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  /** Starts following the upload of a run, unless that goes on already or has ended well. @returns whether it was started now. */
  async startRunUpload(input: RunUploadInput): Promise<boolean> {
    try {
      await this.#client.workflow.start(WORKFLOWS.runUpload, {
        workflowId: runUploadWorkflowId(
          input.storageConnectionId,
          input.parentPath ?? input.instrumentName,
          input.runFolder,
        ),
        taskQueue: this.#queues.main,
        args: [{ maximumDays: this.#giveUpDays, giveUpDays: this.#giveUpDays, ...input }] as [RunUploadInput],
        // The run's row says whether it has ended; one that was refused may be looked at anew.
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        typedSearchAttributes: new TypedSearchAttributes([
          { key: attributes.status, value: 'UPLOADING' },
          { key: attributes.blocked, value: false },
          { key: attributes.run, value: keyword(input.runName) },
          { key: attributes.instrument, value: keyword(input.instrumentName) },
          { key: attributes.storageConnection, value: keyword(input.storageConnectionName) },
        ]),
        staticSummary: toSummary(`Upload of ${input.runName} from ${input.instrumentName}`),
        staticDetails: `Run folder \`${input.runFolder}\` in storage connection ${input.storageConnectionName}. Run ${input.runId}.`,
      });
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      throw error;
    }
  }

  /**
   * Sees to it that a storage connection is searched for new runs every so many seconds.
   * @param change whether a schedule that is there is brought up to date (after a change of settings) or left as it is.
   */
  async ensureDiscovery(input: DiscoverRunsInput, everySeconds: number, change = true): Promise<void> {
    await this.#ensureSchedule(discoverScheduleId(input.storageConnectionId), everySeconds, change, {
      type: 'startWorkflow',
      workflowType: WORKFLOWS.discoverRuns,
      workflowId: `discover-runs/${input.storageConnectionId}`,
      taskQueue: this.#queues.main,
      args: [{ giveUpDays: this.#giveUpDays, ...input }],
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.blocked, value: false },
        { key: attributes.storageConnection, value: keyword(input.storageConnectionName) },
      ]),
      staticSummary: toSummary(`Search for new runs in ${input.storageConnectionName}`),
    });
  }

  /** Ends the search of a storage connection; nothing happens where there is none. */
  async removeDiscovery(storageConnectionId: string): Promise<void> {
    try {
      await this.#client.schedule.getHandle(discoverScheduleId(storageConnectionId)).delete();
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    }
  }

  /** Searches a storage connection now, besides its schedule. */
  async discoverNow(storageConnectionId: string): Promise<void> {
    await this.#client.schedule
      .getHandle(discoverScheduleId(storageConnectionId))
      .trigger(ScheduleOverlapPolicy.BUFFER_ONE);
  }

  /** Sees to it that what was written but not yet handed to Temporal is handed over every so many seconds. */
  async ensureSweep(everySeconds: number): Promise<void> {
    await this.#ensureSchedule(SWEEP_SCHEDULE_ID, everySeconds, true, {
      type: 'startWorkflow',
      workflowType: WORKFLOWS.sweep,
      workflowId: 'sweep',
      taskQueue: this.#queues.main,
      args: [],
      workflowExecutionTimeout: '1 hour',
      staticSummary: 'Hand over what was written but not yet started',
    });
  }

  /** Verifies a resource, or once more where that is under way; what was changed until now is seen. */
  async verify({ kind, id, name }: { kind: VerifiedKind; id: string; name: string }): Promise<void> {
    await this.#client.workflow.signalWithStart(VERIFY_WORKFLOWS[kind], {
      workflowId: verifyWorkflowId(kind, id),
      taskQueue: this.#queues.main,
      args: [{ id, name }] as [VerifyInput],
      signal: verifyAgainSignal,
      workflowExecutionTimeout: '1 hour',
      ...(kind !== 'flow' &&
        kind !== 'computeConnection' && {
          typedSearchAttributes: new TypedSearchAttributes([
            { key: kind === 'provider' ? attributes.provider : attributes.storageConnection, value: keyword(name) },
          ]),
        }),
      staticSummary: toSummary(`Verify ${name}`),
    });
  }

  /** Sees to it that everything is verified every so many seconds. */
  async ensureVerification(everySeconds: number): Promise<void> {
    await this.#ensureSchedule(VERIFY_SCHEDULE_ID, everySeconds, true, {
      type: 'startWorkflow',
      workflowType: WORKFLOWS.verifyAll,
      workflowId: 'verify-all',
      taskQueue: this.#queues.main,
      args: [],
      workflowExecutionTimeout: '1 hour',
      staticSummary: 'Verify all providers, connections and flows',
    });
  }

  /** Starts the delivery of a webhook in its round; nothing happens where it runs. One that has ended finds that in the store. */
  async startDelivery(input: Omit<DeliverWebhookInput, 'taskQueue'>): Promise<void> {
    try {
      await this.#client.workflow.start(WORKFLOWS.deliverWebhook, {
        workflowId: webhookWorkflowId(input.deliveryId, input.round),
        taskQueue: this.#queues.main,
        args: [{ ...input, taskQueue: this.#queues.webhooks }] as [DeliverWebhookInput],
        typedSearchAttributes: new TypedSearchAttributes([{ key: attributes.status, value: 'DELIVERING' }]),
        staticSummary: toSummary(`Webhook ${input.eventType} to ${input.host}`),
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  #bucketAccessOptions({ bucket, storageConnectionName }: BucketToChange) {
    return {
      workflowId: bucketAccessWorkflowId(bucket),
      taskQueue: this.#queues.main,
      args: [{ bucket }] as [BucketAccessInput],
      workflowIdConflictPolicy: 'USE_EXISTING' as const,
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.status, value: 'IDLE' },
        { key: attributes.blocked, value: false },
        { key: attributes.storageConnection, value: keyword(storageConnectionName) },
      ]),
      staticSummary: toSummary(`Access to the bucket ${bucket}`),
      staticDetails: `The one writer of the policy of \`${bucket}\`: grants are written and taken out one after the other, also when their time is over.`,
    };
  }

  /**
   * Has the policy of a bucket changed for a grant, after all that were asked for before. Answers once that is done or refused.
   * @param withinMs how long it is waited for
   * @throws when it takes longer; what was sent is carried out all the same.
   */
  async changeAccess(
    to: BucketToChange,
    change: Omit<GrantChangeRequest, 'bucket'>,
    withinMs: number,
  ): Promise<GrantChange> {
    const deadline = Date.now() + withinMs;
    return this.#updates.run(to.bucket, async () => {
      for (let attempt = 1; ; attempt++) {
        if (Date.now() >= deadline) throw new Error(`Its turn did not come within ${withinMs} ms`);
        try {
          return await this.#client.withDeadline(deadline, () =>
            this.#client.workflow.executeUpdateWithStart(changeGrantUpdate, {
              args: [{ bucket: to.bucket, ...change }],
              startWorkflowOperation: new WithStartWorkflowOperation(
                WORKFLOWS.bucketAccess,
                this.#bucketAccessOptions(to),
              ),
            }),
          );
        } catch (error) {
          const draining =
            error instanceof WorkflowUpdateFailedError &&
            error.cause instanceof ApplicationFailure &&
            error.cause.type === DRAINING;
          // It ended, or went on in a new history, before it had seen the update.
          if (!(draining || error instanceof WorkflowNotFoundError) || attempt >= UPDATE_ATTEMPTS) throw error;
          await new Promise((resolve) => setTimeout(resolve, 100 * attempt * (0.5 + Math.random())));
        }
      }
    });
  }

  /** Has all done in a bucket that is left to be done. */
  async settleAccess(to: BucketToChange): Promise<void> {
    const { workflowIdConflictPolicy: _, ...options } = this.#bucketAccessOptions(to);
    await this.#client.workflow.signalWithStart(WORKFLOWS.bucketAccess, { ...options, signal: retrySignal });
  }

  async #ensureSchedule(
    scheduleId: string,
    everySeconds: number,
    change: boolean,
    action: Parameters<Client['schedule']['create']>[0]['action'],
  ): Promise<void> {
    const spec = { intervals: [{ every: everySeconds * 1000 }] };
    const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' as const };
    try {
      await this.#client.schedule.create({ scheduleId, spec, policies, action });
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      if (!change) return;
      const handle = this.#client.schedule.getHandle(scheduleId);
      await handle.update((previous) => ({ ...previous, spec, policies, action }));
    }
  }
}
