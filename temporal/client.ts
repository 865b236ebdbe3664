import type { Client } from '@temporalio/client';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import type { TemporalContext } from './context.js';
import { ExecutionClient } from './executions.js';
import { GrantClient } from './grants.js';
import { RunClient } from './runs.js';
import { ScheduleClient } from './schedules.js';
import { VerificationClient } from './verification.js';
import { describeTaskQueues, type TaskQueueState } from './taskQueues.js';
import { WatchClient } from './watches.js';
import { WebhookClient } from './webhooks.js';

/**
 * Everything that polony asks of Temporal from outside a workflow, by subject. You can repeat every call: the ids of
 * workflows and schedules follow from what they are for, so the same call twice starts nothing twice.
 */
export class Orchestrator {
  readonly executions: ExecutionClient;
  readonly runs: RunClient;
  readonly schedules: ScheduleClient;
  readonly verification: VerificationClient;
  readonly grants: GrantClient;
  readonly webhooks: WebhookClient;
  readonly watches: WatchClient;
  readonly #client: Client;
  readonly #queues: TemporalContext['queues'];

  /**
   * @param taskQueuePrefix see {@link taskQueues}
   * @param giveUpDays how long the workflows that this object starts may stay blocked, in days. Left out: 14.
   */
  constructor(client: Client, taskQueuePrefix: string, giveUpDays?: number) {
    const context: TemporalContext = { client, queues: taskQueues(taskQueuePrefix), giveUpDays };
    this.#client = client;
    this.#queues = context.queues;
    this.executions = new ExecutionClient(context);
    this.runs = new RunClient(context);
    this.schedules = new ScheduleClient(context);
    this.verification = new VerificationClient(context);
    this.grants = new GrantClient(context);
    this.webhooks = new WebhookClient(context);
    this.watches = new WatchClient(context);
  }

  /** @throws where Temporal does not answer */
  async check(): Promise<void> {
    await this.#client.workflowService.describeNamespace({ namespace: this.#client.options.namespace });
  }

  /** The task queues of this installation. @throws where Temporal does not answer */
  describeTaskQueues(): Promise<TaskQueueState[]> {
    return describeTaskQueues(this.#client, this.#queues);
  }
}
