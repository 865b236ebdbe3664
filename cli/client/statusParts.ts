import { CliError, EXIT, unreachable } from './exit.js';
import { searchIgnoredFolders } from './ignoredFolders.js';
import { cell } from './output.js';
import type { Profile } from './profiles.js';
import { itemsOf, request } from './requests.js';

/** Most rows of one section. */
export const MAX_ROWS = 10;
/** API keys that end within this time are shown. */
const EXPIRES_SOON_MS = 14 * 86_400_000;
/** How long the API may take to say whether it is ready, in milliseconds. Its own checks take up to three seconds. */
const READY_MS = 10_000;

export type Item = Record<string, unknown> & { id: string; name: string; status: string };

/** A part of the API: its items, why the caller may not see them, or why nobody can at the moment. */
export type Part = { items: Item[]; total: number } | { hidden: string } | { failed: string };

/** What `polony status` shows; `--json` prints it. */
export interface Status {
  url: string;
  ready: { ok: boolean; detail: string };
  /** Providers, connections and flows. */
  resources: Record<string, Part>;
  ignoredFolders: { storageConnection: string }[];
  /** Storage connections whose ignored folders are not known, and why. */
  notSearchedForIgnoredFolders: { storageConnection: string; reason: string }[];
  blockedExecutions: Part;
  blockedRuns: Part;
  activeExecutions: Part;
  activeRuns: Part;
  /** Of the last 24 hours. */
  endedExecutions: Part;
  endedRuns: Part;
  /** Webhooks that polony switched off. */
  webhooks: Part;
  /** The newest delivery that is retried, of each webhook that has one. */
  failingWebhooks: Part;
  apiKeys: Part;
}

const ACTIVE_RUNS = 'status:unspecified,created,priming,primed,sequencing,running,pausing,paused,stopping,sequenced';
const ACTIVE_EXECUTIONS = 'status:untriggered,initialized,pending,running';
const LAST_DAY = 'time_completed>=1d';

/** Whether the API cannot answer now, or not correctly: other parts may be known all the same. */
const isFailure = ({ exit }: CliError): boolean => exit === EXIT.unavailable || exit === EXIT.failed;

/** Whether the key is valid but may not see something. */
const isHidden = ({ exit, answer }: CliError): boolean =>
  exit === EXIT.notFound || (exit === EXIT.denied && answer?.reason === 'INSUFFICIENT_SCOPE');

/**
 * Loads the first thousand items of a list. That a key may not see them, or that the API cannot answer, is an answer.
 * @throws CliError for what no part of the status can do without, such as a valid key
 */
async function load(api: Profile, path: string, items: string, filter?: string): Promise<Part> {
  const query = { pageSize: 1000, ...(filter !== undefined && { filter, includeTotalCount: true }) };
  try {
    const page = (await request(api, 'GET', path, { query })) as { totalCount?: number };
    const found = itemsOf(api, page, items) as Item[];
    return { items: found, total: page.totalCount ?? found.length };
  } catch (error) {
    if (error instanceof CliError && isHidden(error)) return { hidden: error.message };
    if (error instanceof CliError && isFailure(error)) return { failed: error.message };
    throw error;
  }
}

/** Loads which part of polony works. @throws CliError where there is no API at the address */
async function loadReady(api: Profile): Promise<Status['ready']> {
  try {
    const response = await fetch(`${api.url}/readyz`, { redirect: 'manual', signal: AbortSignal.timeout(READY_MS) });
    const { database, temporal } = (await response.json()) as Record<string, unknown>;
    return { ok: response.ok, detail: `database ${cell(database)}, Temporal ${cell(temporal)}` };
  } catch (error) {
    const failure = unreachable(api.url, error);
    if (failure instanceof CliError) throw failure;
    return { ok: false, detail: 'it does not say whether it is ready' };
  }
}

/** Adds what the details of an item say, where they can be read. */
async function withDetails(api: Profile, path: string, item: Item): Promise<Item> {
  try {
    const answer = await request(api, 'GET', path, { path: { id: item.id } });
    return { ...item, details: (answer as { details: unknown }).details };
  } catch (error) {
    if (error instanceof CliError) return item;
    throw error;
  }
}

/** Adds to the first runs what their details say of the upload. */
async function loadActiveRuns(api: Profile): Promise<Part> {
  const runs = await load(api, '/v1/runs', 'runs', ACTIVE_RUNS);
  if (!('items' in runs)) return runs;
  const first = runs.items.slice(0, MAX_ROWS).map((run) => withDetails(api, '/v1/runs/{id}/details', run));
  return { ...runs, items: [...(await Promise.all(first)), ...runs.items.slice(MAX_ROWS)] };
}

