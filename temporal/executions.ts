import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure, TypedSearchAttributes } from '@temporalio/common';
import { code } from '../domain/markdown.js';
import type { ParameterValue } from '../domain/executions/execution.js';
import type { ExecutionOrigin } from '../domain/executions/origin.js';
import { attributes } from '../workflows/messages/searchAttributes.js';
import type { Bases2FastqInput, Bases2FastqResult, ExecutionFailure } from '../workflows/messages/executions.js';
import { cancelSignal, type CancelRequest, executionWorkflowId } from '../workflows/messages/executions.js';
import { type RunUploadEnded, runUploadEndedSignal } from '../workflows/messages/runs.js';
import { toSummary } from '../workflows/messages/summary.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import {
  isWorkflowRunning,
  listWorkflowIds,
  retryIfRunning,
  runFolderUri,
  startUnlessTaken,
  type TemporalContext,
  toKeyword,
} from './context.js';

/** What starting the workflow of an execution needs to know of it. */
export interface ExecutionToStart {
  id: string;
  name: string;
  status: string;
  flow: { id: string; name: string };
  run: { id: string; name: string; instrumentName: string; parentPath: string; runFolder: string; discovered: boolean };
  storage: { id: string; name: string; bucket: string; prefix: string; region: string };
  compute: { id: string; region: string };
  provider: { name: string; account: string };
  trigger: 'auto' | 'api';
  startedBy: string;
  ownParameters: Record<string, ParameterValue>;
  manifestSource: 'run' | 'text' | 'uri';
  manifestUri: string | null;
  outputUri: string;
  relaunchOf: string | null;
}

/** What Temporal knows of an execution. */
export interface KnownExecution {
  id: string;
  /** Absent where a version of polony started it that did not keep it. */
  origin: ExecutionOrigin | undefined;
  /** The state of the workflow, such as RUNNING or COMPLETED (`WorkflowExecutionStatusName`). */
  workflowStatus: string;
  /** As the workflow last reported it. */
  status: string;
  healthOmicsRunId: string | undefined;
  timeStarted: Date;
  timeClosed: Date | undefined;
}

const DAY_MS = 86_400_000;
const RUNNING = `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus = "Running"`;
const ENDED = `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus != "Running"`;

/** The workflows of executions. Each workflow id follows from the execution's id, so every call can be repeated. */
export class ExecutionClient {
  readonly #context: TemporalContext;
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /** Starts the workflow of an execution, unless it exists or has existed. */
  async start(execution: ExecutionToStart): Promise<void> {
    await startUnlessTaken(() =>
      this.#context.client.workflow.start(WORKFLOWS.bases2fastq, this.#startOptions(execution)),
    );
  }

