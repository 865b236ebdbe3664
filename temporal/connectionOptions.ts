/** How to reach Temporal. */
interface ConnectionSettings {
  address: string;
  /** Temporal Cloud API key, or a token of your own cluster. Implies TLS. */
  apiKey?: string;
  tls?: boolean;
}

/** The options of `Connection.connect` and `NativeConnection.connect`, which are the same in both packages. */
export function temporalConnectionOptions({ address, apiKey, tls }: ConnectionSettings): {
  address: string;
  apiKey?: string;
  tls?: boolean;
} {
  return {
    address,
    ...(apiKey !== undefined && { apiKey }),
    ...((tls === true || apiKey !== undefined) && { tls: true }),
  };
}
