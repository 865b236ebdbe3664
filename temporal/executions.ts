import { WorkflowNotFoundError } from '@temporalio/client';
import { TypedSearchAttributes } from '@temporalio/common';
import { attributes } from '../workflows/messages/searchAttributes.js';
import type { Bases2FastqInput } from '../workflows/messages/executions.js';
import { cancelSignal, type CancelRequest, executionWorkflowId } from '../workflows/messages/executions.js';
import { retrySignal } from '../workflows/messages/retry.js';
import { type RunUploadEnded, runUploadEndedSignal } from '../workflows/messages/runs.js';
import { toSummary } from '../workflows/messages/summary.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import { signalIfRunning, startUnlessTaken, type TemporalContext, toKeyword } from './context.js';

/** What starting the workflow of an execution needs to know of it. */
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

const DAY_MS = 86_400_000;
const RUNNING = `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus = "Running"`;

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

  /** Asks a blocked execution to try again now. @returns false where it is not running */
  async retry(executionId: string): Promise<boolean> {
    return signalIfRunning(this.#context, executionWorkflowId(executionId), retrySignal);
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
    try {
      return (await this.#describe(executionId)).status.name === 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
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
    for await (const workflow of this.#context.client.workflow.list({
      query:
        `WorkflowType = "${WORKFLOWS.bases2fastq}" and ExecutionStatus in ("Terminated", "TimedOut", "Failed")` +
        ` and CloseTime > "${since}"`,
    })) {
      const id = /^execution\/(.+)$/.exec(workflow.workflowId)?.[1];
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
    for await (const workflow of this.#context.client.workflow.list({ query: RUNNING }))
      running.add(workflow.workflowId);
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
      waitForUpload: execution.status === 'UNTRIGGERED',
      watchTaskQueue: queues.watch,
      giveUpDays,
    };
    return {
      workflowId: executionWorkflowId(execution.id),
      taskQueue: queues.main,
      args: [input] as [Bases2FastqInput],
      // An execution sends StartRun once. A workflow that ended or was terminated must not start again.
      workflowIdReusePolicy: 'REJECT_DUPLICATE' as const,
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.status, value: input.waitForUpload ? 'UNTRIGGERED' : 'INITIALIZED' },
        { key: attributes.blocked, value: false },
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
        `Run folder \`${input.runFolder}\` in storage connection ${input.storageConnectionName}, ` +
        `provider ${input.providerName} (account ${account}, ${input.region}). Execution ${input.executionId}.`,
    };
  }
}
