import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import pLimit from 'p-limit';
import { GetRunBudget } from '../activities/executions/getRunBudget.js';
import { StartTurns } from '../activities/executions/startTurn.js';
import { closeDatabase, type Db, newId, openDatabase } from '../store/database.js';
import { BenchServer } from './api/server.js';
import { percentile, type Report } from './report.js';

/** Accounts with quotas of their own, and the executions that each starts at the same moment. */
const ACCOUNTS = 500;
const EACH = 5;
/** What one more account starts at that moment, in a second simulation. */
const NEIGHBOUR = 2000;
/** Turns a second in each account: the default quota of StartRun. */
const PER_SECOND = 1;
/** Activities that ask at the same time, of all workers. */
const AT_ONCE = 40;
/** How long the starts of the one more are counted, once the others have started all. */
const AFTERWARDS_SECONDS = 8;
/** Runs that are watched in each account, and in the one more. */
const WATCHED_EACH = 20;
const WATCHED_NEIGHBOUR = 5000;
/** As the settings have it by default. */
const GET_RUNS_PER_SECOND = 8;
/** Shorter than by default, so that each account has enough calls to compare. */
const POLL_MS = 20_000;
const WATCHING_MS = 12_000;

const scopeOf = (account: number | string): string => `${account}/us-west-2`;

/** Lets any number of waits end by one signal. */
function unlimited(controller: AbortController): AbortController {
  setMaxListeners(0, controller.signal);
  return controller;
}

/**
 * Rows of many accounts. StartRun and GetRun are simulated; who may call them decides the code of the workers, on a real
 * PostgreSQL.
 */
export async function accounts(report: Report): Promise<void> {
  const server = await BenchServer.start();
  const db = openDatabase(server.databaseUrl, 20);
  try {
    report.say(`  StartRun: ${ACCOUNTS} accounts start ${EACH} executions each, at once`);
    const alone = await startAll(db, 'a', 0);
    report.say(`  the same, while one more account starts ${NEIGHBOUR}`);
    const beside = await startAll(db, 'b', NEIGHBOUR);
    const [theirs, ours] = [percentile(alone.ended, 0.95), percentile(beside.ended, 0.95)];
    report.row({
      name: `until ${ACCOUNTS} accounts have started ${EACH} executions each, while another has ${NEIGHBOUR} waiting, p95`,
      unit: 's',
      value: ours,
      against: theirs,
      of: 'the same without that account',
      ratio: ours / theirs,
      reach: 'at most 1.25',
      met: ours / theirs <= 1.25,
    });
    const wanted = PER_SECOND * AFTERWARDS_SECONDS;
    report.row({
      name: 'starts of the account with the long queue afterwards',
      unit: 'starts',
      value: beside.neighbour,
      against: wanted,
      of: 'its quota',
      ratio: beside.neighbour / wanted,
      reach: 'at least 0.8',
      met: beside.neighbour / wanted >= 0.8,
    });
    report.note(
      `turns for StartRun: ${((ACCOUNTS * EACH) / alone.seconds).toFixed(0)} a second; ` +
        `${(alone.requests / (ACCOUNTS * EACH)).toFixed(1)} requests to PostgreSQL for each`,
    );
  } finally {
    await closeDatabase(db);
    await server.stop();
  }
  await watchAll(report);
}

