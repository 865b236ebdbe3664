import createClient, { type Client, type ClientOptions } from 'openapi-fetch';
import type { components, paths } from './schema.js';

export type { components, operations, paths } from './schema.js';
/** A schema of the API by its name, such as `Schema<'Execution'>`. */
export type Schema<Name extends keyof components['schemas']> = components['schemas'][Name];

/** Where the API is and who calls it. */
export interface PolonyOptions extends Omit<ClientOptions, 'baseUrl' | 'headers'> {
  /** Such as `https://polony.example.org`; the operations' paths begin with `/v1`. */
  url: string;
  /** In `x-api-key`. */
  apiKey: string;
}

export type PolonyClient = Client<paths>;

/**
 * A client of polony's API, typed by its OpenAPI document (openapi-fetch).
 * `client.GET('/v1/runs', { params: { query: { filter } } })` answers `{ data, error, response }`, where `error` is the
 * body of an error.
 */
export function polonyClient({ url, apiKey, ...options }: PolonyOptions): PolonyClient {
  // A redirect would carry the key to wherever it leads, and make a GET of a POST.
  return createClient<paths>({
    redirect: 'manual',
    ...options,
    baseUrl: url.replace(/\/+$/, ''),
    headers: { 'x-api-key': apiKey },
  });
}
