import { Client, Connection } from '@temporalio/client';
import { errorMessage } from '../domain/errors.js';

/** How to reach Temporal. */
export interface TemporalSettings {
  /** `host:port` */
  address: string;
  namespace: string;
  /** API key of Temporal Cloud, or a token of your own cluster. Turns TLS on. */
  apiKey?: string;
  tls?: boolean;
}

/** The options that clients (`Connection`) and workers (`NativeConnection`) have in common. */
export function toConnectionOptions(settings: TemporalSettings): { address: string; apiKey?: string; tls?: true } {
  return {
    address: settings.address,
    ...(settings.apiKey !== undefined && { apiKey: settings.apiKey }),
    ...((settings.tls === true || settings.apiKey !== undefined) && { tls: true }),
  };
}

/** Adds the address to the error of a connection, which does not always have it. */
export async function withAddress<T>({ address, namespace }: TemporalSettings, connecting: Promise<T>): Promise<T> {
  try {
    return await connecting;
  } catch (error) {
    throw new Error(
      `Temporal at ${address} (namespace ${namespace}) does not answer: ${errorMessage(error)}. ` +
        'Check TEMPORAL_ADDRESS and the network.',
      { cause: error },
    );
  }
}

/** Connects to Temporal. The caller closes the connection. */
export async function connectTemporal(settings: TemporalSettings): Promise<{ client: Client; connection: Connection }> {
  const connection = await withAddress(
    settings,
    Connection.connect({ ...toConnectionOptions(settings), connectTimeout: 10_000 }),
  );
  return { connection, client: new Client({ connection, namespace: settings.namespace }) };
}
