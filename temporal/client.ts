import type { Client } from '@temporalio/client';
import type { GrantChange } from '../domain/grants/grant.js';
import type { VerifiedKind } from '../domain/verification/report.js';
import type { CancelRequest } from '../workflows/messages/executions.js';
import type { DeliverWebhookInput } from '../workflows/messages/webhooks.js';
import type { DiscoverRunsInput, RunUploadEnded, RunUploadInput } from '../workflows/messages/runs.js';
import type { GrantChangeRequest } from '../workflows/messages/grants.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import type { TemporalContext } from './context.js';
import { ExecutionClient, type ExecutionToStart } from './executions.js';
import { type BucketToChange, GrantClient } from './grants.js';
import { RunClient } from './runs.js';
import { ScheduleClient } from './schedules.js';
import { VerificationClient } from './verification.js';
import { WebhookClient } from './webhooks.js';

/**
 * Everything that polony asks of Temporal from outside a workflow. You can repeat every call: the ids of workflows and
 * schedules follow from what they are for, so the same call twice starts nothing twice.
 */
export class Orchestrator {
  readonly executions: ExecutionClient;
  readonly runs: RunClient;
  readonly schedules: ScheduleClient;
  readonly verification: VerificationClient;
  readonly grants: GrantClient;
  readonly webhooks: WebhookClient;
  readonly #client: Client;

  /**
   * @param taskQueuePrefix see {@link taskQueues}
   * @param giveUpDays how long the workflows that this object starts may stay blocked, in days. Left out: 14.
   */
  constructor(client: Client, taskQueuePrefix: string, giveUpDays?: number) {
    const context: TemporalContext = { client, queues: taskQueues(taskQueuePrefix), giveUpDays };
    this.#client = client;
    this.executions = new ExecutionClient(context);
    this.runs = new RunClient(context);
    this.schedules = new ScheduleClient(context);
    this.verification = new VerificationClient(context);
    this.grants = new GrantClient(context);
    this.webhooks = new WebhookClient(context);
  }

  /** @throws where Temporal does not answer */
  async check(): Promise<void> {
    await this.#client.connection.ensureConnected();
    await this.#client.workflowService.describeNamespace({ namespace: this.#client.options.namespace });
  }

  // The names below are those of callers that do not use the clients of the subjects yet.

  startExecution(execution: ExecutionToStart): Promise<void> {
    return this.executions.start(execution);
  }
  endWaiting(execution: ExecutionToStart, ended: RunUploadEnded): Promise<void> {
    return this.executions.endWaiting(execution, ended);
  }
  cancelExecution(execution: ExecutionToStart, request: CancelRequest): Promise<boolean> {
    return this.executions.cancel(execution, request);
  }
  retryExecution(executionId: string): Promise<boolean> {
    return this.executions.retry(executionId);
  }
  adoptExecution(execution: ExecutionToStart, cancel?: CancelRequest): Promise<void> {
    return this.executions.adopt(execution, cancel);
  }
  isRunning(executionId: string): Promise<boolean> {
    return this.executions.isRunning(executionId);
  }
  countRunning(): Promise<number> {
    return this.executions.countRunning();
  }
  closedExecutions(): Promise<string[]> {
    return this.executions.listClosed();
  }
  unknownAmong(executionIds: readonly string[]): Promise<string[]> {
    return this.executions.listUnknown(executionIds);
  }
  startRunUpload(input: RunUploadInput): Promise<boolean> {
    return this.runs.startUpload(input);
  }
  retryRunUpload(storageConnectionId: string, parentPath: string, runFolder: string): Promise<boolean> {
    return this.runs.retryUpload(storageConnectionId, parentPath, runFolder);
  }
  lookAtRunUpload(storageConnectionId: string, parentPath: string, runFolder: string): Promise<boolean> {
    return this.runs.checkUpload(storageConnectionId, parentPath, runFolder);
  }
  discoverFolder(input: DiscoverRunsInput & { only: { parentPath: string; runFolder: string } }): Promise<void> {
    return this.runs.discoverFolder(input);
  }
  ensureDiscovery(input: DiscoverRunsInput, everySeconds: number, updateExisting = true): Promise<void> {
    return this.schedules.ensureDiscovery(input, everySeconds, updateExisting);
  }
  removeDiscovery(storageConnectionId: string): Promise<void> {
    return this.schedules.removeDiscovery(storageConnectionId);
  }
  discoverNow(storageConnectionId: string): Promise<void> {
    return this.schedules.discoverNow(storageConnectionId);
  }
  ensureSweep(everySeconds: number): Promise<void> {
    return this.schedules.ensureSweep(everySeconds);
  }
  ensureVerification(everySeconds: number): Promise<void> {
    return this.schedules.ensureVerification(everySeconds);
  }
  verify(resource: { kind: VerifiedKind; id: string; name: string }): Promise<void> {
    return this.verification.verify(resource);
  }
  startDelivery(input: Omit<DeliverWebhookInput, 'taskQueue'>): Promise<void> {
    return this.webhooks.startDelivery(input);
  }
  changeAccess(to: BucketToChange, change: Omit<GrantChangeRequest, 'bucket'>, withinMs: number): Promise<GrantChange> {
    return this.grants.change(to, change, withinMs);
  }
  settleAccess(to: BucketToChange): Promise<void> {
    return this.grants.settle(to);
  }
}
