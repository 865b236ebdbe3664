import type { DeliveryRow } from '../../store/webhooks/deliveries.js';
import type { WebhookRow } from '../../store/webhooks/endpoints.js';

export function presentWebhook(row: WebhookRow) {
  return {
    id: row.id,
    url: row.url,
    description: row.description,
    eventTypes: row.event_types,
    enabled: row.enabled,
    disabledReason: row.disabled_reason,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

export function presentDelivery(row: DeliveryRow) {
  return {
    id: row.id,
    eventId: row.event_id,
    eventType: row.event_type,
    sequence: Number(row.event_sequence),
    data: row.event_data,
    state: row.state,
    attempts: row.attempts,
    replays: row.round - 1,
    lastStatus: row.last_status,
    lastError: row.last_error,
    timeEvent: row.time_event.toISOString(),
    timeNext: row.time_next?.toISOString() ?? null,
    timeEnded: row.time_ended?.toISOString() ?? null,
  };
}