  /**
   * Tells an execution that waits for its run how the upload ended. Starts the workflow first where it does not
   * exist.
   */
  async endWaiting(execution: ExecutionToStart, ended: RunUploadEnded): Promise<void> {
    await startUnlessTaken(() =>
      this.#context.client.workflow.signalWithStart(WORKFLOWS.bases2fastq, {
        ...this.#startOptions({ ...execution, status: 'UNTRIGGERED' }),
        signal: runUploadEndedSignal,
        signalArgs: [ended],
      }),
    );
  }

  /**
   * Asks an execution to cancel. Starts the workflow first where it does not exist, so that no cancel is lost.
   * @returns false where the workflow has ended
   */
  async cancel(execution: ExecutionToStart, request: CancelRequest): Promise<boolean> {
    return startUnlessTaken(() =>
      this.#context.client.workflow.signalWithStart(WORKFLOWS.bases2fastq, {
        ...this.#startOptions(execution),
        signal: cancelSignal,
        signalArgs: [request],
      }),
    );
  }

  /**
   * Asks a blocked execution to try again now.
   * @param auditId the entry of the audit log for the request of the API
   * @returns false where it is not running
   */
  async retry(executionId: string, auditId: string): Promise<boolean> {
    return retryIfRunning(this.#context, executionWorkflowId(executionId), { auditId });
  }

  /**
   * Starts the workflow of an execution again, after somebody closed it from outside or Temporal lost its history.
   * The workflow finds its HealthOmics run in the store and watches it. Nothing happens where the workflow is
   * running.
   * @param cancel tells the workflow to cancel the HealthOmics run
   */
  async adopt(execution: ExecutionToStart, cancel?: CancelRequest): Promise<void> {
    const { workflow } = this.#context.client;
    const options = { ...this.#startOptions(execution), workflowIdReusePolicy: 'ALLOW_DUPLICATE' as const };
    await startUnlessTaken(() =>
      cancel === undefined
        ? workflow.start(WORKFLOWS.bases2fastq, options)
        : workflow.signalWithStart(WORKFLOWS.bases2fastq, { ...options, signal: cancelSignal, signalArgs: [cancel] }),
    );
  }

  /** Whether the workflow of an execution is running. */
  async isRunning(executionId: string): Promise<boolean> {
    return isWorkflowRunning(this.#context, executionWorkflowId(executionId));
  }

  /** How many workflows of executions are running. Visibility may be a few seconds late. */
  async countRunning(): Promise<number> {
    return (await this.#context.client.workflow.count(RUNNING)).count;
  }

  /**
   * Ids of the executions whose workflow was closed from outside in the last day: terminated, timed out, or failed.
   * Visibility may be a few seconds late. Costs one request, however many workflows are open.
   */
  async listClosed(): Promise<string[]> {
    const since = new Date(Date.now() - DAY_MS).toISOString();
    const ids: string[] = [];
    for await (const workflowId of listWorkflowIds(
      this.#context,
      `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus in ("Terminated", "TimedOut", "Failed")` +
        ` and CloseTime > "${since}"`,
    )) {
      const id = toExecutionId(workflowId);
      if (id !== undefined) ids.push(id);
    }
    return ids;
  }

  /**
   * Which of these executions have no workflow in Temporal. Asks for each workflow by its id, since visibility may
   * be late.
   */
  async listUnknown(executionIds: readonly string[]): Promise<string[]> {
    const running = new Set<string>();
    for await (const workflowId of listWorkflowIds(this.#context, RUNNING)) running.add(workflowId);
    const unknown: string[] = [];
    for (const id of executionIds.filter((each) => !running.has(executionWorkflowId(each)))) {
      try {
        await this.#describe(id);
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
        unknown.push(id);
      }
    }
    return unknown;
  }

  /** Ids of the executions whose workflow runs, or has ended. Visibility may be a few seconds late. */
  async *listAll(state: 'running' | 'ended'): AsyncGenerator<string> {
    const query = state === 'running' ? RUNNING : ENDED;
    for await (const workflowId of listWorkflowIds(this.#context, query)) {
      const id = toExecutionId(workflowId);
      if (id !== undefined) yield id;
    }
  }

  /** Ids of the executions of a flow for a run, by the names under which the workflows can be found. */
  async listOfRun(names: { flow: string; run: string; storageConnection: string }): Promise<string[]> {
    const query = [
      `WorkflowType = "${WORKFLOWS.bases2fastq}"`,
      `${attributes.flow.name} = ${quote(names.flow)}`,
      `${attributes.run.name} = ${quote(names.run)}`,
      `${attributes.storageConnection.name} = ${quote(names.storageConnection)}`,
    ].join(' and ');
    const ids: string[] = [];
    for await (const workflowId of listWorkflowIds(this.#context, query)) {
      const id = toExecutionId(workflowId);
      if (id !== undefined) ids.push(id);
    }
    return ids;
  }

  /** What Temporal knows of an execution; undefined where it does not know the execution, or no longer. */
  async findKnown(executionId: string): Promise<KnownExecution | undefined> {
    try {
      const { memo, status, typedSearchAttributes, startTime, closeTime } = await this.#describe(executionId);
      return {
        id: executionId,
        origin: memo?.origin as ExecutionOrigin | undefined,
        workflowStatus: status.name,
        status: typedSearchAttributes.get(attributes.status) ?? 'INITIALIZED',
        healthOmicsRunId: typedSearchAttributes.get(attributes.healthOmicsRunId),
        timeStarted: startTime,
        timeClosed: closeTime,
      };
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /** How a closed workflow ended, in words. */
  async describeEnd(executionId: string): Promise<{ type: string; message: string }> {
    try {
      const result = (await this.#context.client.workflow.result(
        executionWorkflowId(executionId),
      )) as Bases2FastqResult;
      return { type: result.status, message: result.description };
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) throw error;
      const { cause } = error;
      return cause instanceof ApplicationFailure
        ? { type: cause.type ?? 'Failed', message: describeFailure(cause) }
        : { type: 'WorkflowClosed', message: cause?.message ?? error.message };
    }
  }

  #describe(executionId: string) {
    return this.#context.client.workflow.getHandle(executionWorkflowId(executionId)).describe();
  }

  #startOptions(execution: ExecutionToStart) {
    const { queues, giveUpDays } = this.#context;
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
      runFolderUri: runFolderUri(execution.storage, execution.run),
      outputUri: execution.outputUri,
      storageRegion: execution.storage.region,
      waitForUpload: execution.status === 'UNTRIGGERED',
      watchTaskQueue: queues.watch,
      giveUpDays,
    };
    return {
      workflowId: executionWorkflowId(execution.id),
      taskQueue: queues.main,
      args: [input] as [Bases2FastqInput],
      memo: { origin: toOrigin(execution) },
      // An execution sends StartRun once. A workflow that ended or was terminated must not start again.
      workflowIdReusePolicy: 'REJECT_DUPLICATE' as const,
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.status, value: input.waitForUpload ? 'UNTRIGGERED' : 'INITIALIZED' },
        { key: attributes.blocked, value: false },
        { key: attributes.waitingSince, value: new Date() },
        { key: attributes.flow, value: toKeyword(input.flowName) },
        { key: attributes.run, value: toKeyword(input.runName) },
        { key: attributes.instrument, value: toKeyword(input.instrumentName) },
        { key: attributes.provider, value: toKeyword(input.providerName) },
        { key: attributes.account, value: account },
        { key: attributes.region, value: input.region },
        { key: attributes.storageConnection, value: toKeyword(input.storageConnectionName) },
      ]),
      staticSummary: toSummary(`${input.flowName}: ${input.runName} on ${input.instrumentName}`),
      staticDetails:
        `Run folder ${code(input.runFolder)} in storage connection ${code(input.storageConnectionName)}, ` +
        `provider ${code(input.providerName)} (account ${account}, ${input.region}). Execution ${input.executionId}.`,
    };
  }
}

/** How an execution ended, without what to do; the message where a version of polony ended it that had no details. */
function describeFailure({ details, message }: ApplicationFailure): string {
  const [failure] = (details ?? []) as [Partial<ExecutionFailure>?];
  return typeof failure?.description === 'string' ? failure.description : message;
}

function toExecutionId(workflowId: string): string | undefined {
  return /^execution\/(.+)$/.exec(workflowId)?.[1];
}

/** A text in a query of Temporal's visibility. */
function quote(text: string): string {
  return `"${toKeyword(text).replace(/["\\]/g, '\\$&')}"`;
}

/** What created an execution, as its workflow's memo and its record in the bucket keep it. */
export function toOrigin(execution: ExecutionToStart): ExecutionOrigin {
  const { run, manifestSource, manifestUri } = execution;
  return {
    name: execution.name,
    flowId: execution.flow.id,
    computeConnectionId: execution.compute.id,
    storageConnectionId: execution.storage.id,
    run: {
      id: run.id,
      parentPath: run.parentPath,
      runFolder: run.runFolder,
      runName: run.name,
      instrumentName: run.instrumentName,
      discovered: run.discovered,
    },
    trigger: execution.trigger,
    startedBy: execution.startedBy,
    ownParameters: execution.ownParameters,
    manifest: manifestUri !== null ? { uri: manifestUri } : manifestSource === 'text' ? 'text' : null,
    outputUri: execution.outputUri,
    relaunchOf: execution.relaunchOf,
  };
}
