import { ApplicationFailure, proxyActivities, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { DeliveryResult } from '../activities/webhooks/deliver.js';
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
  const result = await attemptDelivery.executeWithOptions(
    { ...OPTIONS, taskQueue, summary: toSummary(`POST ${eventType} to ${host}`) },
    [deliveryId, round],
  );
  upsertSearchAttributes([{ key: attributes.status, value: result.state.toUpperCase() }]);
  setCurrentDetails(`**${result.state}**: ${result.description}`);
  if (result.state === 'failed') throw ApplicationFailure.nonRetryable(result.description, 'NotDelivered');
  return result;
}
