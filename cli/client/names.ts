import { CliError, EXIT } from './exit.js';
import { cell } from './output.js';
import type { Profile } from './profiles.js';
import { itemsOf, request } from './requests.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Where to find a resource by its name. */
interface NamedList {
  path: string;
  items: string;
  /** What one of them is called in messages. */
  noun: string;
  /** Whether the API can search by name. */
  hasFilter?: boolean;
  /** The member that names one; `name` without it. */
  name?: string;
  /** Whether a text can be a name at all. */
  isName?: (text: string) => boolean;
}

/** By the group of commands. */
const LISTS: Readonly<Record<string, NamedList>> = {
  providers: { path: '/v1/providers', items: 'providers', noun: 'provider' },
  storage: { path: '/v1/storage-connections', items: 'storageConnections', noun: 'storage connection' },
  compute: { path: '/v1/compute-connections', items: 'computeConnections', noun: 'compute connection' },
  flows: { path: '/v1/flows', items: 'flows', noun: 'flow' },
  runs: { path: '/v1/runs', items: 'runs', noun: 'run', hasFilter: true },
  executions: { path: '/v1/executions', items: 'executions', noun: 'execution', hasFilter: true },
  keys: { path: '/v1/api-keys', items: 'apiKeys', noun: 'API key' },
  webhooks: {
    path: '/v1/webhooks',
    items: 'webhooks',
    noun: 'webhook',
    name: 'url',
    isName: (text) => /^https?:\/\//i.test(text),
  },
};

/** What a resource of a group is called; undefined where the group has no names. */
export function nounOf(group: string): string | undefined {
  return LISTS[group]?.noun;
}

/** Whether a text has the form of an ID of polony. */
function isId(text: string): boolean {
  return UUID.test(text);
}

interface NamedItem {
  id: string;
  state?: string;
}

/** The resources of a list with this name: all, or at least two. Revoked API keys count only where no other has it. */
async function findNamed(api: Profile, list: NamedList, name: string): Promise<NamedItem[]> {
  const filter = list.hasFilter === true ? { filter: `name:"${name.replace(/[\\"]/g, '\\$&')}"` } : {};
  const found: NamedItem[] = [];
  let pageToken: string | undefined;
  do {
    const page = await request(api, 'GET', list.path, { query: { pageSize: 1000, pageToken, ...filter } });
    const items = itemsOf(api, page, list.items) as (NamedItem & Record<string, unknown>)[];
    found.push(...items.filter((item) => item[list.name ?? 'name'] === name));
    pageToken = (page as { nextPageToken?: string }).nextPageToken;
  } while (pageToken !== undefined && pageToken !== '' && (found.length <= 1 || list.items === 'apiKeys'));
  const active = found.filter(({ state }) => state === 'active');
  return active.length > 0 ? active : found;
}

/**
 * The ID of a resource that is given by its ID or name.
 * @param group the group of commands
 * @throws CliError when no resource or several have the name
 */
export async function resolveId(api: Profile, group: string, idOrName: string): Promise<string> {
  const list = LISTS[group];
  if (['', '.', '..'].includes(idOrName))
    throw new CliError(`The ID or name for ${group} must not be ${idOrName || 'empty'}`, EXIT.usage);
  if (group === 'instruments') return resolveInstrument(api, idOrName);
  if (list === undefined || isId(idOrName) || list.isName?.(idOrName) === false) return idOrName;
  const found = await findNamed(api, list, idOrName);
  if (found.length === 1) return found[0]!.id;
  if (found.length === 0)
    throw new CliError(`There is no ${list.noun} named ${cell(idOrName)}. See polony ${group} list`, EXIT.notFound);
  const ids = found.map(({ id }) => id).join(', ');
  throw new CliError(`Several ${group} are named ${cell(idOrName)}: ${ids}. Give the ID of one`, EXIT.usage);
}

/** The serial number of an instrument that is given by it or by its name. What names nothing stays as it is. */
async function resolveInstrument(api: Profile, serialOrName: string): Promise<string> {
  const answer = await request(api, 'GET', '/v1/instruments', { query: { pageSize: 1000 } });
  const all = itemsOf(api, answer, 'instruments') as { serialNumber: string; name: string }[];
  if (all.some(({ serialNumber }) => serialNumber === serialOrName)) return serialOrName;
  const found = all.filter(({ name }) => name === serialOrName);
  return found.length === 1 ? found[0]!.serialNumber : serialOrName;
}

