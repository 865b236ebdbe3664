import { randomBytes } from 'node:crypto';
import dns from 'node:dns/promises';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { type FieldProblem, throwIfInvalid } from '../../domain/errors.js';
import { checkJson } from '../../domain/names.js';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import {
  checkEventTypes,
  checkWebhookUrl,
  type DeliveryState,
  literalAddress,
  MOST_SECRETS,
  whyDestinationRejected,
  SECRET_OVERLAP_HOURS,
} from '../../domain/webhooks/webhook.js';
import { isId, newId } from '../../store/database.js';
import { webhookSecretContext } from '../../store/secrets.js';
import { inTransaction } from '../../store/transaction.js';
import {
  type DeliveryRow,
  insertTestEvent,
  listDeliveries,
  replayDeliveries,
} from '../../store/webhooks/deliveries.js';
import {
  deleteWebhook,
  findWebhook,
  insertWebhook,
  listWebhooks,
  updateWebhook,
  type WebhookFields,
  type WebhookRow,
} from '../../store/webhooks/endpoints.js';
import { listSigningSecrets, rotateSecret } from '../../store/webhooks/secrets.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTimeout, notFoundError } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import { pageBothWays, pageForwards, PageQuery } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import {
  BODY,
  DeliveriesQuery,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  ReplayBody,
  WebhookBody,
  WebhookChange,
  WebhookDelivery,
  WebhookResource,
} from '../schemas.js';
import { checkBody, parseTimestamp } from '../validation.js';

