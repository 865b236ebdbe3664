import { type ClientRequest, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { insertManyRuns } from '../../test/manyRuns.js';
import { percentile, type Report } from '../report.js';
import { usageOf } from '../usage.js';
import { BenchServer } from './server.js';

/** Readers, and the API keys that they share: a caller has at most 100 streams. */
const READERS = 1000;
const KEYS = 20;
const PER_SECOND = 50;
/** Of a round. One reader and many readers alternate. */
const SECONDS = 5;
const ROUNDS = 2;
const CHANGES = PER_SECOND * SECONDS;
/** How long after the last change readers may still hear of one. */
const GRACE_MS = 5000;
const CLOSED_MS = 2000;
const MOST_MS = 1000;

/** What all readers have heard. */
class Heard {
  /** When each change was sent, by the number of its execution. */
  readonly sent = new Map<number, number>();
  readonly delays: number[] = [];
  /** Until the last reader heard of each change. */
  readonly untilLast = new Map<number, number>();
  ready = 0;
  broken = 0;

  note(execution: number): void {
    const sent = this.sent.get(execution);
    if (sent === undefined) return;
    const delay = performance.now() - sent;
    this.delays.push(delay);
    this.untilLast.set(execution, delay);
  }
}

const EVENT = /event: (\w+)\n.*\ndata: (?:\{\}|.*?"id":"[^"]*-([0-9a-f]+)")/g;

/** Reads the live updates of executions, as one client does. */
function read(url: string, key: string, heard: Heard): ClientRequest {
  let isClosed = false;
  const sent = request(`${url}/v1/changes?topics=executions`, { headers: { 'x-api-key': key }, agent: false });
  sent.on('response', (response) => {
    if (response.statusCode !== 200) heard.broken++;
    let rest = '';
    response.setEncoding('latin1');
    response.on('data', (chunk: string) => {
      const text = rest + chunk;
      const end = text.lastIndexOf('\n\n') + 2;
      // Not split into events: what the readers do must take little of the machine.
      for (const [, kind, number] of text.slice(0, end).matchAll(EVENT)) {
        if (kind === 'change') heard.note(parseInt(number!, 16));
        else if (kind === 'ready') heard.ready++;
        else heard.broken++;
      }
      rest = text.slice(end);
    });
    response.on('close', () => (heard.broken += isClosed ? 0 : 1));
  });
  sent.on('error', () => (heard.broken += isClosed ? 0 : 1));
  sent.on('close', () => (isClosed = true));
  sent.end();
  return sent;
}

/** Changes executions at an even pace. Each changes once, so that no change hides another. */
async function changeExecutions(client: pg.Client, heard: Heard, first: number): Promise<void> {
  const began = performance.now();
  for (let at = 0; at < CHANGES; at++) {
    await pause(Math.max(0, began + (at * 1000) / PER_SECOND - performance.now()));
    const number = first + at;
    heard.sent.set(number, performance.now());
    await client.query('update executions set status_description = $2 where id = $1', [
      `01920000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`,
      `Change ${number}`,
    ]);
  }
}

interface Measured {
  delays: number[];
  /** For each change, until the last reader heard of it. */
  untilLast: number[];
  expected: number;
  broken: number;
  /** Share of a core. */
  cpu: number;
  /** In MiB. */
  memory: number;
}

async function follow(
  server: BenchServer,
  client: pg.Client,
  { keys, readers, first }: { keys: readonly string[]; readers: number; first: number },
): Promise<Measured> {
  const heard = new Heard();
  const open: ClientRequest[] = [];
  try {
    for (let at = 0; at < readers; at++) {
      open.push(read(server.apiUrl, keys[at % keys.length]!, heard));
      // As clients come: not all in the same moment.
      if (at % 20 === 19) await pause(20);
    }
    const ready = performance.now() + 30_000;
    while (heard.ready < readers && performance.now() < ready) await pause(50);
    if (heard.ready < readers) throw new Error(`Only ${heard.ready} of ${readers} readers hear live updates`);
    const before = usageOf(server.apiPid);
    await changeExecutions(client, heard, first);
    const after = usageOf(server.apiPid);
    const expected = readers * CHANGES;
    const deadline = performance.now() + GRACE_MS;
    while (heard.delays.length < expected && performance.now() < deadline) await pause(20);
    return {
      ...{ delays: heard.delays, untilLast: [...heard.untilLast.values()], expected, broken: heard.broken },
      cpu: (after.cpu - before.cpu) / SECONDS,
      memory: usageOf(server.apiPid).memory,
    };
  } finally {
    for (const each of open) each.destroy();
  }
}

/** What several rounds have measured. */
function together(rounds: readonly Measured[]): Measured {
  const sum = (of: (each: Measured) => number): number => rounds.reduce((total, each) => total + of(each), 0);
  return {
    delays: rounds.flatMap(({ delays }) => delays),
    untilLast: rounds.flatMap(({ untilLast }) => untilLast),
    expected: sum(({ expected }) => expected),
    broken: sum(({ broken }) => broken),
    cpu: sum(({ cpu }) => cpu) / rounds.length,
    // Later rounds of one reader would have what many readers left.
    memory: rounds[0]!.memory,
  };
}

/** The rows of many readers of live updates. */
export async function live(report: Report): Promise<void> {
  const server = await BenchServer.start();
  const client = new pg.Client({ connectionString: server.ownerUrl });
  try {
    await insertManyRuns(server.ownerUrl, 2 * ROUNDS * CHANGES + 1);
    await server.startApi();
    await client.connect();
    const keys: string[] = [];
    for (let at = 0; at < KEYS; at++) {
      const body = { name: `reader ${at}`, scopes: ['executions:read'] };
      keys.push((await server.call<{ key: string }>('POST', '/v1/api-keys', body)).key);
    }
    const [one, many]: Measured[][] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      const first = 1 + 2 * round * CHANGES;
      // Until the API has closed the streams of the last round.
      if (round > 0) await pause(CLOSED_MS);
      one!.push(await follow(server, client, { keys, readers: 1, first }));
      many!.push(await follow(server, client, { keys, readers: READERS, first: first + CHANGES }));
    }
    addRows(report, together(one!), together(many!));
  } finally {
    await client.end().catch(() => undefined);
    await server.stop();
  }
}

