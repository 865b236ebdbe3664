import { InputError, throwIfInvalid } from '../../domain/errors.js';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import { literalAddress, whyDestinationRejected } from '../../domain/webhooks/webhook.js';
import { createResolver, ResolveError } from '../../network/resolve.js';
import type { ApiDependencies } from '../dependencies.js';

const resolveHost = createResolver();

/** The networks that webhooks may send to. By default: public ones. */
export function networkPolicy({ webhookNetworks }: Pick<ApiDependencies, 'webhookNetworks'>): NetworkPolicy {
  return webhookNetworks ?? { allowPrivate: false, allowedNetworks: [] };
}

/**
 * Rejects a URL whose host has an address that webhooks must not reach, or whose addresses DNS does not tell in time.
 * The host can resolve to another address later, so every delivery checks again.
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
    addresses = await (dependencies.resolve ?? resolveHost)(url.hostname);
  } catch (error) {
    if (!(error instanceof ResolveError)) throw error;
    const problem = error.isUnknown
      ? { rule: 'HOST_NOT_FOUND', message: error.message }
      : {
          rule: 'HOST_UNRESOLVED',
          message: `${error.message}, so it cannot check that webhooks may go there. Check the name, then try again`,
        };
    throw new InputError([{ field: 'url', ...problem }]);
  }
  if (addresses.length === 0)
    throwIfInvalid([{ field: 'url', rule: 'HOST_NOT_FOUND', message: `${url.hostname} has no address` }]);
  const why = whyDestinationRejected(url, addresses, networkPolicy(dependencies));
  if (why !== undefined) throwIfInvalid([{ field: 'url', rule: 'ADDRESS_REFUSED', message: why }]);
}