/** Whether a provider, a connection or a flow needs a repair. */
export function isUnhealthy({ status }: Item): boolean {
  return !['CONNECTED', 'UNSPECIFIED'].includes(cell(status));
}

/** The list of storage connections has no description of the status; their details have it. */
async function loadStorage(api: Profile): Promise<Part> {
  const storage = await load(api, '/v1/storage-connections', 'storageConnections');
  if (!('items' in storage)) return storage;
  const items = storage.items.map((item) =>
    isUnhealthy(item) ? withDetails(api, '/v1/storage-connections/{id}/details', item) : Promise.resolve(item),
  );
  return { ...storage, items: await Promise.all(items) };
}

/** Loads a list without the items that do not match. */
async function loadOnly(api: Profile, path: string, items: string, matches: (item: Item) => boolean): Promise<Part> {
  const part = await load(api, path, items);
  if (!('items' in part)) return part;
  const found = part.items.filter(matches);
  return { items: found, total: found.length };
}

/** Loads the first webhooks whose receiver refuses events now, each with its newest delivery. */
async function loadFailingWebhooks(api: Profile): Promise<Part> {
  const webhooks = await loadOnly(api, '/v1/webhooks', 'webhooks', ({ enabled }) => enabled === true);
  if (!('items' in webhooks)) return webhooks;
  const found = await Promise.all(
    webhooks.items.slice(0, MAX_ROWS).map(async (webhook): Promise<Item[]> => {
      const options = { path: { id: webhook.id }, query: { state: 'retrying', pageSize: 1 } };
      try {
        const page = await request(api, 'GET', '/v1/webhooks/{id}/deliveries', options);
        return (itemsOf(api, page, 'deliveries') as object[]).map((delivery) => ({ ...webhook, delivery }));
      } catch (error) {
        if (error instanceof CliError) return [];
        throw error;
      }
    }),
  );
  return { items: found.flat(), total: found.flat().length };
}

function expiresSoon({ state, timeExpires }: Item): boolean {
  return state === 'active' && Date.parse(String(timeExpires)) - Date.now() < EXPIRES_SOON_MS;
}

async function loadResources(api: Profile): Promise<Record<'providers' | 'storage' | 'compute' | 'flows', Part>> {
  const [providers, storage, compute, flows] = await Promise.all([
    load(api, '/v1/providers', 'providers'),
    loadStorage(api),
    load(api, '/v1/compute-connections', 'computeConnections'),
    load(api, '/v1/flows', 'flows'),
  ]);
  return { providers, storage, compute, flows };
}

type RunsAndExecutions = Pick<
  Status,
  'blockedExecutions' | 'blockedRuns' | 'activeExecutions' | 'activeRuns' | 'endedExecutions' | 'endedRuns'
>;

async function loadRunsAndExecutions(api: Profile): Promise<RunsAndExecutions> {
  const [blockedExecutions, blockedRuns, activeExecutions, activeRuns, endedExecutions, endedRuns] = await Promise.all([
    load(api, '/v1/executions/blocked', 'executions', ''),
    load(api, '/v1/runs/blocked', 'runs', ''),
    load(api, '/v1/executions', 'executions', ACTIVE_EXECUTIONS),
    loadActiveRuns(api),
    load(api, '/v1/executions', 'executions', LAST_DAY),
    load(api, '/v1/runs', 'runs', LAST_DAY),
  ]);
  return { blockedExecutions, blockedRuns, activeExecutions, activeRuns, endedExecutions, endedRuns };
}

/** Loads what is known of polony, whichever part of it fails. @throws CliError where nothing can be known */
export async function loadStatus(api: Profile): Promise<Status> {
  const ready = await loadReady(api);
  const [resources, runsAndExecutions, webhooks, failingWebhooks, apiKeys] = await Promise.all([
    loadResources(api),
    loadRunsAndExecutions(api),
    loadOnly(api, '/v1/webhooks', 'webhooks', ({ disabledReason }) => disabledReason !== null),
    loadFailingWebhooks(api),
    loadOnly(api, '/v1/api-keys', 'apiKeys', expiresSoon),
  ]);
  const { storage } = resources;
  const ignored = await searchIgnoredFolders(api, 'items' in storage ? storage.items : []);
  return {
    url: api.url,
    ready,
    resources,
    ignoredFolders: ignored.found,
    notSearchedForIgnoredFolders: ignored.notSearched,
    ...runsAndExecutions,
    webhooks,
    failingWebhooks,
    apiKeys,
  };
}

/** Why a part is not known that the API could not tell; undefined where there is none. */
export function findFailure({ resources, ...others }: Status): string | undefined {
  for (const part of [...Object.values(resources), ...Object.values(others)])
    if (typeof part === 'object' && 'failed' in part) return part.failed;
  return undefined;
}
