import type { FastifyReply } from 'fastify';
import { throwIfInvalid } from '../../domain/errors.js';
import type { DeliveryState } from '../../domain/webhooks/webhook.js';
import { inTransaction } from '../../store/transaction.js';
import { insertTestEvent, listDeliveries, replayDeliveries } from '../../store/webhooks/deliveries.js';
import { parseTimestamp } from '../validation.js';
import type { ApiDependencies } from '../dependencies.js';
import { pageBothWays } from '../paging.js';
import type { RequestOf } from '../requests.js';
import { requireEnabledWebhook, requireWebhook } from './find.js';
import { presentDelivery } from './present.js';
import type { operations } from './schemas.js';

export async function handleTestWebhook(
  { db }: ApiDependencies,
  request: RequestOf<typeof operations.test>,
  reply: FastifyReply,
) {
  const { id } = await requireEnabledWebhook(db, request.params.id);
  const delivery = await inTransaction(db, (transaction) => insertTestEvent(transaction, id));
  void reply.code(202);
  return { delivery: presentDelivery(delivery) };
}

export async function handleListDeliveries(
  { db }: ApiDependencies,
  request: RequestOf<typeof operations.listDeliveries>,
) {
  const { id } = await requireWebhook(db, request.params.id);
  const { state, ...query } = request.query;
  const { items, ...tokens } = await pageBothWays(`webhooks/${id}/deliveries/${state ?? ''}`, query, (slice) =>
    listDeliveries(db, id, slice, state as DeliveryState | undefined),
  );
  return { deliveries: items.map(presentDelivery), ...tokens };
}

export async function handleReplayWebhook(
  { db }: ApiDependencies,
  request: RequestOf<typeof operations.replay>,
  reply: FastifyReply,
) {
  const { since, until, deliveryIds, onlyFailed } = request.body;
  const { id } = await requireEnabledWebhook(db, request.params.id);
  // Only `until` would select almost everything that is kept.
  if (since === undefined && deliveryIds === undefined && onlyFailed !== true)
    throwIfInvalid([
      {
        field: 'since',
        rule: 'REQUIRED',
        message: 'give since, deliveryIds or onlyFailed: true; otherwise polony would send all kept events again',
      },
    ]);
  const replay = {
    ...(since !== undefined && { since: parseTimestamp(since) }),
    ...(until !== undefined && { until: parseTimestamp(until) }),
    deliveryIds,
    onlyFailed,
  };
  const replayed = await inTransaction(db, (transaction) => replayDeliveries(transaction, id, replay));
  void reply.code(202);
  return { replayed };
}
