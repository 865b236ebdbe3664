import { TypedSearchAttributes } from '@temporalio/common';
import { attributes } from '../workflows/messages/searchAttributes.js';
import { type DeliverWebhookInput, webhookWorkflowId } from '../workflows/messages/webhooks.js';
import { toSummary } from '../workflows/messages/summary.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import { startUnlessTaken, type TemporalContext } from './context.js';

/** The workflows that deliver webhooks. */
export class WebhookClient {
  readonly #context: TemporalContext;
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /**
   * Starts one round of a delivery. Nothing happens where the round is running. A round that has ended starts again
   * and ends at once, because the store says so.
   */
  async startDelivery(input: Omit<DeliverWebhookInput, 'taskQueue'>): Promise<void> {
    const { client, queues } = this.#context;
    await startUnlessTaken(() =>
      client.workflow.start(WORKFLOWS.deliverWebhook, {
        workflowId: webhookWorkflowId(input.deliveryId, input.round),
        taskQueue: queues.main,
        args: [{ ...input, taskQueue: queues.webhooks }] as [DeliverWebhookInput],
        typedSearchAttributes: new TypedSearchAttributes([
          { key: attributes.status, value: 'DELIVERING' },
          { key: attributes.waitingSince, value: new Date() },
        ]),
        staticSummary: toSummary(`Webhook ${input.eventType} to ${input.host}`),
      }),
    );
  }
}
