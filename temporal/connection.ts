import { Client, Connection } from '@temporalio/client';

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

/** Connects to Temporal. The caller closes the connection. */
export async function connectTemporal(settings: TemporalSettings): Promise<{ client: Client; connection: Connection }> {
  const connection = await Connection.connect({ ...toConnectionOptions(settings), connectTimeout: 10_000 });
  return { connection, client: new Client({ connection, namespace: settings.namespace }) };
}
