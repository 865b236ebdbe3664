import { CliError, EXIT } from './exit.js';
import type { Operation, ResourceCommand } from './operations.js';
import { type Column, jsonText, listTable, write } from './output.js';
import type { Profile } from './profiles.js';
import { itemsOf, request } from './requests.js';

/** A list that a command shows. */
export interface ListRequest {
  api: Profile;
  /** The path of the operation, such as `/v1/runs/{id}/files`. */
  operationPath: string;
  /** Name of the items in the answer. */
  items: string;
  columns: readonly Column[];
  /** Changes the items of a page before a table shows them. */
  completeRows?: (page: unknown[]) => Promise<unknown[]>;
  path: Record<string, string>;
  query: Record<string, unknown>;
  /** Most items that it shows; `Infinity` for all. */
  maxItems: number;
}

/** Longest interval of --watch in seconds: a Node.js timer takes at most 24 days. */
const MAX_WATCH_SECONDS = 86_400;
const DEFAULT_WATCH_SECONDS = 5;
const CLEAR_SCREEN = '\u001b[2J\u001b[H';

/** Names of the items in answers that do not follow from the operation's id. */
const ITEM_NAMES: Readonly<Record<string, string>> = {
  AuditService_ListAuditLog: 'entries',
  InstrumentService_ListInstrumentStorageConnections: 'storageConnections',
  WebhookService_ListDeliveries: 'deliveries',
};

/** The name of the items in the answer of a list. */
export function itemsName({ operationId }: Operation, { items }: ResourceCommand): string {
  const fromId = operationId.replace(/^.*_List/, '').replace(/^./, (letter) => letter.toLowerCase());
  return items ?? ITEM_NAMES[operationId] ?? fromId;
}

/** Yields the items of all pages, page by page. */
async function* readPages(list: ListRequest): AsyncGenerator<unknown[]> {
  const { api, path, query } = list;
  let left = list.maxItems;
  let pageToken: string | undefined;
  while (left > 0) {
    const answer = (await request(api, 'GET', list.operationPath, {
      path,
      query: { ...query, ...(pageToken !== undefined && { pageToken }) },
    })) as Record<string, unknown>;
    const items = itemsOf(api, answer, list.items).slice(0, left);
    left -= items.length;
    // A listing that is not recursive shows folders before the files of its page.
    const folders = ((answer.subdirectories as string[] | undefined) ?? []).map((path) => ({ path }));
    yield [...folders, ...items];
    pageToken = answer.nextPageToken as string | undefined;
    if (pageToken !== undefined && pageToken !== '') continue;
    if (answer.isTruncated === true) process.stderr.write('The API does not list all items.\n');
    return;
  }
}

/** Prints a list as a table, page by page. */
async function printTable(list: ListRequest, hasHeadings: boolean): Promise<void> {
  let isFirst = true;
  for await (const page of readPages(list)) {
    const rows = (await list.completeRows?.(page)) ?? page;
    const table = listTable(rows, list.columns, isFirst && hasHeadings);
    if ((isFirst || page.length > 0) && table !== '') await write(`${table}\n`);
    isFirst = false;
  }
}

/** Prints a list as a JSON array, page by page: a bucket can have more files than fit in memory. */
async function printJson(list: ListRequest): Promise<void> {
  let separator = '[\n';
  for await (const page of readPages(list)) {
    for (const item of page) {
      await write(`${separator}${jsonText(item)}`);
      separator = ',\n';
    }
  }
  await write(separator === '[\n' ? '[]\n' : '\n]\n');
}

/** Prints a list once. */
export async function printList(list: ListRequest, { asJson, hasHeadings }: ListFormat): Promise<void> {
  return asJson ? printJson(list) : printTable(list, hasHeadings);
}

/** How to print a list. */
export interface ListFormat {
  asJson: boolean;
  hasHeadings: boolean;
}

/** Prints something again and again. @param interval in seconds; `true` for the default */
export async function repeat(show: () => Promise<void>, interval: number | true): Promise<never> {
  const seconds = interval === true ? DEFAULT_WATCH_SECONDS : Math.min(MAX_WATCH_SECONDS, Math.max(1, interval));
  for (let isFirst = true; ; isFirst = false) {
    if (process.stdout.isTTY) process.stdout.write(CLEAR_SCREEN);
    try {
      await show();
    } catch (error) {
      // An API that restarts must not end what somebody watches.
      if (isFirst || !(error instanceof CliError) || error.exit !== EXIT.unavailable) throw error;
      process.stderr.write(`${error.message}\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}
