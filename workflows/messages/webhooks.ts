/** @param round from 1; each replay has a workflow of its own. */
export function webhookWorkflowId(deliveryId: string, round: number): string {
  return round === 1 ? `webhook/${deliveryId}` : `webhook/${deliveryId}/${round}`;
}

/**
 * Input of `deliverWebhook`. The store holds all else: histories must contain neither secrets nor the whole URL, which
 * may contain one.
 */
export interface DeliverWebhookInput {
  deliveryId: string;
  round: number;
  eventType: string;
  /** Host of the URL. */
  host: string;
  /** Task queue of the activities that deliver webhooks. */
  taskQueue: string;
}
