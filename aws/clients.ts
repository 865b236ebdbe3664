import { observeCalls } from './observeCalls.js';

type Client = { destroy: () => void };

/** Keeps AWS clients, so that calls with the same purpose share connections. */
export class ClientCache {
  readonly #clients = new Map<string, Client>();

  /** The client with this key; created on first use. */
  get<T extends Client>(key: string, create: () => T): T {
    const known = this.#clients.get(key) as T | undefined;
    if (known !== undefined) return known;
    const client = observeCalls(create());
    this.#clients.set(key, client);
    return client;
  }

  /** Closes the connections of all clients. */
  destroy(): void {
    for (const client of this.#clients.values()) client.destroy();
    this.#clients.clear();
  }
}

/** Settings that all clients share. */
export function clientSettings(service: 'STS' | 'OMICS' | 'S3') {
  return {
    maxAttempts: 3,
    // The SDK would put `workflows-` before the host of a custom endpoint.
    disableHostPrefix: hasCustomEndpoint(service),
    requestHandler: {
      connectionTimeout: 5_000,
      requestTimeout: 30_000,
      httpsAgent: { keepAlive: true, maxSockets: 100 },
      httpAgent: { keepAlive: true, maxSockets: 100 },
    },
  };
}

/** Settings of S3 clients. Custom endpoints often have no DNS names for buckets. */
export function s3ClientSettings() {
  return { ...clientSettings('S3'), forcePathStyle: hasCustomEndpoint('S3') };
}

/** Whether the environment names an endpoint. The SDK reads these variables too, and uses the endpoint. */
function hasCustomEndpoint(service: string): boolean {
  const endpoint = process.env[`AWS_ENDPOINT_URL_${service}`] ?? process.env.AWS_ENDPOINT_URL;
  return endpoint !== undefined && endpoint !== '';
}
