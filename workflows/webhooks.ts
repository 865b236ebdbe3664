import { ApplicationFailure, proxyActivities, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { DeliveryResult } from '../activities/webhooks/deliver.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';
import type { DeliverWebhookInput } from './messages/webhooks.js';

/** Tries that were made say themselves when the next is due; this is for what goes wrong around them. */
const OPTIONS = {
  startToCloseTimeout: '30 seconds',
  retry: { initialInterval: '5 seconds', backoffCoefficient: 2, maximumInterval: '5 minutes' },
} as const;
const { attemptDelivery } = proxyActivities<Activities>(OPTIONS);

/** Tells one webhook of one event, with growing intervals until it is taken or given up. */
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
