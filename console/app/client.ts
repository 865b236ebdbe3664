import createClient from 'openapi-fetch';
import type { Readable } from 'openapi-typescript-helpers';
import { BASE_PATH } from './base.js';
import type { components, paths } from '../../client/schema.js';

/** What an answer has of a schema of the API, such as `Schema<'Execution'>`. */
export type Schema<Name extends keyof components['schemas']> = Readable<components['schemas'][Name]>;

interface ErrorBody {
  message?: string;
  details?: { reason?: string; metadata?: Record<string, string> }[];
}

/** An answer of the API that is an error, or no answer at all. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';

  /**
   * @param status of HTTP; 0 where nobody answered
   * @param requestId under which the API's log has the request
   * @param fields what is wrong with which field of the body
   */
  constructor(
    message: string,
    readonly status: number,
    readonly reason: string,
    readonly requestId: string | undefined,
    readonly fields: Readonly<Record<string, string>> = {},
    readonly metadata: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/** In memory only: the page reads it again after a reload. */
let csrfToken: string | undefined;
let onSignedOut: () => void = () => undefined;

/** What requests that change something send with the session. */
export function setCsrfToken(token: string | undefined): void {
  csrfToken = token;
}

/** @param listener is called where the API no longer knows the session */
export function setSignedOutListener(listener: () => void): void {
  onSignedOut = listener;
}

/** For answers that {@link ask} does not read, such as streams: the API does not know the session. */
export function reportSignedOut(): void {
  onSignedOut();
}

/** The headers of a request that changes something. */
const changeHeaders = (): Record<string, string> => (csrfToken === undefined ? {} : { 'x-csrf-token': csrfToken });

/** The API of the origin that served this page. Its session is a cookie. */
export const api = createClient<paths>({
  baseUrl: `${location.origin}${BASE_PATH}`,
  credentials: 'same-origin',
  redirect: 'error',
});
api.use({
  onRequest: ({ request }) => {
    if (request.method !== 'GET')
      for (const [name, value] of Object.entries(changeHeaders())) request.headers.set(name, value);
  },
});

/** The error in an answer. */
export function readFailure(response: Response, body: unknown): ApiFailure {
  const { message, details = [] } = (typeof body === 'object' && body !== null ? body : {}) as ErrorBody;
  const first = details[0];
  const fields = Object.fromEntries(
    details.flatMap(({ metadata }) =>
      metadata?.field === undefined ? [] : [[metadata.field, metadata.description ?? message ?? '']],
    ),
  );
  const requestId = first?.metadata?.request_id ?? response.headers.get('x-request-id') ?? undefined;
  return new ApiFailure(
    message ?? `The API answered ${response.status} ${response.statusText}`.trim(),
    response.status,
    first?.reason ?? 'UNKNOWN',
    requestId,
    fields,
    first?.metadata,
  );
}

interface FetchAnswer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What the API answered. @throws ApiFailure where it is an error, or where nobody answers */
export async function ask<T>(request: Promise<FetchAnswer<T>>): Promise<T> {
  let answer: FetchAnswer<T>;
  try {
    answer = await request;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiFailure('The API does not answer. Check your connection, and try again.', 0, 'NO_ANSWER', undefined);
  }
  const { data, error, response } = answer;
  if (response.ok) return data as T;
  const failure = readFailure(response, error);
  if (failure.status === 401) onSignedOut();
  throw failure;
}
