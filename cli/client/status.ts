import type { Command } from 'commander';
import { shellWord } from '../../domain/iam/formats/text.js';
import { describeBlocked } from './blockedColumn.js';
import { CliError, EXIT } from './exit.js';
import { addConnectionFlags, type Flags, parseWholeNumber } from './flags.js';
import { repeat } from './lists.js';
import { cell, type Column, column, listTable, print } from './output.js';
import { connectionOf, type Profile } from './profiles.js';
import { itemsOf, request } from './requests.js';

/** Most rows of one section. */
const MAX_ROWS = 10;
/** API keys that end within this time are shown. */
const EXPIRES_SOON_MS = 14 * 86_400_000;

type Item = Record<string, unknown> & { id: string; name: string; status: string };

/** A part of the API: its items, or why the caller does not see them. */
type Part = { items: Item[]; total: number } | { hidden: string };

/** What `polony status` shows; `--json` prints it. */
interface Status {
  url: string;
  ready: { ok: boolean; detail: string };
  /** Providers, connections and flows. */
  resources: Record<string, Part>;
  ignoredFolders: { storageConnection: string }[];
  blockedExecutions: Part;
  blockedRuns: Part;
  activeExecutions: Part;
  activeRuns: Part;
  /** Of the last 24 hours. */
  endedExecutions: Part;
  endedRuns: Part;
  webhooks: Part;
  apiKeys: Part;
}

const ACTIVE_RUNS = 'status:unspecified,created,priming,primed,sequencing,running,pausing,paused,stopping,sequenced';
const ACTIVE_EXECUTIONS = 'status:untriggered,initialized,pending,running';
const LAST_DAY = 'time_completed>=1d';

/** Loads the first thousand items of a list. A key that may not see them is no failure. @throws CliError */
async function load(api: Profile, path: string, items: string, filter?: string): Promise<Part> {
  const query = { pageSize: 1000, ...(filter !== undefined && { filter, includeTotalCount: true }) };
  try {
    const page = (await request(api, 'GET', path, { query })) as { totalCount?: number };
    const found = itemsOf(api, page, items) as Item[];
    return { items: found, total: page.totalCount ?? found.length };
  } catch (error) {
    if (error instanceof CliError && (error.exit === EXIT.denied || error.exit === EXIT.notFound))
      return { hidden: error.message };
    throw error;
  }
}

async function loadReady(api: Profile): Promise<Status['ready']> {
  try {
    const response = await fetch(`${api.url}/readyz`, { redirect: 'manual', signal: AbortSignal.timeout(10_000) });
    const { database, temporal } = (await response.json()) as Record<string, unknown>;
    return { ok: response.ok, detail: `database ${cell(database)}, Temporal ${cell(temporal)}` };
  } catch {
    return { ok: false, detail: 'it does not say whether it is ready' };
  }
}

/** The storage connections with folders that look like runs but are ignored. */
async function loadIgnored(api: Profile, storage: Part): Promise<Status['ignoredFolders']> {
  if ('hidden' in storage) return [];
  const found: Status['ignoredFolders'] = [];
  for (const { id, name } of storage.items.slice(0, MAX_ROWS)) {
    const ignored = await load(api, `/v1/storage-connections/${id}/ignored-folders`, 'ignoredFolders');
    if ('items' in ignored && ignored.items.length > 0) found.push({ storageConnection: name });
  }
  return found;
}

/** Adds to the first runs what their details say of the upload. */
async function addProgress(api: Profile, runs: Part): Promise<Part> {
  if ('hidden' in runs) return runs;
  const items: Item[] = [];
  for (const run of runs.items.slice(0, MAX_ROWS)) {
    const { details } = (await request(api, 'GET', '/v1/runs/{id}/details', { path: { id: run.id } })) as {
      details: unknown;
    };
    items.push({ ...run, details });
  }
  return { ...runs, items: [...items, ...runs.items.slice(MAX_ROWS)] };
}

