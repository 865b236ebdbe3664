import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { CompiledQuery, Kysely } from 'kysely';
import pg from 'pg';
import { encodePageToken, filteredList } from '../../api/paging.js';
import { EXECUTION_FILTER, EXECUTION_ORDER } from '../../domain/executions/filter.js';
import { parseOrder } from '../../domain/filters/order.js';
import { parseFilter } from '../../domain/filters/parse.js';
import { RUN_FILTER, RUN_ORDER } from '../../domain/runs/filter.js';
import { listExecutions } from '../../store/executions/list.js';
import type { Slice } from '../../store/paging.js';
import { listRuns } from '../../store/runs/list.js';
import type { Database } from '../../store/schema.js';
import { insertManyRuns, sampleFilters } from '../../test/manyRuns.js';
import { median, type Report } from '../report.js';
import type { BareMessage } from './bareMessages.js';
import { BenchServer } from './server.js';

/** Rows of each list. */
const ROWS = 1_000_000;
/** Items on a page, as by default. */
const PAGE = 100;
/** How many requests are under way at the same time. */
const AT_ONCE = 4;
/** A measurement takes about so long, in milliseconds, and has so many requests at least. */
const MEASURED_MS = 60;
const LEAST_REQUESTS = 12;
/** Requests of each side before the first measurement. V8 compiles what runs often only after thousands of them. */
const WARM_UP = { pages: 150, found: 2000 };
/** Measurements of each side; more for a page that would decide a row, so that chance decides nothing. */
const ROUNDS = 3;
const MORE_ROUNDS = 15;
const REACH = 0.7;
/** After so many milliseconds, no more is measured. */
const MOST_MS = 60_000;

type What = 'runs' | 'executions';

/** A page of a list, on both sides. */
interface Page {
  what: What;
  name: string;
  group: 'first page' | 'middle page' | 'last page' | 'filter' | 'order';
  /** At the API. */
  path: string;
  /** The same page of an order at its beginning. */
  first?: Page;
  /** The statements of the API, which the bare server executes. */
  queries: CompiledQuery[];
}

/** The rows of lists: pages at the beginning, in the middle and at the end, every filter word, every sort column. */
export async function lists(report: Report): Promise<void> {
  const server = await BenchServer.start();
  try {
    await measureLists(report, server);
  } finally {
    await server.stop();
  }
}

async function measureLists(report: Report, server: BenchServer): Promise<void> {
  report.say(`  ${ROWS.toLocaleString('en')} runs and as many executions`);
  await server.startApi();
  const settled = server.untilSettled();
  await insertManyRuns(server.ownerUrl, ROWS);
  await settled;
  const executed: CompiledQuery[] = [];
  const db = server.open(({ query }) => executed.push(query));
  const bare = await Bare.start(server.databaseUrl);
  try {
    const pages = await preparePages(server, db, executed);
    await bare.tell(pages.map(({ queries }) => queries.map(({ sql, parameters }) => ({ sql, parameters }))));
    const ends = performance.now() + MOST_MS;
    const api = new Client(server.apiUrl, { 'x-api-key': server.apiKey });
    const other = new Client(bare.url, {});
    const empty = pages.findIndex(({ name }) => name === 'metrics.multiomics.total_percent_assigned>40');
    for (const [at, count] of [
      [0, WARM_UP.pages],
      [empty, WARM_UP.found],
    ] as const) {
      await api.perSecond(pages[at]!.path, count);
      await other.perSecond(`/${at}`, count);
    }
    const measured = new Map<Page, { api: number[]; bare: number[] }>(
      pages.map((page) => [page, { api: [], bare: [] }]),
    );
    const ratioOf = (page: Page): number => median(measured.get(page)!.api) / median(measured.get(page)!.bare);
    for (let round = 0; round < MORE_ROUNDS && performance.now() < ends; round++)
      for (const [at, page] of pages.entries()) {
        if (round >= ROUNDS && ratioOf(page) >= REACH + 0.1) continue;
        const found = measured.get(page)!;
        found.api.push(await api.perSecond(page.path));
        found.bare.push(await other.perSecond(`/${at}`));
      }
    addRows(report, pages, measured, ratioOf);
    await addLastPages(report, api, pages);
    api.close();
    other.close();
  } finally {
    bare.stop();
    await db.destroy();
  }
}

