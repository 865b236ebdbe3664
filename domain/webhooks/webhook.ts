import type { FieldProblem } from '../errors.js';
import { judgeAddress, type NetworkPolicy } from './networks.js';

const RESOURCES = ['provider', 'storage_connection', 'compute_connection', 'flow'] as const;

/** The events that webhooks receive. store/migrations/0006_webhooks.ts writes them. */
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
/** polony sends this event on request, whatever events a webhook has selected. */
export const TEST_EVENT = 'webhook.test';

/** The state of a delivery: `pending` until the first attempt, `retrying` until it succeeds or polony gives up. */
export const DELIVERY_STATES = ['pending', 'retrying', 'delivered', 'failed'] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/**
 * Seconds between two attempts of a delivery (Standard Webhooks, "Deliverability and reliability": retries over several
 * days with exponential backoff).
 */
export const WEBHOOK_RETRY_SECONDS: readonly number[] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
/** How long polony also signs with a replaced secret. */
export const SECRET_OVERLAP_HOURS = 24;
/** Most secrets of one webhook that sign: the length of headers is limited. */
export const MOST_SECRETS = 5;
const MOST_URL = 2048;

/** An event before it becomes a request body. */
export interface WebhookEvent {
  type: string;
  time: Date;
  /** Later events of one resource have greater numbers. There are gaps. */
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
 * The JSON body of a webhook (Standard Webhooks, "Payload structure"). Links lead to descriptions and files; they need
 * an API key.
 * @param apiUrl the beginning of the links; empty for paths.
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

/** The IP address in a URL, without the brackets of IPv6; undefined when the host is a name. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname;
  if (host.startsWith('[')) return host.slice(1, -1);
  return /^\d+(\.\d+){3}$/.test(host) ? host : undefined;
}

/**
 * Why polony must not send a webhook to a URL; undefined when it may. Only allowed private networks need no TLS.
 * @param addresses all addresses of the host. One forbidden address rejects the URL, because a request may use any.
 */
export function whyDestinationRejected(
  url: URL,
  addresses: readonly string[],
  policy: NetworkPolicy,
): string | undefined {
  const verdicts = addresses.map((address) => judgeAddress(address, policy));
  const refused = verdicts.find((verdict) => verdict.refusal !== undefined);
  if (refused !== undefined)
    return (
      `${refused.refusal}. The operator of polony can allow it with ` +
      'POLONY_WEBHOOK_ALLOWED_NETWORKS or POLONY_WEBHOOK_ALLOW_PRIVATE.'
    );
  if (url.protocol !== 'https:' && verdicts.some((verdict) => verdict.isPublic))
    return 'http works only for allowed private networks. Use https.';
  return undefined;
}

/** Checks a webhook's URL without resolving its host. */
export function checkWebhookUrl(field: string, text: string, policy: NetworkPolicy): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (text.length > MOST_URL) return problem('URL_LENGTH', `must have at most ${MOST_URL} characters`);
  const parsed = /[\u0000-\u0020\u007f]/.test(text) || !URL.canParse(text) ? null : new URL(text);
  if (parsed === null) return problem('URL', 'must be a URL such as https://lab.example.org/polony');
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:')
    return problem('URL_SCHEME', 'must begin with https://');
  if (parsed.protocol === 'http:' && !policy.allowPrivate && policy.allowedNetworks.length === 0)
    return problem('URL_SCHEME', 'must begin with https://, because http works only for allowed private networks');
  if (parsed.username !== '' || parsed.password !== '')
    return problem(
      'URL_CREDENTIALS',
      'must not contain a user or password, because polony shows the URL. Verify the signature instead.',
    );
  if (parsed.hash !== '') return problem('URL_FRAGMENT', 'must not have a fragment (#…), because HTTP never sends it');
  const literal = literalAddress(parsed);
  const refusal = literal === undefined ? undefined : whyDestinationRejected(parsed, [literal], policy);
  return refusal === undefined ? [] : problem('ADDRESS_REFUSED', refusal);
}

/** Checks the events that a webhook selects. An empty list selects all. */
export function checkEventTypes(field: string, types: readonly unknown[]): FieldProblem[] {
  const problems: FieldProblem[] = [];
  for (const [at, type] of types.entries()) {
    if (typeof type !== 'string' || WEBHOOK_EVENTS.includes(type)) continue;
    problems.push({
      field: `${field}.${at}`,
      rule: 'EVENT_TYPE',
      message: `there is no event ${type.slice(0, 100)}. Events are ${WEBHOOK_EVENTS.join(', ')}.`,
    });
  }
  return problems;
}
