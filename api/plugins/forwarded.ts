import type { FastifyInstance } from 'fastify';

/** Most characters, and most addresses, of X-Forwarded-For that count. Real requests pass through a few proxies. */
const MOST_CHARACTERS = 2048;
const MOST_ADDRESSES = 20;
const HEADER = 'x-forwarded-for';

/**
 * Shortens X-Forwarded-For to its end, which the nearest proxies wrote. Fastify compares each of its addresses with the
 * proxies that a setting names, at every use of `request.ip`: ten thousand addresses would stop the event loop, before
 * polony knows who sends them. Call it before hooks that use `request.ip`.
 */
export function limitForwardedFor(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ raw: { headers } }) => {
    const value = headers[HEADER];
    if (typeof value === 'string') headers[HEADER] = shorten(value);
  });
}

function shorten(value: string): string {
  const addresses = value.slice(-MOST_CHARACTERS).split(',');
  // Where the cut went through an address, its rest is none.
  if (value.length > MOST_CHARACTERS && addresses.length > 1) addresses.shift();
  return addresses.slice(-MOST_ADDRESSES).join(',');
}
