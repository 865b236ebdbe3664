import dns from 'node:dns/promises';
import { throwIfInvalid } from '../../domain/errors.js';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import { literalAddress, whyDestinationRejected } from '../../domain/webhooks/webhook.js';
import type { ApiDependencies } from '../dependencies.js';
import { withTimeout } from '../errors.js';

/** How long polony waits for the resolver, in milliseconds. */
const RESOLVE_MS = 5000;

/** The networks that webhooks may send to. By default: public ones. */
export function networkPolicy({ webhookNetworks }: Pick<ApiDependencies, 'webhookNetworks'>): NetworkPolicy {
  return webhookNetworks ?? { allowPrivate: false, allowedNetworks: [] };
}

async function resolveHost(host: string): Promise<string[]> {
  return (await dns.lookup(host, { all: true })).map(({ address }) => address);
}

/**
 * Rejects a URL whose host has an address that webhooks must not reach. The host can resolve to another address
 * later, so every delivery checks again.
 * @throws InputError
 */
export async function checkDestination(
  text: string,
  dependencies: Pick<ApiDependencies, 'webhookNetworks' | 'resolve'>,
): Promise<void> {
  const url = new URL(text);
  if (literalAddress(url) !== undefined) return;
  let addresses: string[];
  try {
    addresses = await withTimeout((dependencies.resolve ?? resolveHost)(url.hostname), RESOLVE_MS);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOTFOUND')
      throwIfInvalid([{ field: 'url', rule: 'HOST_NOT_FOUND', message: `there is no host ${url.hostname}` }]);
    // A resolver that does not answer now says nothing about the URL.
    return;
  }
  const why = whyDestinationRejected(url, addresses, networkPolicy(dependencies));
  if (why !== undefined) throwIfInvalid([{ field: 'url', rule: 'ADDRESS_REFUSED', message: why }]);
}
