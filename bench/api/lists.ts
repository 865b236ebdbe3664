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
/** One on each connection. */
const LEAST_REQUESTS = AT_ONCE;
/** Requests of each side before the first measurement. V8 compiles what runs often only after thousands of them. */
const WARM_UP = { pages: 150, found: 2000 };
/** So many of the slowest pages of a row are measured more often, since the slowest of many is so by chance otherwise. */
const SLOWEST = 3;
/** Short ones, since the speed of a machine drifts within seconds. */
const MORE_ROUNDS = 13;
const REACH = 0.7;
/** After so many milliseconds, no more is measured. */
const MOST_MS = 62_000;

const GROUPS = ['first page', 'middle page', 'last page', 'filter', 'order'] as const;

type What = 'runs' | 'executions';

/** A page of a list, on both sides. */
interface Page {
  what: What;
  name: string;
  group: (typeof GROUPS)[number];
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
      await api.measure(pages[at]!.path, 0, count);
      await other.measure(`/${at}`, 0, count);
    }
    const value: MeasurePage = ({ path }, ms) => api.measure(path, ms);
    const against: MeasurePage = (page, ms) => other.measure(`/${pages.indexOf(page)}`, ms);
    for (const those of rowsOf(pages)) addRow(report, await compare(those, value, against, ends));
    await addLastPages(report, api, pages, performance.now() + MOST_MS / 3);
    api.close();
    other.close();
  } finally {
    bare.stop();
    await db.destroy();
  }
}

/** Requests that were answered, and the milliseconds that it took. */
interface Answered {
  requests: number;
  milliseconds: number;
}

/** Requests a page for so many milliseconds. */
type MeasurePage = (page: Page, milliseconds: number) => Promise<Answered>;

const perSecond = ({ requests, milliseconds }: Answered): number => (requests * 1000) / milliseconds;

/** Both sides of a page, measured one after the other, in requests a second. */
interface Round {
  value: number;
  against: number;
}

/** Requests of both sides, measured alternately. */
class Rates {
  readonly #rounds: Round[] = [];

  constructor(readonly page: Page) {}

  async add(value: MeasurePage, against: MeasurePage): Promise<void> {
    this.#rounds.push({
      value: perSecond(await value(this.page, MEASURED_MS)),
      against: perSecond(await against(this.page, MEASURED_MS)),
    });
  }

  /** The round in the middle: what else the machine does hits some rounds only. */
  get median(): Round {
    const sorted = [...this.#rounds].sort((one, next) => one.value / one.against - next.value / next.against);
    return sorted[Math.floor(sorted.length / 2)]!;
  }

  get ratio(): number {
    const { value, against } = this.median;
    return value / against;
  }
}

/**
 * Compares pages, those that seem the slowest for longer.
 * @param ends when no more is measured, as of `performance.now()`
 * @returns the slowest first, of those that were measured for long enough to tell
 */
async function compare(
  pages: readonly Page[],
  value: MeasurePage,
  against: MeasurePage,
  ends: number,
): Promise<Rates[]> {
  const all = pages.map((page) => new Rates(page));
  const sort = (those: Rates[]): Rates[] => those.sort((one, next) => one.ratio - next.ratio);
  for (const rates of all) await rates.add(value, against);
  // The others are not the slowest.
  for (const rates of sort(all).slice(0, Math.ceil(all.length / 2)))
    if (performance.now() < ends) await rates.add(value, against);
  // What was measured for a moment only does not count any more.
  const slowest = sort(all)
    .slice(0, SLOWEST)
    .map(({ page }) => new Rates(page));
  for (let round = 0; round < MORE_ROUNDS; round++)
    for (const rates of slowest) if (round === 0 || performance.now() < ends) await rates.add(value, against);
  return [...sort(slowest), ...all.slice(SLOWEST)];
}

/** The pages of each row. */
function rowsOf(pages: readonly Page[]): Page[][] {
  return (['runs', 'executions'] as const).flatMap((what) =>
    GROUPS.map((group) => pages.filter((page) => page.what === what && page.group === group)),
  );
}

/** The row of several pages is that of the slowest, which is the first. */
function addRow(report: Report, rates: readonly Rates[]): void {
  const [slowest] = rates as [Rates];
  const { what, group, name } = slowest.page;
  const isAlone = rates.length === 1;
  report.row({
    name: `${what} of 1,000,000: ${isAlone ? group : `each ${group}, the slowest of ${rates.length} (${name})`}`,
    unit: 'requests/s',
    ...slowest.median,
    of: 'the same SQL through bare Fastify',
    ratio: slowest.ratio,
    reach: `at least ${REACH}`,
    met: slowest.ratio >= REACH,
  });
  if (!isAlone)
    report.note(
      `${what}, each ${group}: the median of the ratios is ${median(rates.map(({ ratio }) => ratio)).toPrecision(3)}`,
    );
}

/** Compares the last page of each order with the first. */
async function addLastPages(report: Report, api: Client, pages: readonly Page[], ends: number): Promise<void> {
  const last: MeasurePage = ({ path }, ms) => api.measure(path, ms);
  const first: MeasurePage = (page, ms) => api.measure(page.first!.path, ms);
  for (const what of ['runs', 'executions'] as const) {
    const those = pages.filter((page) => page.what === what && page.first !== undefined);
    const [slowest] = (await compare(those, last, first, ends)) as [Rates];
    report.row({
      name: `${what} of 1,000,000: the last page, in the slowest of ${those.length} orders (${slowest.page.name})`,
      unit: 'requests/s',
      ...slowest.median,
      of: 'the first page',
      ratio: slowest.ratio,
      reach: 'at least 0.8',
      met: slowest.ratio >= 0.8,
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
   * Sends requests for about so long.
   * @param least so many requests are sent at least
   * @throws Error for an answer that is an error
   */
  async measure(path: string, milliseconds: number, least = LEAST_REQUESTS): Promise<Answered> {
    let requests = 0;
    const began = performance.now();
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (requests < least || performance.now() - began < milliseconds) {
          requests++;
          await this.#get(path);
        }
      }),
    );
    return { requests, milliseconds: performance.now() - began };
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
