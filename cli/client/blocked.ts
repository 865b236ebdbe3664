import type { Schema } from '../../client/index.js';
import { BLOCKED_COLUMN } from './blockedColumn.js';
import { CliError, EXIT } from './exit.js';
import { column, type Column } from './output.js';
import type { Profile } from './profiles.js';
import { itemsOf, request } from './requests.js';
import { isFinalApiStatus } from './watch.js';

type Blocked = Schema<'Blocked'>;

/** A list whose items something may block, and the list of those that are blocked. */
export interface BlockedList {
  /** `GET /v1/<path>` answers items `{ <member>: …, blocked: … }`. */
  path: string;
  items: string;
  member: string;
  columns: Column[];
  /** Whether an item can be blocked, by its status. */
  canBlock: (status: string) => boolean;
}

const ENDED_RUNS = new Set(['COMPLETED', 'FAILED', 'STOPPED', 'DISCARDED'].map((each) => `RUN_STATUS_${each}`));

const REASON_COLUMNS = [BLOCKED_COLUMN, column('blocked.message', 'WHY'), column('blocked.remedy', 'WHAT TO DO')];

/** By the operation that lists all items. */
export const BLOCKED_LISTS: Readonly<Record<string, BlockedList>> = {
  ExecutionService_ListExecutions: {
    path: '/v1/executions/blocked',
    items: 'executions',
    member: 'execution',
    columns: [
      ...['execution.id', 'execution.name'].map((path) => column(path, path.slice(10).toUpperCase())),
      ...REASON_COLUMNS,
    ],
    canBlock: (status) => !isFinalApiStatus(status),
  },
  RunService_ListRuns: {
    path: '/v1/runs/blocked',
    items: 'runs',
    member: 'run',
    columns: [...['run.id', 'run.name'].map((path) => column(path, path.slice(4).toUpperCase())), ...REASON_COLUMNS],
    canBlock: (status) => !ENDED_RUNS.has(status),
  },
};

/** Everything that is blocked, by the ID. Empty where the API is older and cannot list it. */
async function loadBlocked(api: Profile, list: BlockedList): Promise<Map<string, Blocked>> {
  const found = new Map<string, Blocked>();
  let pageToken: string | undefined;
  try {
    do {
      const page = await request(api, 'GET', list.path, { query: { pageSize: 1000, pageToken } });
      for (const item of itemsOf(api, page, list.items) as Record<string, unknown>[])
        found.set((item[list.member] as { id: string }).id, item.blocked as Blocked);
      pageToken = (page as { nextPageToken?: string }).nextPageToken;
    } while (pageToken !== undefined && pageToken !== '');
  } catch (error) {
    if (!(error instanceof CliError) || error.exit !== EXIT.notFound) throw error;
  }
  return found;
}

/** Adds what blocks them to the items of a page. It asks the API once, and only if an item can be blocked. */
export function blockedMarker(api: Profile, list: BlockedList): (page: unknown[]) => Promise<unknown[]> {
  let loading: Promise<Map<string, Blocked>> | undefined;
  return async (page) => {
    const items = page as { id: string; status: string }[];
    if (!items.some(({ status }) => list.canBlock(status))) return page;
    const blocked = await (loading ??= loadBlocked(api, list));
    return items.map((item) => ({ ...item, blocked: blocked.get(item.id) }));
  };
}
