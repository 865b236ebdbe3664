import dns from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import type { LookupFunction } from 'node:net';
import { errorMessage } from '../../domain/errors.js';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import { literalAddress, whyDestinationRejected } from '../../domain/webhooks/webhook.js';

/** How long a receiver has to answer, connecting included; Standard Webhooks recommends 15 to 30 seconds. */
const TIMEOUT_MS = 15_000;
/** As much of an answer as is read, in bytes, and of that kept, in characters. */
const READ_BYTES = 4096;
const EXCERPT_LENGTH = 200;

/** What became of one try. */
export interface Answer {
  /** HTTP status; absent where there was no answer. */
  status?: number;
  /** Why it was not taken; absent where it was. */
  error?: string;
}

export interface SendOptions {
  policy: NetworkPolicy;
  timeoutMs?: number;
  /** For tests: in place of the system's resolver. */
  resolve?: typeof dns.lookup;
}

/** Resolves for one connection: what it answers is what is connected to, so a name cannot turn to a private address in between. */
function guardedLookup(url: URL, policy: NetworkPolicy, resolve: typeof dns.lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      const refusal = whyDestinationRejected(
        url,
        addresses.map(({ address }) => address),
        policy,
      );
      const [first] = addresses;
      if (refusal !== undefined || first === undefined)
        return callback(
          Object.assign(new Error(refusal ?? `${hostname} has no address`), { code: 'ADDRESS_REFUSED' }),
          [],
        );
      if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

/** Some words of an answer, on one line. */
function excerptOf(body: Buffer): string {
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
  // Where several addresses were tried the message is empty.
  return typeof code === 'string' && !message.includes(code)
    ? `${code}${message === '' ? '' : `: ${message}`}`
    : message;
}

/**
 * Sends a webhook once. Redirects are not followed, nothing is kept of a receiver but the status and some words of a refusal, and only
 * addresses that the policy allows are connected to.
 */
export async function sendWebhook(
  url: URL,
  body: string,
  headers: Record<string, string>,
  { policy, timeoutMs = TIMEOUT_MS, resolve = dns.lookup }: SendOptions,
): Promise<Answer> {
  const literal = literalAddress(url);
  // Nobody looks up what is an address already.
  const refusal = literal === undefined ? undefined : whyDestinationRejected(url, [literal], policy);
  if (refusal !== undefined) return { error: refusal };
  const secure = url.protocol === 'https:';
  // An agent of its own: no connection is shared with another receiver or kept, and no proxy of the environment is used.
  const agent = secure ? new https.Agent({ keepAlive: false }) : new http.Agent({ keepAlive: false });
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await new Promise<Answer>((done, fail) => {
      const request = (secure ? https : http).request(
        url,
        {
          method: 'POST',
          agent,
          signal,
          lookup: guardedLookup(url, policy, resolve),
          headers: {
            'content-type': 'application/json',
            'content-length': String(Buffer.byteLength(body)),
            'user-agent': 'polony-webhooks/1',
            ...headers,
          },
        },
        (response) => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) {
            done({ status });
            response.destroy();
            return;
          }
          const parts: Buffer[] = [];
          let size = 0;
          const refused = (): void => {
            const said = excerptOf(Buffer.concat(parts).subarray(0, READ_BYTES));
            const what =
              status >= 300 && status < 400
                ? `HTTP ${status}: redirects are not followed; give the webhook the address itself`
                : `HTTP ${status}`;
            done({ status, error: said === '' ? what : `${what}: ${said}` });
            response.destroy();
          };
          response.on('data', (part: Buffer) => {
            parts.push(part);
            size += part.length;
            if (size >= READ_BYTES) refused();
          });
          // Whatever breaks off after the status, the status says it.
          response.on('end', refused).on('error', refused).on('aborted', refused);
        },
      );
      request.on('error', fail);
      request.end(body);
    });
  } catch (error) {
    return { error: signal.aborted ? `no answer within ${timeoutMs / 1000} seconds` : describeError(error) };
  } finally {
    agent.destroy();
  }
}