/** The part without the items that do not match. */
function keep(part: Part, matches: (item: Item) => boolean): Part {
  if ('hidden' in part) return part;
  const items = part.items.filter(matches);
  return { items, total: items.length };
}

function expiresSoon({ state, timeExpires }: Item): boolean {
  return state === 'active' && Date.parse(String(timeExpires)) - Date.now() < EXPIRES_SOON_MS;
}

async function loadStatus(api: Profile): Promise<Status> {
  const storage = await load(api, '/v1/storage-connections', 'storageConnections');
  return {
    url: api.url,
    ready: await loadReady(api),
    resources: {
      providers: await load(api, '/v1/providers', 'providers'),
      storage,
      compute: await load(api, '/v1/compute-connections', 'computeConnections'),
      flows: await load(api, '/v1/flows', 'flows'),
    },
    ignoredFolders: await loadIgnored(api, storage),
    blockedExecutions: await load(api, '/v1/executions/blocked', 'executions', ''),
    blockedRuns: await load(api, '/v1/runs/blocked', 'runs', ''),
    activeExecutions: await load(api, '/v1/executions', 'executions', ACTIVE_EXECUTIONS),
    activeRuns: await addProgress(api, await load(api, '/v1/runs', 'runs', ACTIVE_RUNS)),
    endedExecutions: await load(api, '/v1/executions', 'executions', LAST_DAY),
    endedRuns: await load(api, '/v1/runs', 'runs', LAST_DAY),
    webhooks: keep(await load(api, '/v1/webhooks', 'webhooks'), ({ disabledReason }) => disabledReason !== null),
    apiKeys: keep(await load(api, '/v1/api-keys', 'apiKeys'), expiresSoon),
  };
}

const shortStatus = ({ status }: Item): string => cell(status);

/** Counts items by their status: `2 RUNNING, 1 PENDING`. */
function countByStatus(part: Part): string {
  if ('hidden' in part) return `not shown: ${cell(part.hidden)}`;
  if (part.total === 0) return 'none';
  const counts = new Map<string, number>();
  for (const item of part.items) counts.set(shortStatus(item), (counts.get(shortStatus(item)) ?? 0) + 1);
  const texts = [...counts].map(([status, count]) => `${count} ${status}`);
  return part.total > part.items.length ? `${part.total}: ${texts.join(', ')}, …` : texts.join(', ');
}

/** A table below a line of the summary; nothing without rows. */
function rowsOf(part: Part, columns: readonly Column[], matches: (item: Item) => boolean = () => true): string[] {
  if ('hidden' in part) return [];
  const rows = part.items.filter(matches);
  if (rows.length === 0) return [];
  const table = listTable(rows.slice(0, MAX_ROWS), columns, true);
  const more = rows.length > MAX_ROWS ? [`… and ${rows.length - MAX_ROWS} more`] : [];
  return [...table.split('\n'), ...more].map((line) => `    ${line}`);
}

function isUnhealthy(item: Item): boolean {
  return !['CONNECTED', 'UNSPECIFIED'].includes(shortStatus(item));
}

const BLOCKED = [
  column('blocked', 'SINCE', describeBlocked),
  column('blocked.message', 'WHY'),
  column('blocked.remedy', 'WHAT TO DO'),
];

