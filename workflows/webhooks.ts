import { ApplicationFailure, proxyActivities, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import { code, plain } from '../domain/markdown.js';
import type { Activities } from '../activities/index.js';
import type { DeliveryResult } from '../activities/webhooks/deliver.js';
import { NOT_WAITING } from './blocking.js';
import { describePoints, describeToDo, time } from './details.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';
import type { DeliverWebhookInput } from './messages/webhooks.js';

/**
 * The activity sets the time of the next attempt itself. These retries are for errors of polony, not of the receiver.
 */
const OPTIONS = {
  startToCloseTimeout: '30 seconds',
  retry: { initialInterval: '5 seconds', backoffCoefficient: 2, maximumInterval: '5 minutes' },
} as const;
const { attemptDelivery } = proxyActivities<Activities>(OPTIONS);

/** Delivers one event to one webhook. Retries at growing intervals until the receiver accepts it or polony gives up. */
export async function deliverWebhook({
  deliveryId,
  round,
  eventType,
  host,
  taskQueue,
}: DeliverWebhookInput): Promise<DeliveryResult> {
  const began = Date.now();
  setCurrentDetails(
    describePoints('**Delivery of a webhook**', [
      ['Since', time(began)],
      ['Event', `${code(eventType)} to ${code(host)}`],
      ['Waits for', 'the receiver to accept the event. The pending activity has its last answer and the next attempt'],
      ['Continues', 'by itself, with growing intervals'],
      ['Delivery', `${code(deliveryId)}, round ${round}`],
      [
        'Reset, terminate, cancel',
        'safe: the receiver tells repeated events by their ID. Replay a delivery that ended',
      ],
    ]),
  );
  const result = await attemptDelivery.executeWithOptions(
    { ...OPTIONS, taskQueue, summary: toSummary(`POST ${eventType} to ${host}`) },
    [deliveryId, round],
  );
  upsertSearchAttributes([{ key: attributes.status, value: result.state.toUpperCase() }, ...NOT_WAITING]);
  setCurrentDetails(
    describePoints(`**${result.state}**: ${plain(result.description)}`, [
      ['Ended', time(Date.now())],
      ['Event', `${code(eventType)} to ${code(host)}`],
      ['Delivery', `${code(deliveryId)}, round ${round}`],
    ]),
  );
  if (result.state === 'failed') {
    const toDo = 'Repair the receiver of the webhook, then replay the delivery';
    throw ApplicationFailure.nonRetryable(
      `${result.description.replace(/\.$/, '')}. ${describeToDo('customer', toDo)}`,
      'NotDelivered',
      { description: result.description, owner: 'customer', toDo },
    );
  }
  return result;
}