function addRows(
  report: Report,
  pages: readonly Page[],
  measured: ReadonlyMap<Page, { api: number[]; bare: number[] }>,
  ratioOf: (page: Page) => number,
): void {
  for (const what of ['runs', 'executions'] as const)
    for (const group of ['first page', 'middle page', 'last page', 'filter', 'order'] as const) {
      const those = pages.filter((page) => page.what === what && page.group === group);
      const ratios = those.map(ratioOf);
      // The row of several pages is that of the slowest.
      const slowest = those[ratios.indexOf(Math.min(...ratios))]!;
      const { api, bare } = measured.get(slowest)!;
      const several = those.length === 1 ? '' : `, the slowest of ${those.length} (${slowest.name})`;
      report.row({
        name: `${what} of 1,000,000: ${those.length === 1 ? group : `each ${group}`}${several}`,
        unit: 'requests/s',
        value: median(api),
        against: median(bare),
        of: 'the same SQL through bare Fastify',
        ratio: ratioOf(slowest),
        reach: `at least ${REACH}`,
        met: ratioOf(slowest) >= REACH,
      });
      if (those.length > 1)
        report.note(`${what}, each ${group}: the median of the ratios is ${median(ratios).toPrecision(3)}`);
    }
}

/** Compares the last page of each order with the first. */
async function addLastPages(report: Report, api: Client, pages: readonly Page[]): Promise<void> {
  for (const what of ['runs', 'executions'] as const) {
    const those = pages.filter((page) => page.what === what && page.first !== undefined);
    const ratios: { name: string; last: number; first: number }[] = [];
    for (const { name, path, first } of those) {
      const rates: [number, number][] = [];
      for (let round = 0; round < 3; round++) rates.push([await api.perSecond(path), await api.perSecond(first!.path)]);
      ratios.push({ name, last: median(rates.map(([last]) => last)), first: median(rates.map(([, rate]) => rate)) });
    }
    const slowest = ratios.reduce((one, next) => (next.last / next.first < one.last / one.first ? next : one));
    report.row({
      name: `${what} of 1,000,000: the last page, in the slowest of ${ratios.length} orders (${slowest.name})`,
      unit: 'requests/s',
      value: slowest.last,
      against: slowest.first,
      of: 'the first page',
      ratio: slowest.last / slowest.first,
      reach: 'at least 0.8',
      met: slowest.last / slowest.first >= 0.8,
    });
  }
}