/** What a person must do something about. */
function attention(status: Status): string[] {
  const { resources, blockedExecutions, blockedRuns, webhooks, apiKeys, ignoredFolders } = status;
  const bad = Object.entries(resources).flatMap(([group, part]) =>
    'hidden' in part
      ? []
      : part.items
          .filter(isUnhealthy)
          .map(
            (item) =>
              `  ${shortStatus(item).padEnd(9)}${group} ${cell(item.name)}: see polony ${group} verification ${shellWord(cell(item.name))}`,
          ),
  );
  return [
    ...bad,
    ...(status.ready.ok ? [] : [`  NOT READY  ${status.ready.detail}`]),
    ...titled('  Blocked executions', rowsOf(blockedExecutions, [column('execution.name', 'NAME'), ...BLOCKED])),
    ...titled('  Blocked runs', rowsOf(blockedRuns, [column('run.name', 'NAME'), ...BLOCKED])),
    ...titled(
      '  Failed in the last 24 hours',
      rowsOf(
        status.endedExecutions,
        ['id', 'name', 'statusDescription'].map((path) => column(path)),
        (item) => shortStatus(item) === 'FAILED',
      ),
    ),
    ...titled(
      '  Runs that failed or were stopped in the last 24 hours',
      rowsOf(
        status.endedRuns,
        ['id', 'name', 'status', 'description'].map((path) => column(path)),
        (item) => ['FAILED', 'STOPPED'].includes(shortStatus(item)),
      ),
    ),
    ...titled('  Webhooks that polony switched off', rowsOf(webhooks, [column('url'), column('disabledReason')])),
    ...titled('  API keys that end soon', rowsOf(apiKeys, [column('name'), column('timeExpires')])),
    ...ignoredFolders.map(
      ({ storageConnection }) =>
        `  ${cell(storageConnection)} has folders that look like runs but are ignored: ` +
        `see polony storage ignored ${shellWord(cell(storageConnection))}`,
    ),
  ];
}

function titled(title: string, rows: string[]): string[] {
  return rows.length === 0 ? [] : [title, ...rows];
}

function describeStatus(status: Status): string {
  const problems = attention(status);
  const resources = Object.entries(status.resources).map(([group, part]): [string, string] => [
    group.replace(/^./, (letter) => letter.toUpperCase()),
    countByStatus(part),
  ]);
  const summary: [string, string][] = [
    ['API', `${status.url}, ${status.ready.ok ? 'ready' : 'NOT READY'} (${status.ready.detail})`],
    ...resources,
    ['Runs in progress', countByStatus(status.activeRuns)],
    ['Executions in progress', countByStatus(status.activeExecutions)],
    ['Runs, last 24 hours', countByStatus(status.endedRuns)],
    ['Executions, last 24 hours', countByStatus(status.endedExecutions)],
  ];
  const width = Math.max(...summary.map(([name]) => name.length)) + 2;
  return [
    ...summary.map(([name, text]) => `${name.padEnd(width)}${text}`),
    '',
    problems.length === 0 ? 'Nothing needs attention.' : 'Needs attention:',
    ...problems,
    ...titled('\nIn progress', [
      ...rowsOf(status.activeRuns, [
        column('name', 'RUN'),
        column('status'),
        column('details.progress.cycles', 'CYCLE FILES'),
        column('details.progress.expectedCycles', 'OF'),
        column('details.progress.stalled', 'STALLED', (stalled) => (stalled === true ? 'yes' : '')),
        column('timeCreated'),
      ]),
      ...rowsOf(status.activeExecutions, [
        column('name', 'EXECUTION'),
        column('status'),
        column('statusDescription', 'DESCRIPTION'),
        column('timeCreated'),
      ]),
    ]),
  ].join('\n');
}

async function showStatus(flags: Flags & { watch?: number | true }): Promise<void> {
  const api = connectionOf(flags);
  const show = async (): Promise<void> => {
    const status = await loadStatus(api);
    print(flags.json === true, status, () => describeStatus(status));
  };
  return flags.watch === undefined ? show() : repeat(show, flags.watch);
}

/** Adds `polony status`. */
export function addStatusCommand(program: Command): void {
  addConnectionFlags(
    program
      .command('status')
      .description(
        'show on one screen whether polony works, what waits for a person, what is in progress, ' +
          'and what happened in the last 24 hours',
      )
      .option('--watch [seconds]', 'show it again every so many seconds; default: 5', parseWholeNumber),
  ).action(showStatus);
}
