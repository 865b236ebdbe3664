import { polonyClient } from '../../client/index.js';
import { answeredError, CliError, EXIT, unreachable } from './exit.js';
import type { Operation } from './operations.js';
import type { Profile } from './profiles.js';

/** Path parameters, query, body and headers of a request. */
export interface RequestInput {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  headers?: Record<string, string>;
}

/** A request that a command has prepared, and how it prints the answer. */
export interface PreparedRequest {
  api: Profile;
  query: Record<string, unknown>;
  body: Record<string, unknown>;
  asJson: boolean;
  /** Sends the request with this body. @throws CliError */
  send: (body: Record<string, unknown>) => Promise<unknown>;
}

/** What the generated client answers. */
interface ClientAnswer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

function notPolony({ url }: Profile): CliError {
  return new CliError(`The answer of ${url} is not from polony; check the address of the API`, EXIT.unavailable);
}

/**
 * Requests an operation that is known only at run time, by its path in the OpenAPI document, such as `/v1/runs/{id}`.
 * @throws CliError
 */
export async function request(
  api: Profile,
  method: Operation['method'],
  path: string,
  { path: ids = {}, query = {}, body, headers = {} }: RequestInput = {},
): Promise<unknown> {
  // With these values, the address would name another resource.
  for (const [name, id] of Object.entries(ids))
    if (['', '.', '..'].includes(id)) throw new CliError(`The ${name} must not be ${id || 'empty'}`, EXIT.usage);
  const answer = polonyClient(api).request(
    method.toLowerCase() as never,
    path as never,
    { params: { path: ids, query }, headers, ...(body !== undefined && { body }) } as never,
  ) as Promise<ClientAnswer<unknown>>;
  return dataOf(api, answer);
}

async function dataOf<T>(api: Profile, answer: Promise<ClientAnswer<T>>): Promise<T | undefined> {
  try {
    const { data, error, response } = await answer;
    if (!response.ok) throw answeredError(response, error, api);
    if (data !== undefined && (typeof data !== 'object' || data === null)) throw new SyntaxError('not an object');
    return data;
  } catch (error) {
    if (error instanceof SyntaxError) throw notPolony(api);
    throw unreachable(api.url, error);
  }
}

/** The data of an answer that has a body. @throws CliError for error answers and for what is not an answer of polony */
export async function expectData<T>(api: Profile, answer: Promise<ClientAnswer<T>>): Promise<T> {
  const data = await dataOf(api, answer);
  if (data === undefined) throw notPolony(api);
  return data;
}

/** The items of one page of a list. @throws CliError when the answer has no such list */
export function itemsOf(api: Profile, answer: unknown, name: string): unknown[] {
  const items = (answer as Record<string, unknown> | undefined)?.[name];
  if (!Array.isArray(items)) throw notPolony(api);
  return items as unknown[];
}