/** @returns after how many seconds each account had started all, how many requests that took, and what the other did. */
async function startAll(
  db: Db,
  name: string,
  neighbour: number,
): Promise<{ ended: number[]; seconds: number; requests: number; neighbour: number }> {
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const ending = unlimited(new AbortController());
  const activities = pLimit(AT_ONCE);
  const turns = new StartTurns(db, PER_SECOND);
  let [requests, started] = [0, 0];
  const start = async (scope: string, flowId: string): Promise<void> => {
    const executionId = newId();
    for (;;) {
      const { wait } = await activities(() => {
        requests++;
        return turns.request(scope, { executionId, flowId });
      });
      if (wait === 0) return;
      await pause(wait, undefined, { signal: ending.signal });
    }
  };
  const startMany = (scope: string, count: number, then: () => void): Promise<unknown> => {
    const flowId = newId();
    return Promise.all(Array.from({ length: count }, async () => start(scope, flowId).then(then)));
  };
  const long = startMany(scopeOf(`${name}-neighbour`), neighbour, () => started++).catch(() => undefined);
  const ended = await Promise.all(
    Array.from({ length: ACCOUNTS }, async (_, at) => {
      await startMany(scopeOf(`${name}-${at}`), EACH, () => undefined);
      return seconds();
    }),
  );
  const result = { ended, seconds: seconds(), requests };
  const before = started;
  if (neighbour > 0) await pause(AFTERWARDS_SECONDS * 1000);
  ending.abort();
  await long;
  return { ...result, neighbour: started - before };
}

/** GetRun calls of many accounts that one worker watches. */
async function watchAll(report: Report): Promise<void> {
  report.say(`  GetRun: one worker watches ${WATCHED_EACH} runs in each of ${ACCOUNTS} accounts`);
  const alone = await poll(0);
  report.say(`  the same, and ${WATCHED_NEIGHBOUR} in one more`);
  const beside = await poll(WATCHED_NEIGHBOUR);
  const perSecond = (count: number): number => count / (WATCHING_MS / 1000);
  report.row({
    name: `GetRun calls for ${WATCHED_EACH} runs in each of ${ACCOUNTS} accounts, while one more has ${WATCHED_NEIGHBOUR}, p5 of the accounts`,
    unit: 'a second',
    value: perSecond(beside.fewest),
    against: perSecond(alone.fewest),
    of: 'the same without that account',
    ratio: beside.fewest / alone.fewest,
    reach: 'at least 0.8',
    // The row does not show an account that gets nothing.
    met: beside.fewest / alone.fewest >= 0.8 && beside.isNoneStarved,
  });
  report.row({
    name: `GetRun calls for ${WATCHED_NEIGHBOUR} runs in one account, beside ${ACCOUNTS} others`,
    unit: 'a second',
    value: perSecond(beside.neighbour),
    against: GET_RUNS_PER_SECOND,
    of: 'its quota, as the settings have it',
    ratio: perSecond(beside.neighbour) / GET_RUNS_PER_SECOND,
    reach: 'at least 0.8, at most 1',
    met:
      perSecond(beside.neighbour) <= GET_RUNS_PER_SECOND * 1.02 &&
      perSecond(beside.neighbour) >= GET_RUNS_PER_SECOND * 0.8,
  });
}

/** @returns calls of an account with few, of the one more, and whether each account got any */
async function poll(neighbour: number): Promise<{ fewest: number; neighbour: number; isNoneStarved: boolean }> {
  const budget = new GetRunBudget(GET_RUNS_PER_SECOND);
  const ending = unlimited(new AbortController());
  let isCounted = false;
  const watch = async (scope: string, id: string, onTurn: () => void): Promise<void> => {
    const watched = budget.watch(scope, id);
    // As after the start of a worker: each run is polled once, and then at its own time.
    let wait = Math.random() * POLL_MS;
    try {
      for (;;) {
        await watched.waitForTurn(wait, ending.signal);
        if (isCounted) onTurn();
        wait = POLL_MS;
      }
    } catch {
      watched.end();
    }
  };
  const calls = new Array<number>(ACCOUNTS).fill(0);
  let others = 0;
  const all = [
    ...Array.from({ length: neighbour }, (_, at) => watch(scopeOf('neighbour'), `neighbour-${at}`, () => others++)),
    ...calls.flatMap((_, account) =>
      Array.from({ length: WATCHED_EACH }, (__, at) =>
        watch(scopeOf(account), `${account}-${at}`, () => calls[account]!++),
      ),
    ),
  ];
  await pause(2000);
  isCounted = true;
  await pause(WATCHING_MS);
  isCounted = false;
  ending.abort();
  await Promise.all(all);
  budget.close();
  return { fewest: percentile(calls, 0.05), neighbour: others, isNoneStarved: Math.min(...calls) > 0 };
}
