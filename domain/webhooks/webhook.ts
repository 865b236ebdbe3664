import type { FieldProblem } from '../errors.js';
import { judgeAddress, type NetworkPolicy } from './networks.js';

const RESOURCES = ['provider', 'storage_connection', 'compute_connection', 'flow'] as const;

/** The events that webhooks are told of; store/migrations/0006_webhooks.ts writes them. */
export const WEBHOOK_EVENTS: readonly string[] = [
  ...['uploading', 'stalled', 'resumed', 'blocked', 'unblocked', 'uploaded', 'failed', 'vanished'].map(
    (each) => `run.${each}`,
  ),
  ...[
    'untriggered',
    'initialized',
    'pending',
    'running',
    'completed',
    'failed',
    'canceled',
    'blocked',
    'unblocked',
  ].map((each) => `execution.${each}`),
  'provider.credentials_changed',
  ...RESOURCES.flatMap((resource) =>
    ['created', 'connected', 'warning', 'failed', 'deleted'].map((each) => `${resource}.${each}`),
  ),
];
/** Sent on request, whatever events a webhook is for. */
export const TEST_EVENT = 'webhook.test';

/** Where a delivery stands: `pending` until it was tried, `retrying` until it is taken or given up. */
export const DELIVERY_STATES = ['pending', 'retrying', 'delivered', 'failed'] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/**
 * Seconds between two tries of a delivery (Standard Webhooks, "Deliverability and reliability": retries over several days with
 * exponential backoff).
 */
export const WEBHOOK_RETRY_SECONDS: readonly number[] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
/** How long a secret that was replaced signs along. */
export const SECRET_OVERLAP_HOURS = 24;
/** How many secrets of one webhook sign at most: headers have their limits. */
export const MOST_SECRETS = 5;
const MOST_URL = 2048;

/** What is told of an event, before it is made a body. */
export interface WebhookEvent {
  type: string;
  time: Date;
  /** Of one thing, what happened later has the greater one; there are gaps. */
  sequence: number;
  data: Record<string, unknown>;
}

/** The resource's path and the member of the data that has its id, by the first part of an event's type. */
const PATHS: Record<string, readonly [path: string, id: string]> = {
  run: ['/v1/runs', 'runId'],
  execution: ['/v1/executions', 'executionId'],
  provider: ['/v1/providers', 'providerId'],
  storage_connection: ['/v1/storage-connections', 'storageConnectionId'],
  compute_connection: ['/v1/compute-connections', 'computeConnectionId'],
  flow: ['/v1/flows', 'flowId'],
  webhook: ['/v1/webhooks', 'webhookId'],
};

/**
 * The body of a webhook (Standard Webhooks, "Payload structure"), as JSON. What a thing is in words, and what is in its files, stands
 * behind the links, which need an API key.
 * @param apiUrl what the links begin with; empty for paths alone.
 */
export function webhookBody({ type, time, sequence, data }: WebhookEvent, apiUrl = ''): string {
  const [path, id] = PATHS[type.split('.')[0]!] ?? [];
  const self = path === undefined ? undefined : `${apiUrl}${path}/${String(data[id!])}`;
  const links =
    self === undefined
      ? {}
      : { self, ...(path === '/v1/runs' || path === '/v1/executions' ? { details: `${self}/details` } : {}) };
  return JSON.stringify({ type, timestamp: time.toISOString(), data: { ...data, sequence, links } });
}

/** The URL's host as an address, without the brackets of IPv6; undefined where it is a name. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname;
  if (host.startsWith('[')) return host.slice(1, -1);
  return /^\d+(\.\d+){3}$/.test(host) ? host : undefined;
}

/**
 * Why a webhook must not be sent there; undefined where it may. Only private networks that are allowed are called without TLS.
 * @param addresses all that the host resolves to: one that is refused refuses the whole, since any may be called.
 */
export function whyDestinationRejected(
  url: URL,
  addresses: readonly string[],
  policy: NetworkPolicy,
): string | undefined {
  const verdicts = addresses.map((address) => judgeAddress(address, policy));
  const refused = verdicts.find((verdict) => verdict.refusal !== undefined);
  if (refused !== undefined)
    return `${refused.refusal}; whoever runs polony may allow it by POLONY_WEBHOOK_ALLOW_PRIVATE or POLONY_WEBHOOK_ALLOWED_NETWORKS`;
  if (url.protocol !== 'https:' && verdicts.some((verdict) => verdict.isPublic))
    return 'http is for private networks that are allowed only; use https';
  return undefined;
}

/** Checks what can be told of a webhook's URL without resolving its host. */
export function checkWebhookUrl(field: string, text: string, policy: NetworkPolicy): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (text.length > MOST_URL) return problem('URL_LENGTH', `must have at most ${MOST_URL} characters`);
  const parsed = /[\u0000-\u0020\u007f]/.test(text) || !URL.canParse(text) ? null : new URL(text);
  if (parsed === null) return problem('URL', 'must be a URL such as https://lab.example.org/polony');
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:')
    return problem('URL_SCHEME', 'must begin with https://');
  if (parsed.protocol === 'http:' && !policy.allowPrivate && policy.allowedNetworks.length === 0)
    return problem('URL_SCHEME', 'must begin with https://: http is for private networks that are allowed only');
  if (parsed.username !== '' || parsed.password !== '')
    return problem(
      'URL_CREDENTIALS',
      'must not hold a user or password: they would be seen wherever the URL is; check the signature instead',
    );
  if (parsed.hash !== '') return problem('URL_FRAGMENT', 'must not have a fragment (#…): it is never sent');
  const literal = literalAddress(parsed);
  const refusal = literal === undefined ? undefined : whyDestinationRejected(parsed, [literal], policy);
  return refusal === undefined ? [] : problem('ADDRESS_REFUSED', refusal);
}

/** Checks the events that a webhook is for; none stand for all. */
export function checkEventTypes(field: string, types: readonly unknown[]): FieldProblem[] {
  const problems: FieldProblem[] = [];
  for (const [at, type] of types.entries()) {
    if (typeof type !== 'string' || WEBHOOK_EVENTS.includes(type)) continue;
    problems.push({
      field: `${field}.${at}`,
      rule: 'EVENT_TYPE',
      message: `there is no event ${type.slice(0, 100)}; there are ${WEBHOOK_EVENTS.join(', ')}`,
    });
  }
  return problems;
}
