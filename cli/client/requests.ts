import { polonyClient } from '../../client/index.js';
import { answeredError, CliError, EXIT, unreachable } from './exit.js';
import type { Operation } from './operations.js';
import { cell } from './output.js';
import type { Profile } from './profiles.js';

/** Path parameters, query, body and headers of a request. */
export interface RequestInput {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  headers?: Record<string, string>;
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
    if (!response.ok) throw answeredError(response, error);
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

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Where to find a resource by its name, by the group of commands. */
const LISTS: Readonly<Record<string, { path: string; items: string; hasFilter?: boolean }>> = {
  providers: { path: '/v1/providers', items: 'providers' },
  storage: { path: '/v1/storage-connections', items: 'storageConnections' },
  compute: { path: '/v1/compute-connections', items: 'computeConnections' },
  flows: { path: '/v1/flows', items: 'flows' },
  runs: { path: '/v1/runs', items: 'runs', hasFilter: true },
  executions: { path: '/v1/executions', items: 'executions', hasFilter: true },
  keys: { path: '/v1/api-keys', items: 'apiKeys' },
};

/** Whether resources of a group can be given by name. */
export function hasNames(group: string): boolean {
  return LISTS[group] !== undefined;
}

/** The id of a resource that is given by its id or name. @throws CliError when no resource or several have the name */
export async function resolveId(api: Profile, group: string, idOrName: string): Promise<string> {
  const list = LISTS[group];
  if (idOrName === '') throw new CliError(`The id or name for ${group} is empty`, EXIT.usage);
  if (list === undefined || UUID.test(idOrName)) return idOrName;
  const filter = list.hasFilter === true ? { filter: `name:"${idOrName.replace(/[\\"]/g, '\\$&')}"` } : {};
  const found: { id: string; name: string }[] = [];
  let pageToken: string | undefined;
  do {
    const page = await request(api, 'GET', list.path, { query: { pageSize: 1000, pageToken, ...filter } });
    const items = itemsOf(api, page, list.items) as typeof found;
    found.push(...items.filter(({ name }) => name === idOrName));
    pageToken = (page as { nextPageToken?: string }).nextPageToken;
  } while (pageToken !== undefined && pageToken !== '' && found.length <= 1);
  if (found.length === 1) return found[0]!.id;
  if (found.length === 0) throw new CliError(`There is nothing named ${cell(idOrName)} among ${group}`, EXIT.notFound);
  const ids = found.map(({ id }) => id).join(', ');
  throw new CliError(`Several ${group} are named ${cell(idOrName)}: ${ids}, …; give the id`, EXIT.usage);
}
