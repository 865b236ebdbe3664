import { Type } from 'typebox';
import {
  DELIVERY_STATES,
  MOST_SECRETS,
  SECRET_OVERLAP_HOURS,
  TEST_EVENT,
  WEBHOOK_EVENTS,
} from '../../domain/webhooks/webhook.js';
import { component } from '../openapi/components.js';
import {
  BODY,
  closed,
  closedNonEmpty,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../openapi/shared.js';
import { PageQuery } from '../paging.js';

const WebhookResource = component(
  'Webhook',
  Type.Object(
    {
      id: Type.String(),
      url: Type.String(),
      description: Type.String(),
      eventTypes: Type.Array(oneOf(WEBHOOK_EVENTS), { description: 'Empty: all events' }),
      enabled: Type.Boolean(),
      disabledReason: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'Why polony switched the webhook off',
      }),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    closed,
  ),
);
const fields = {
  url: Type.String({
    description:
      'An https:// URL without user name and password. Addresses of private networks work only where the ' +
      'administrator of polony allows them',
  }),
  description: Type.Optional(Type.String({ maxLength: 1000 })),
  eventTypes: Type.Optional(
    Type.Array(Type.String(), {
      maxItems: 100,
      description: `Some of ${WEBHOOK_EVENTS.join(', ')}. If you leave it out or empty: all`,
    }),
  ),
  enabled: Type.Optional(Type.Boolean()),
};
const WebhookBody = Type.Object(fields, {
  ...closed,
  examples: [{ url: 'https://lims.example.org/hooks/polony', eventTypes: ['execution.completed', 'execution.failed'] }],
});
const WebhookChange = Type.Partial(Type.Object(fields), { ...closedNonEmpty, examples: [{ enabled: false }] });

const WebhookDelivery = component(
  'WebhookDelivery',
  Type.Object(
    {
      id: Type.String(),
      eventId: Type.String({
        description:
          'The header webhook-id. It is the same for every webhook that receives the event and for every attempt',
      }),
      eventType: oneOf([...WEBHOOK_EVENTS, TEST_EVENT]),
      sequence: Type.Integer({
        description: 'A later event about the same resource has a higher number. Numbers can be missing',
      }),
      data: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true }),
      state: oneOf(DELIVERY_STATES),
      attempts: Type.Integer({ description: 'Attempts since the event or its last replay' }),
      replays: Type.Integer(),
      lastStatus: Type.Unsafe<number | null>({
        type: ['integer', 'null'],
        description: 'The HTTP status of the last attempt; null if the receiver did not answer',
      }),
      lastError: NullableString,
      timeEvent: Timestamp,
      timeNext: NullableTimestamp,
      timeEnded: NullableTimestamp,
    },
    closed,
  ),
);
const DeliveriesQuery = Type.Object({ ...PageQuery.properties, state: Type.Optional(oneOf(DELIVERY_STATES)) }, closed);
const ReplayBody = Type.Object(
  {
    since: Type.Optional(Type.String({ format: 'date-time', description: 'Events at this time and later' })),
    until: Type.Optional(Type.String({ format: 'date-time' })),
    deliveryIds: Type.Optional(Type.Array(Type.String(), { minItems: 1, maxItems: 1000 })),
    onlyFailed: Type.Optional(Type.Boolean({ description: 'Only deliveries that polony gave up' })),
  },
  { ...closedNonEmpty, examples: [{ since: '2026-01-15T00:00:00Z', onlyFailed: true }] },
);

const tags = ['WebhookService'];
const oneWebhook = (description: string) => responseBody(description, { webhook: WebhookResource });
const webhookWithSecret = (description: string) =>
  responseBody(description, {
    webhook: WebhookResource,
    secret: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description:
        'The secret that signs the webhooks. Store it: polony does not show it again. ' +
        'null if you repeat a request after the secret was rotated',
    }),
  });

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  create: {
    operationId: 'WebhookService_CreateWebhook',
    tags,
    summary: 'Create a webhook',
    description:
      'polony sends events to the URL. The response has the secret that signs them (Standard Webhooks). ' +
      'polony shows the secret only once.',
    headers: IdempotencyHeaders,
    body: WebhookBody,
    response: { 201: webhookWithSecret('Created'), ...errors(409, ...BODY, 422) },
  },
  list: {
    operationId: 'WebhookService_ListWebhooks',
    tags,
    summary: 'List webhooks, oldest first',
    querystring: PageQuery,
    response: {
      200: responseBody('A page of webhooks', {
        webhooks: Type.Array(WebhookResource),
        nextPageToken: Type.String(),
      }),
      ...errors(),
    },
  },
  get: {
    operationId: 'WebhookService_GetWebhook',
    tags,
    summary: 'Get a webhook',
    params: IdParams,
    response: { 200: oneWebhook('The webhook'), ...errors(404) },
  },
  update: {
    operationId: 'WebhookService_UpdateWebhook',
    tags,
    summary: 'Change a webhook',
    description:
      'Fields that you leave out keep their values. While a webhook is switched off, polony records no events for it ' +
      'and gives up waiting deliveries when their time comes. You can replay those.',
    params: IdParams,
    body: WebhookChange,
    response: { 200: oneWebhook('Changed'), ...errors(404, ...BODY) },
  },
  delete: {
    operationId: 'WebhookService_DeleteWebhook',
    tags,
    summary: 'Delete a webhook with its secrets and deliveries',
    params: IdParams,
    response: { 204: NoContent, ...errors(404) },
  },
  rotateSecret: {
    operationId: 'WebhookService_RotateSecret',
    tags,
    summary: 'Replace the signing secret',
    description:
      `For ${SECRET_OVERLAP_HOURS} hours polony signs with both secrets, so that the receiver can switch. ` +
      `A webhook has at most ${MOST_SECRETS} valid secrets. polony shows the new secret only once.`,
    params: IdParams,
    response: { 200: webhookWithSecret('Rotated'), ...errors(404, 409) },
  },
  test: {
    operationId: 'WebhookService_TestWebhook',
    tags,
    summary: 'Send the event webhook.test',
    description: 'polony sends it whatever event types the webhook has. Its deliveries show the result.',
    params: IdParams,
    response: {
      202: responseBody('polony sends the event', { delivery: WebhookDelivery }),
      ...errors(404, 409),
    },
  },
  listDeliveries: {
    operationId: 'WebhookService_ListDeliveries',
    tags,
    summary: 'List the deliveries of a webhook, newest first',
    description:
      'polony keeps deliveries for 30 days, at most the newest 10,000 of each webhook. Unfinished deliveries stay.',
    params: IdParams,
    querystring: DeliveriesQuery,
    response: {
      200: responseBody('A page of deliveries', {
        deliveries: Type.Array(WebhookDelivery),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
      }),
      ...errors(404),
    },
  },
  replay: {
    operationId: 'WebhookService_ReplayWebhook',
    tags,
    summary: 'Deliver events again',
    description:
      'Events keep their webhook-id, so a receiver can recognise them. Deliveries that wait for their next attempt ' +
      'are sent now. Deliveries without an attempt do not change.',
    params: IdParams,
    body: ReplayBody,
    response: {
      202: responseBody('polony delivers the events', {
        replayed: Type.Integer({ description: 'The number of deliveries' }),
      }),
      ...errors(404, 409, ...BODY),
    },
  },
};