function addRows(report: Report, one: Measured, many: Measured): void {
  const what = `${READERS.toLocaleString('en')} readers of live updates, ${PER_SECOND} changes per second`;
  const lost = many.expected - many.delays.length;
  // Where nobody heard of any change, all took as long as anybody waited.
  const heard = many.untilLast.length > 0 ? many.untilLast : [GRACE_MS];
  const slowest = Math.max(...heard);
  const usual = percentile(heard, 0.95);
  if (lost > 0 || many.broken > 0)
    report.note(`${what}: ${lost} of ${many.expected} events did not arrive, and ${many.broken} streams broke`);
  report.row({
    name: `${what}: until the last reader hears of a change, p95 of the changes`,
    unit: 'ms',
    value: usual,
    against: MOST_MS,
    of: `the target; the slowest change took ${slowest.toFixed(0)} ms`,
    ratio: usual / MOST_MS,
    reach: 'every change reaches every reader within 1 s',
    met: lost === 0 && many.broken === 0 && slowest <= MOST_MS,
  });
  report.row({
    name: `${what}: median delay`,
    unit: 'ms',
    value: percentile(many.delays, 0.5),
    against: percentile(one.delays, 0.5),
    of: 'one reader',
    ratio: percentile(many.delays, 0.5) / percentile(one.delays, 0.5),
  });
  report.row({
    name: `${what}: CPU of the API`,
    unit: 'cores',
    value: many.cpu,
    against: one.cpu,
    of: 'one reader',
    ratio: many.cpu / one.cpu,
  });
  report.row({
    name: `${what}: memory of the API`,
    unit: 'MiB',
    value: many.memory,
    against: one.memory,
    of: 'one reader',
    ratio: many.memory / one.memory,
  });
}