/** The ID of an access grant that is given by its ID or by the principal that it is for. @throws CliError */
export async function resolveGrant(api: Profile, storageId: string, idOrPrincipal: string): Promise<string> {
  if (isId(idOrPrincipal) || !/^arn:|^\d{12}$/.test(idOrPrincipal)) return idOrPrincipal;
  const path = '/v1/storage-connections/{id}/access-grants';
  const answer = await request(api, 'GET', path, { path: { id: storageId }, query: { pageSize: 1000 } });
  const grants = itemsOf(api, answer, 'accessGrants') as { id: string; principal: string }[];
  const principals = [idOrPrincipal, `:iam::${idOrPrincipal}:root`];
  const found = grants.filter(
    ({ principal }) => principal === principals[0] || principal.endsWith(principals[1] as string),
  );
  if (found.length === 1) return found[0]!.id;
  if (found.length === 0)
    throw new CliError(`There is no grant for ${cell(idOrPrincipal)}. See polony storage grants`, EXIT.notFound);
  const ids = found.map(({ id }) => id).join(', ');
  throw new CliError(`Several grants are for ${cell(idOrPrincipal)}: ${ids}. Give the ID of one`, EXIT.usage);
}

/** The ID of the caller that an audit entry names: of an API key by its name; other texts stay as they are. */
export async function resolveCaller(api: Profile, idOrName: string): Promise<string> {
  if (isId(idOrName)) return idOrName;
  const found = await findNamed(api, LISTS.keys!, idOrName).catch(nothingIfDenied);
  return found.length === 1 ? found[0]!.id : idOrName;
}

/**
 * The ID of any resource that is given by its ID or name. Texts that name nothing stay as they are: a serial number, or
 * the ID of a resource that no longer exists.
 * @throws CliError when several resources have the name
 */
export async function resolveAny(api: Profile, idOrName: string): Promise<string> {
  if (isId(idOrName)) return idOrName;
  const found: string[] = [];
  for (const [group, list] of Object.entries(LISTS)) {
    if (list.isName?.(idOrName) === false) continue;
    const items = await findNamed(api, list, idOrName).catch(nothingIfDenied);
    found.push(...items.map(({ id }) => `${group} ${id}`));
  }
  if (found.length > 1)
    throw new CliError(`Several resources are named ${cell(idOrName)}: ${found.join(', ')}. Give an ID`, EXIT.usage);
  return found[0]?.split(' ')[1] ?? idOrName;
}

function nothingIfDenied(error: unknown): NamedItem[] {
  if (error instanceof CliError && error.exit === EXIT.denied) return [];
  throw error;
}

/**
 * Writes the ID into a scope that names a resource, such as `storage:upload:aviti runs/AV240001/`. A scope of another
 * form stays as it is: the API says what is wrong with it.
 * @throws CliError `usage` when a scope names nothing
 */
export async function resolveScope(api: Profile, scope: string): Promise<string> {
  const [, resource = '', action = '', rest] = /^([a-z]+):([a-z]+|\*):(.+)$/s.exec(scope) ?? [];
  if (rest === undefined || LISTS[resource] === undefined || resource === 'keys') return scope;
  const write = (id: string, prefix: string): string => `${resource}:${action}:${id}${prefix}`;
  // A name may have slashes too, so the longest name that exists counts.
  const ends = resource === 'storage' ? [rest.length, ...slashesOf(rest)] : [rest.length];
  if (ends.some((end) => isId(rest.slice(0, end)))) return scope;
  for (const end of ends) {
    const found = await findNamed(api, LISTS[resource], rest.slice(0, end));
    if (found.length === 1) return write(found[0]!.id, rest.slice(end));
    if (found.length > 1) await resolveId(api, resource, rest.slice(0, end)).catch(asUsageError);
  }
  const { noun } = LISTS[resource];
  throw new CliError(
    `The scope ${cell(scope)} would allow nothing: there is no ${noun} with this ID or name. ` +
      `See polony ${resource} list`,
    EXIT.usage,
  );
}

function slashesOf(text: string): number[] {
  const found: number[] = [];
  for (let at = text.lastIndexOf('/'); at > 0; at = text.lastIndexOf('/', at - 1)) found.push(at);
  return found;
}

function asUsageError(error: unknown): never {
  throw error instanceof CliError ? new CliError(error.message, EXIT.usage) : error;
}