/** All pages that are measured, with the statements of each. */
async function preparePages(server: BenchServer, db: Kysely<Database>, executed: CompiledQuery[]): Promise<Page[]> {
  const owner = new pg.Client({ connectionString: server.ownerUrl });
  await owner.connect();
  const pages: Page[] = [];
  const now = new Date();
  const add = async (
    what: What,
    group: Page['group'],
    name: string,
    { filter = '', orderBy = '', slice = { limit: PAGE + 1 } }: { filter?: string; orderBy?: string; slice?: Slice },
    first?: Page,
  ): Promise<Page> => {
    executed.length = 0;
    if (what === 'runs') {
      const order = parseOrder(orderBy, RUN_ORDER);
      await listRuns(db, slice, { order, filter: parseFilter(filter, RUN_FILTER, now) });
    } else {
      const order = parseOrder(orderBy, EXECUTION_ORDER);
      await listExecutions(db, slice, { order, filter: parseFilter(filter, EXECUTION_FILTER, now) });
    }
    const query = new URLSearchParams({
      ...(filter !== '' && { filter }),
      ...(orderBy !== '' && { orderBy }),
      ...(slice.after !== undefined && {
        pageToken: encodePageToken(filteredList(what, orderBy === '' ? {} : { orderBy }), {
          direction: 'after',
          id: slice.after,
          ...(slice.key !== undefined && { key: slice.key }),
        }),
      }),
    });
    const page = {
      what,
      group,
      name,
      path: `/v1/${what}?${query.toString()}`,
      queries: [...executed],
      ...(first && { first }),
    };
    pages.push(page);
    return page;
  };
  try {
    for (const what of ['runs', 'executions'] as const) {
      const fields = what === 'runs' ? RUN_FILTER : EXECUTION_FILTER;
      const order = what === 'runs' ? RUN_ORDER : EXECUTION_ORDER;
      const first = await add(what, 'first page', '', {});
      for (const [group, offset] of [
        ['middle page', ROWS / 2],
        ['last page', ROWS - PAGE - 1],
      ] as const) {
        const { rows } = await owner.query<{ id: string }>(
          `select id from ${what} order by id desc offset ${offset} limit 1`,
        );
        const slice = { limit: PAGE + 1, after: rows[0]!.id };
        await add(what, group, group, { slice }, group === 'last page' ? first : undefined);
      }
      for (const filter of sampleFilters(fields)) await add(what, 'filter', filter, { filter });
      for (const keyword of Object.keys(order)) {
        const begin = await add(what, 'order', `${keyword}, first page`, { orderBy: keyword });
        // The other direction begins where this one ends.
        const options = { order: { keyword: keyword as never, descending: true } };
        const end: { id: string; sortKey?: string }[] =
          what === 'runs'
            ? await listRuns(db, { limit: PAGE + 1 }, options)
            : await listExecutions(db, { limit: PAGE + 1 }, options);
        const { id: after, sortKey: key } = end.at(-1)!;
        const slice = { limit: PAGE + 1, after, ...(key !== undefined && { key }) };
        await add(what, 'order', `${keyword}, last page`, { orderBy: keyword, slice }, begin);
      }
    }
  } finally {
    await owner.end();
  }
  return pages;
}

/** Sends requests over connections that stay open. */
class Client {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });

  constructor(
    private readonly base: string,
    private readonly headers: Record<string, string>,
  ) {}

  /**
   * How many requests are answered in a second.
   * @param count so many are sent; by default, more where they are fast
   * @throws Error for an answer that is an error
   */
  async perSecond(path: string, count?: number): Promise<number> {
    let [sent, answered] = [0, 0];
    const began = performance.now();
    const isEnough = (): boolean =>
      count === undefined ? sent >= LEAST_REQUESTS && performance.now() - began >= MEASURED_MS : sent >= count;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (!isEnough()) {
          sent++;
          await this.#get(path);
          answered++;
        }
      }),
    );
    return (answered * 1000) / (performance.now() - began);
  }

  #get(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const sent = request(`${this.base}${path}`, { agent: this.#agent, headers: this.headers }, (response) => {
        response.on('error', reject);
        response.on('end', () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`${path} answered ${response.statusCode}`)),
        );
        response.resume();
      });
      sent.on('error', reject);
      sent.end();
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** The bare server, in a process of its own. */
class Bare {
  private constructor(
    private readonly child: ReturnType<typeof fork>,
    readonly url: string,
  ) {}

  static async start(databaseUrl: string): Promise<Bare> {
    const file = fileURLToPath(new URL('./bare.ts', import.meta.url));
    const child = fork(file, [databaseUrl], { execArgv: ['--import', 'tsx'] });
    const [{ url }] = (await once(child, 'message')) as [{ url: string }];
    return new Bare(child, url);
  }

  /** Says what it answers `/0`, `/1`, … with. */
  async tell(routes: BareMessage['routes']): Promise<void> {
    this.child.send({ routes } satisfies BareMessage);
    await once(this.child, 'message');
  }

  stop(): void {
    this.child.disconnect();
  }
}
