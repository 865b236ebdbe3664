import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { errorMessage } from '../../domain/errors.js';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import { createResolver, type ResolveHost } from '../../network/resolve.js';
import { literalAddress, whyDestinationRejected } from '../../domain/webhooks/webhook.js';

/** How long a receiver has to answer, connecting included; Standard Webhooks recommends 15 to 30 seconds. */
const TIMEOUT_MS = 15_000;
const resolveHost = createResolver();
/** How much of an answer is read, in bytes, and how much of that is kept, in characters. */
const READ_BYTES = 4096;
const EXCERPT_LENGTH = 200;

/** How the receiver answered one attempt. */
export interface Answer {
  /** HTTP status; absent where there was no answer. */
  status?: number;
  /** Why the receiver did not accept the webhook; absent where it did. */
  error?: string;
}

export interface SendOptions {
  policy: NetworkPolicy;
  timeoutMs?: number;
  /** For tests: replaces polony's resolver. */
  resolve?: ResolveHost;
}

/**
 * Resolves the name for one connection. The connection goes to the address that was checked, so a name cannot change to
 * a private address in between.
 */
function guardedLookup(url: URL, policy: NetworkPolicy, resolve: ResolveHost): LookupFunction {
  return (hostname, options, callback) => {
    void findAllowedAddresses(url, hostname, policy, resolve).then(
      ([first, ...others]) => {
        const addresses = [first, ...others].map((address) => ({ address, family: isIP(address) }));
        if (options.all === true) callback(null, addresses);
        else callback(null, first, isIP(first));
      },
      (error: unknown) => callback(Object.assign(new Error(errorMessage(error)), { code: 'ADDRESS_REFUSED' }), []),
    );
  };
}

/** @throws Error where there is no address, where one of them is forbidden, or where DNS does not answer. */
async function findAllowedAddresses(
  url: URL,
  hostname: string,
  policy: NetworkPolicy,
  resolve: ResolveHost,
): Promise<[string, ...string[]]> {
  const [first, ...others] = await resolve(hostname);
  if (first === undefined) throw new Error(`${hostname} has no address`);
  const refusal = whyDestinationRejected(url, [first, ...others], policy);
  if (refusal !== undefined) throw new Error(refusal);
  return [first, ...others];
}

/** The beginning of an answer, on one line. */
function createExcerpt(body: Buffer): string {
  const text = body
    .toString('utf8')
    .replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim();
  return text.length > EXCERPT_LENGTH ? `${text.slice(0, EXCERPT_LENGTH)}…` : text;
}

function describeError(error: unknown): string {
  const { code } = error as { code?: unknown };
  const message = errorMessage(error);
  if (code === 'ADDRESS_REFUSED') return message;
  // Where several addresses failed, the message is empty.
  return typeof code === 'string' && !message.includes(code)
    ? `${code}${message === '' ? '' : `: ${message}`}`
    : message;
}

/**
 * Sends a webhook once. It follows no redirects, connects only to addresses that the policy allows, and keeps nothing
 * of the answer but the status and the beginning of a refusal.
 */
export async function sendWebhook(
  url: URL,
  body: string,
  headers: Record<string, string>,
  { policy, timeoutMs = TIMEOUT_MS, resolve = resolveHost }: SendOptions,
): Promise<Answer> {
  const literal = literalAddress(url);
  // Node.js looks up names only, so an address in the URL is checked here.
  const refusal = literal === undefined ? undefined : whyDestinationRejected(url, [literal], policy);
  if (refusal !== undefined) return { error: refusal };
  // An agent for this request alone: it shares no connection with other receivers, keeps none, and uses no proxy.
  const agent = new (transportOf(url).Agent)({ keepAlive: false });
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await post(url, body, { agent, signal, lookup: guardedLookup(url, policy, resolve), headers });
  } catch (error) {
    return { error: signal.aborted ? `no answer within ${timeoutMs / 1000} seconds` : describeError(error) };
  } finally {
    agent.destroy();
  }
}

function transportOf(url: URL): typeof http | typeof https {
  return url.protocol === 'https:' ? https : http;
}

/** @throws what prevented an answer. */
function post(url: URL, body: string, options: http.RequestOptions): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const request = transportOf(url).request(
      url,
      {
        ...options,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': String(Buffer.byteLength(body)),
          'user-agent': 'polony-webhooks/1',
          ...(options.headers as Record<string, string>),
        },
      },
      (response) => readAnswer(response, resolve),
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** Reads the beginning of a refusal, and nothing of an acceptance. */
function readAnswer(response: http.IncomingMessage, onAnswer: (answer: Answer) => void): void {
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 300) {
    onAnswer({ status });
    response.destroy();
    return;
  }
  const parts: Buffer[] = [];
  let size = 0;
  const finish = (): void => {
    onAnswer({ status, error: describeRefusal(status, Buffer.concat(parts).subarray(0, READ_BYTES)) });
    response.destroy();
  };
  response.on('data', (part: Buffer) => {
    parts.push(part);
    size += part.length;
    if (size >= READ_BYTES) finish();
  });
  // Where the answer breaks off after the status, the status is still the answer.
  response.on('end', finish).on('error', finish).on('aborted', finish);
}

function describeRefusal(status: number, body: Buffer): string {
  const isRedirect = status >= 300 && status < 400;
  const reason = isRedirect
    ? `HTTP ${status}: redirects are not followed; give the webhook the URL that the redirect leads to`
    : `HTTP ${status}`;
  const excerpt = createExcerpt(body);
  return excerpt === '' ? reason : `${reason}: ${excerpt}`;
}
