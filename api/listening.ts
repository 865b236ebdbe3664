import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';

/** How long running requests may take after a shutdown began, in ms. Container engines kill after 10 or 30 seconds. */
const CLOSE_MS = 10_000;

/** Accepts no more requests, waits up to 10 seconds for running ones, and closes a server. */
export async function closeServer(app: FastifyInstance): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), CLOSE_MS);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}

/** Where clients on this machine reach a server that listens. @param listenHost the setting */
export function listeningUrl(app: FastifyInstance, listenHost: string): string {
  const { port } = app.server.address() as AddressInfo;
  // A server that listens on all addresses is reachable here on the loopback address.
  const host = listenHost === '0.0.0.0' || listenHost === '::' ? '127.0.0.1' : listenHost;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