function showWebhook(row: WebhookRow) {
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

function showDelivery(row: DeliveryRow) {
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

/** A new signing secret as Standard Webhooks writes it: 24 to 64 random bytes in base64. */
function newSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

/** Longest time that a host is resolved for. */
const RESOLVE_MS = 5000;

/** What a name resolves to now. @throws as dns.lookup does. */
export async function resolveHost(host: string): Promise<string[]> {
  return (await dns.lookup(host, { all: true })).map(({ address }) => address);
}

/** Refuses a URL whose host has an address that must not be called. What it resolves to later is checked again whenever it is called. */
async function checkHost(text: string, policy: NetworkPolicy, resolve: typeof resolveHost): Promise<void> {
  const url = new URL(text);
  if (literalAddress(url) !== undefined) return;
  let addresses: string[];
  try {
    addresses = await withTimeout(resolve(url.hostname), RESOLVE_MS);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOTFOUND')
      throwIfInvalid([{ field: 'url', rule: 'HOST_NOT_FOUND', message: `there is no host ${url.hostname}` }]);
    // A resolver that does not answer now says nothing of the URL.
    return;
  }
  const refusal = whyDestinationRejected(url, addresses, policy);
  if (refusal !== undefined) throwIfInvalid([{ field: 'url', rule: 'ADDRESS_REFUSED', message: refusal }]);
}

/** Webhooks: where events are told. */
export function webhookRoutes(
  scope: FastifyInstance,
  {
    db,
    secrets,
    webhookNetworks = { allowPrivate: false, allowedNetworks: [] },
    resolve = resolveHost,
  }: ApiDependencies,
): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['WebhookService'];
  const answer = (description: string) =>
    Type.Object({ webhook: WebhookResource }, { additionalProperties: false, description });
  const withSecret = (description: string) =>
    Type.Object(
      {
        webhook: WebhookResource,
        secret: Type.Unsafe<string | null>({
          type: ['string', 'null'],
          description:
            'Signs the webhooks; keep it, it is not shown again. Null where a repeated request comes after it was rotated',
        }),
      },
      { additionalProperties: false, description },
    );

  async function seal(secretId: string, secret: string) {
    if (secrets.currentKeyId === undefined)
      throw new ApiError(
        409,
        'ENCRYPTION_KEYS_MISSING',
        'Signing secrets cannot be kept: whoever runs polony must set POLONY_ENCRYPTION_KEYS for API and workers first',
      );
    return { id: secretId, ...(await secrets.seal(secret, webhookSecretContext(secretId))) };
  }
  async function webhook(id: string): Promise<WebhookRow> {
    const found = isId(id) ? await findWebhook(db, id) : undefined;
    if (found === undefined) throw notFoundError('webhook', id);
    return found;
  }
  const checks = (
    body: Record<string, unknown>,
    url: FieldProblem[],
    description: FieldProblem[],
  ): FieldProblem[][] => [
    url,
    description,
    Array.isArray(body.eventTypes) ? checkEventTypes('eventTypes', body.eventTypes) : [],
  ];
  const on = (row: WebhookRow): WebhookRow => {
    if (!row.enabled)
      throw new ApiError(
        409,
        'WEBHOOK_DISABLED',
        `The webhook is switched off${row.disabled_reason === null ? '' : ` (${row.disabled_reason})`}; switch it on first`,
      );
    return row;
  };

  app.post(
    '/v1/webhooks',
    {
      config: requireScope('webhooks:write'),
      attachValidation: true,
      schema: {
        operationId: 'WebhookService_CreateWebhook',
        tags,
        summary: 'Have events told',
        description:
          'The answer has the secret that webhooks are signed with (Standard Webhooks); it is shown this once.',
        headers: IdempotencyHeaders,
        body: WebhookBody,
        response: { 201: withSecret('Created'), ...errors(409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkBody(request, (check, body) =>
        checks(
          body,
          check('url', (value) => checkWebhookUrl('url', value, webhookNetworks)),
          check('description', (value) => checkJson('description', value)),
        ),
      );
      const { url, description = '', eventTypes = [], enabled = true } = request.body;
      await checkHost(url, webhookNetworks, resolve);
      const id = newId();
      const secret = newSecret();
      const sealed = await seal(newId(), secret);
      // What is kept for a repeated request must not hold the secret.
      const made = await createIdempotently(db, request, reply, 201, async (transaction) => ({
        webhook: showWebhook(
          await insertWebhook(
            transaction,
            id,
            { url, description, eventTypes: [...new Set(eventTypes)], enabled },
            sealed,
          ),
        ),
      }));
      if (made.webhook.id === id) return { ...made, secret };
      const [only, ...others] = await listSigningSecrets(db, made.webhook.id);
      const first =
        only !== undefined &&
        others.length === 0 &&
        Math.abs(only.time_created.getTime() - Date.parse(made.webhook.timeCreated)) < 1000;
      return {
        ...made,
        secret: first
          ? await secrets.open({ keyId: only.key_id, sealed: only.sealed }, webhookSecretContext(only.id))
          : null,
      };
    },
  );
  app.get(
    '/v1/webhooks',
    {
      config: requireScope('webhooks:read'),
      schema: {
        operationId: 'WebhookService_ListWebhooks',
        tags,
        summary: 'List webhooks, oldest first',
        querystring: PageQuery,
        response: {
          200: Type.Object(
            { webhooks: Type.Array(WebhookResource), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('webhooks', request.query, (limit, after) =>
        listWebhooks(db, limit, after, request.caller.access.ids('webhooks:read')),
      );
      return { webhooks: items.map(showWebhook), nextPageToken };
    },
  );
  app.get(
    '/v1/webhooks/:id',
    {
      config: requireScope('webhooks:read', 'id'),
      schema: {
        operationId: 'WebhookService_GetWebhook',
        tags,
        summary: 'A webhook',
        params: IdParams,
        response: { 200: answer('The webhook'), ...errors(404) },
      },
    },
    async (request) => ({ webhook: showWebhook(await webhook(request.params.id)) }),
  );
  app.patch(
    '/v1/webhooks/:id',
    {
      config: requireScope('webhooks:write', 'id'),
      attachValidation: true,
      schema: {
        operationId: 'WebhookService_UpdateWebhook',
        tags,
        summary: 'Change a webhook',
        description:
          'What is left out stays. While it is switched off nothing is noted for it, and what still waits is given up when its time comes; that can be replayed.',
        params: IdParams,
        body: WebhookChange,
        response: { 200: answer('Changed'), ...errors(404, ...BODY) },
      },
    },
    async (request) => {
      checkBody(request, (check, body) =>
        checks(
          body,
          check('url', (value) => checkWebhookUrl('url', value, webhookNetworks)),
          check('description', (value) => checkJson('description', value)),
        ),
      );
      const { id } = request.params;
      const { body } = request;
      await webhook(id);
      if (body.url !== undefined) await checkHost(body.url, webhookNetworks, resolve);
      return inTransaction(db, async (transaction) => {
        const old = await findWebhook(transaction, id, true);
        if (old === undefined) throw notFoundError('webhook', id);
        const fields: WebhookFields = {
          url: body.url ?? old.url,
          description: body.description ?? old.description,
          eventTypes: body.eventTypes === undefined ? old.event_types : [...new Set(body.eventTypes)],
          enabled: body.enabled ?? old.enabled,
        };
        return { webhook: showWebhook(await updateWebhook(transaction, id, fields)) };
      });
    },
  );
  app.delete(
    '/v1/webhooks/:id',
    {
      config: requireScope('webhooks:write', 'id'),
      schema: {
        operationId: 'WebhookService_DeleteWebhook',
        tags,
        summary: 'Delete a webhook, with its secrets and what was told',
        params: IdParams,
        response: { 204: NoContent, ...errors(404) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      if (!isId(id) || !(await inTransaction(db, (transaction) => deleteWebhook(transaction, id))))
        throw notFoundError('webhook', id);
      return reply.code(204).send(null);
    },
  );
  app.post(
    '/v1/webhooks/:id/rotate-secret',
    {
      config: requireScope('webhooks:write', 'id'),
      schema: {
        operationId: 'WebhookService_RotateSecret',
        tags,
        summary: 'Sign with a new secret',
        description: `The old one signs along for ${SECRET_OVERLAP_HOURS} hours, so that the receiver can change over; the new one is shown this once.`,
        params: IdParams,
        response: { 200: withSecret('Rotated'), ...errors(404, 409) },
      },
    },
    async (request) => {
      const { id } = request.params;
      await webhook(id);
      const secret = newSecret();
      const sealed = await seal(newId(), secret);
      return inTransaction(db, async (transaction) => {
        if ((await findWebhook(transaction, id, true)) === undefined) throw notFoundError('webhook', id);
        if (!(await rotateSecret(transaction, id, sealed)))
          throw new ApiError(
            409,
            'TOO_MANY_SECRETS',
            `${MOST_SECRETS} secrets of this webhook sign already; each that was replaced does so for ${SECRET_OVERLAP_HOURS} hours. Try again once one has expired`,
          );
        return { webhook: showWebhook((await findWebhook(transaction, id))!), secret };
      });
    },
  );
  app.post(
    '/v1/webhooks/:id/test',
    {
      config: requireScope('webhooks:write', 'id'),
      schema: {
        operationId: 'WebhookService_TestWebhook',
        tags,
        summary: 'Send the event webhook.test',
        description: 'Whatever events the webhook is for. What became of it stands among the deliveries.',
        params: IdParams,
        response: {
          202: Type.Object({ delivery: WebhookDelivery }, { additionalProperties: false, description: 'It is sent' }),
          ...errors(404, 409),
        },
      },
    },
    async (request, reply) => {
      const { id } = on(await webhook(request.params.id));
      return reply.code(202).send({
        delivery: showDelivery(await inTransaction(db, (transaction) => insertTestEvent(transaction, id))),
      });
    },
  );
  app.get(
    '/v1/webhooks/:id/deliveries',
    {
      config: requireScope('webhooks:read', 'id'),
      schema: {
        operationId: 'WebhookService_ListDeliveries',
        tags,
        summary: 'What a webhook was told, newest first',
        description: 'Kept for 30 days, and of each webhook the newest 10,000 at most; what has not ended stays.',
        params: IdParams,
        querystring: DeliveriesQuery,
        response: {
          200: Type.Object(
            { deliveries: Type.Array(WebhookDelivery), nextPageToken: Type.String(), previousPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const { id } = await webhook(request.params.id);
      const { state, ...query } = request.query;
      const { items, ...tokens } = await pageBothWays(`webhooks/${id}/deliveries/${state ?? ''}`, query, (slice) =>
        listDeliveries(db, id, slice, state as DeliveryState | undefined),
      );
      return { deliveries: items.map(showDelivery), ...tokens };
    },
  );
  app.post(
    '/v1/webhooks/:id/replay',
    {
      config: requireScope('webhooks:write', 'id'),
      schema: {
        operationId: 'WebhookService_ReplayWebhook',
        tags,
        summary: 'Deliver events once more',
        description:
          'With the webhook-id that they had, so that a receiver which has them already can tell. What waits for its next try is tried at once; what was not tried yet is left alone.',
        params: IdParams,
        body: ReplayBody,
        response: {
          202: Type.Object(
            { replayed: Type.Integer({ description: 'How many deliveries' }) },
            { additionalProperties: false, description: 'They are delivered' },
          ),
          ...errors(404, 409, ...BODY),
        },
      },
    },
    async (request, reply) => {
      const { since, until, deliveryIds, onlyFailed } = request.body;
      const { id } = on(await webhook(request.params.id));
      if (since === undefined && deliveryIds === undefined && onlyFailed !== true)
        throwIfInvalid([
          {
            field: 'since',
            rule: 'REQUIRED',
            message: 'give since, deliveryIds or onlyFailed: true; all that is kept would be sent once more otherwise',
          },
        ]);
      const replay = {
        ...(since !== undefined && { since: parseTimestamp(since) }),
        ...(until !== undefined && { until: parseTimestamp(until) }),
        deliveryIds,
        onlyFailed,
      };
      return reply
        .code(202)
        .send({ replayed: await inTransaction(db, (transaction) => replayDeliveries(transaction, id, replay)) });
    },
  );
}
