/** @module-tag long */
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { GetRunBudget } from '../../activities/executions/getRunBudget.js';
import { StartTurns } from '../../activities/executions/startTurn.js';
import { type Db, newId } from '../../store/database.js';
import {
  leaveStartQueue,
  lowerStartRate,
  raiseStartRate,
  requestStartTurns,
  type StartTurn,
} from '../../store/executions/pacing.js';
import { waitFor } from '../support.js';
import { startTestPostgres } from '../postgres.js';

// The queue for StartRun and the budget for GetRun, on PostgreSQL alone.
let db: Db;

beforeAll(async () => {
  const postgres = await startTestPostgres();
  db = postgres.db;
  await postgres.asOwner(logTurns);
});
async function logTurns(owner: Db): Promise<void> {
  // Turns by the clock of the database. When this process learns of a turn depends on the machine.
  await sql`create table given (scope text, at float8)`.execute(owner);
  await sql`grant select, insert, update, delete on given to public`.execute(owner);
  await sql`
    create function log_turn() returns trigger language plpgsql as $$
      begin
        insert into given values (new.scope, extract(epoch from new.next_at) * 1000);
        return new;
      end $$`.execute(owner);
  await sql`create trigger log_turn after update of next_at on start_pace for each row execute function log_turn()`.execute(
    owner,
  );
}
afterAll(async () => {
  await db?.destroy();
});

interface TurnRequest {
  executionId: string;
  flowId: string;
  scope: string;
  perSecond: number;
}
const requestStartTurn = async (at: Db, { scope, perSecond, ...request }: TurnRequest): Promise<StartTurn> =>
  (await requestStartTurns(at, scope, perSecond, [request]))[0]!;

/**
 * Asks again after each wait, as a retried activity does, until it gets a turn. @returns the time of the turn and the
 * number of requests.
 */
async function turn(
  scope: string,
  flowId: string,
  perSecond: number,
  executionId = newId(),
): Promise<{ at: number; asked: number; executionId: string; flowId: string }> {
  for (let asked = 1; ; asked++) {
    const { wait } = await requestStartTurn(db, { executionId, flowId, scope, perSecond });
    if (wait === 0) return { at: performance.now(), asked, executionId, flowId };
    await pause(wait);
  }
}

it('gives one turn at a time, evenly spaced, for any number of callers', async () => {
  const flow = newId();
  const turns = await Promise.all(Array.from({ length: 30 }, async () => turn('a/us-west-2', flow, 20)));
  const { rows: given } = await sql<{
    at: number;
  }>`select at from given where scope = 'a/us-west-2' order by at`.execute(db);
  expect(given).toHaveLength(30);
  for (const [at, each] of given.entries()) if (at > 0) expect(each.at - given[at - 1]!.at).toBeGreaterThan(49);
  // Each caller learns when to ask again, so that waiting needs few requests.
  expect(turns.reduce((sum, each) => sum + each.asked, 0) / turns.length).toBeLessThan(12);
});

it('lets flows alternate, so that a flow with many executions does not delay one with few', async () => {
  const [many, few] = [newId(), newId()];
  let done = 0;
  const waiting = Array.from({ length: 30 }, async () => turn('b/us-west-2', many, 10).finally(() => done++));
  await waitFor('some turns', () => done >= 3);
  const late = [turn('b/us-west-2', few, 10), turn('b/us-west-2', few, 10)];
  const order = (await Promise.all([...waiting, ...late]))
    .sort((one, other) => one.at - other.at)
    .map((each) => each.flowId);
  // Both turns of the small flow come long before the last turn of the large flow.
  expect(order.lastIndexOf(few)).toBeLessThan(order.length - 8);
});

it('returns position and queue length, and does not wait for a caller that left', async () => {
  const scope = 'c/us-west-2';
  const flow = newId();
  await turn(scope, flow, 0.5);
  const [gone, here] = [newId(), newId()];
  expect(await requestStartTurn(db, { executionId: gone, flowId: flow, scope, perSecond: 0.5 })).toMatchObject({
    position: 1,
    waiting: 1,
  });
  const second = await requestStartTurn(db, { executionId: here, flowId: flow, scope, perSecond: 0.5 });
  expect(second).toMatchObject({ position: 2, waiting: 2 });
  expect(second.wait).toBeGreaterThan(2000);
  await leaveStartQueue(db, gone);
  expect(await requestStartTurn(db, { executionId: here, flowId: flow, scope, perSecond: 0.5 })).toMatchObject({
    position: 1,
    waiting: 1,
  });
});

it('gives each execution a place of its own, in which flows alternate', async () => {
  const scope = 'places/us-west-2';
  const [first, ...others] = Array.from({ length: 4 }, () => newId());
  await turn(scope, first!, 0.001);
  // Flows with 1, 2, 5 and 9 executions; the first one had the last turn.
  const queued = [first!, ...others].flatMap((flowId, at) =>
    Array.from({ length: [1, 2, 5, 9][at]! }, () => ({ flowId, executionId: newId() })),
  );
  const request = ({ flowId, executionId }: (typeof queued)[number]) =>
    requestStartTurn(db, { executionId, flowId, scope, perSecond: 0.001 });
  for (const each of queued) await request(each);
  const places: { position: number; flowId: string; executionId: string }[] = [];
  for (const each of queued) {
    const { position, waiting } = await request(each);
    expect(waiting).toBe(17);
    places.push({ ...each, position });
  }
  places.sort((one, other) => one.position - other.position);
  expect(places.map(({ position }) => position)).toEqual(Array.from({ length: 17 }, (_, at) => at + 1));
  // Round by round: all four flows, with the one that had a turn at the end; then those that have more.
  const [small, ...rest] = [first!, ...[...others].sort()];
  const round = (at: number): string[] =>
    [...rest, small].filter((flowId) => queued.filter((each) => each.flowId === flowId).length > at);
  expect(places.map(({ flowId }) => flowId)).toEqual(Array.from({ length: 9 }, (_, at) => round(at)).flat());
  for (const flowId of others) {
    const own = places.filter((each) => each.flowId === flowId).map(({ executionId }) => executionId);
    expect(own).toEqual([...own].sort());
  }
});

it('answers many executions of a process together, one of which gets the turn', async () => {
  const scope = 'together/us-west-2';
  const turns = new StartTurns(db, 0.001);
  const [many, few] = [newId(), newId()].sort();
  const ids = Array.from({ length: 40 }, () => newId()).sort();
  const flowOf = (at: number): string => (at < 38 ? many! : few!);
  const requestAll = () =>
    Promise.all(ids.map((executionId, at) => turns.request(scope, { executionId, flowId: flowOf(at) })));
  const spy = vi.spyOn(db, 'transaction');
  const answers = await requestAll();
  // The first one asked alone, and the others together.
  expect(answers.filter(({ wait }) => wait === 0)).toHaveLength(1);
  expect(answers[0]!.wait).toBe(0);
  expect(spy.mock.calls.length).toBe(2);
  spy.mockRestore();
  // The place of each is its own, and the other flow comes between.
  expect(
    answers
      .slice(1)
      .map(({ position }) => position)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 39 }, (_, at) => at + 1));
  expect(answers.slice(38).map(({ position }) => position)).toEqual([1, 3]);
  expect(new Set(answers.slice(1).map(({ waiting }) => waiting))).toEqual(new Set([39]));
  // A turn is free again: whoever is first gets it, although others ask too.
  await sql`update start_pace set next_at = now() where scope = ${scope}`.execute(db);
  const again = await Promise.all(
    ids.slice(1).map((executionId, at) => turns.request(scope, { executionId, flowId: flowOf(at + 1) })),
  );
  expect(again.flatMap(({ wait }, at) => (wait === 0 ? [at + 1] : []))).toEqual([38]);
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from start_queue where scope = ${scope}`.execute(db);
  expect(rows[0]!.count).toBe(38);
  // The same execution may ask twice, because its activity seemed dead.
  const request = { executionId: ids[1]!, flowId: many! };
  const [, one, other] = await Promise.all([1, 2, 3].map(() => turns.request(scope, request)));
  expect(one).toEqual(other);
});

it('moves an execution to the queue of its account once the account is known', async () => {
  const [scope, flowId] = ['moved/us-west-2', newId()];
  const request = { executionId: newId(), flowId, perSecond: 0.001 };
  await turn('unknown/us-west-2', flowId, 0.001);
  expect((await requestStartTurn(db, { ...request, scope: 'unknown/us-west-2' })).position).toBe(1);
  await turn(scope, flowId, 0.001);
  expect(await requestStartTurn(db, { ...request, scope })).toMatchObject({ position: 1, waiting: 1 });
  const other = { ...request, executionId: newId() };
  expect((await requestStartTurn(db, { ...other, scope: 'unknown/us-west-2' })).waiting).toBe(1);
});

it('tells each of several executions why the database did not answer, and asks again for the next', async () => {
  const scope = 'failing/us-west-2';
  const turns = new StartTurns(db, 0.001);
  const request = () => turns.request(scope, { executionId: newId(), flowId: newId() });
  await request();
  const spy = vi.spyOn(db, 'transaction').mockImplementation(() => {
    throw new Error('The database is away');
  });
  const failed = await Promise.allSettled(Array.from({ length: 3 }, request));
  expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  spy.mockRestore();
  expect((await request()).position).toBe(1);
});

it('separates accounts and regions', async () => {
  const flow = newId();
  await turn('d/us-west-2', flow, 0.01);
  expect((await turn('d/us-east-1', flow, 0.01)).asked).toBeLessThanOrEqual(2);
  expect(
    (await requestStartTurn(db, { executionId: newId(), flowId: flow, scope: 'd/us-west-2', perSecond: 0.01 })).wait,
  ).toBeGreaterThan(50_000);
});

it('slows down after each throttled call, and recovers its speed after successful calls', async () => {
  const scope = 'e/us-west-2';
  expect([await lowerStartRate(db, scope), await lowerStartRate(db, scope), await lowerStartRate(db, scope)]).toEqual([
    1000, 2000, 4000,
  ]);
  expect(
    (await requestStartTurn(db, { executionId: newId(), flowId: newId(), scope, perSecond: 100 })).wait,
  ).toBeGreaterThan(3000);
  for (let at = 0; at < 10; at++) await lowerStartRate(db, scope);
  expect(await lowerStartRate(db, scope)).toBe(60_000);
  for (let at = 0; at < 8; at++) await raiseStartRate(db, scope);
  expect(await lowerStartRate(db, scope)).toBe(1000);
});

it('lets executions at the end of a throttled queue ask again within a minute, because throttling can end', async () => {
  const scope = 'f/us-west-2';
  for (let at = 0; at < 7; at++) await lowerStartRate(db, scope);
  const flow = newId();
  const request = (executionId: string): ReturnType<typeof requestStartTurn> =>
    requestStartTurn(db, { executionId, flowId: flow, scope, perSecond: 1 });
  const ids = Array.from({ length: 5 }, () => newId()).sort();
  for (const id of ids.slice(0, 4)) await request(id);
  const last = await request(ids[4]!);
  expect(last).toMatchObject({ position: 5, waiting: 5, interval: 60, wait: 60_000 });
  expect(last.left).toBeGreaterThan(240_000);
  // AWS accepts calls again: the pace is back, and whoever asks now waits for the pause that had begun, and no longer.
  for (let at = 0; at < 8; at++) await raiseStartRate(db, scope);
  await sql`update start_pace set next_at = now() where scope = ${scope}`.execute(db);
  expect((await request(ids[4]!)).left).toBeLessThanOrEqual(4000);
});

it('shares GetRun evenly between the runs of an account, and looks first after an event', async () => {
  const signal = new AbortController().signal;
  const one = new GetRunBudget(40);
  const looks: { of: string; at: number }[] = [];
  const ended = new AbortController();
  const watch = async (of: string): Promise<void> => {
    const each = one.watch('f/us-west-2', of);
    try {
      for (;;) {
        await each.waitForTurn(1, ended.signal);
        looks.push({ of, at: performance.now() });
      }
    } catch {
      each.end();
    }
  };
  const watching = Array.from({ length: 30 }, async (_, at) => watch(`one-${at}`));
  await waitFor(
    'many looks',
    () => looks.length >= 120,
    () => looks.length,
  );
  ended.abort();
  await Promise.all(watching);
  const [first, last] = [looks[0]!.at, looks.at(-1)!.at];
  const rate = looks.length / ((last - first) / 1000);
  expect(rate).toBeLessThan(45);
  // The budget looks at all its runs equally often.
  const counts = Array.from({ length: 30 }, (_, at) => looks.filter((look) => look.of === `one-${at}`).length);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2);

  const slow = one.watch('g/us-west-2', 'event');
  const look = slow.waitForTurn(60_000, signal);
  one.wake('event');
  one.wake('unknown');
  expect(await look).toBe(true);
  // Many events cause at most one look every two seconds.
  one.wake('event');
  const began = performance.now();
  one.wake('event');
  expect(await slow.waitForTurn(60_000, signal)).toBe(true);
  expect(performance.now() - began).toBeGreaterThan(1500);
  const aborted = new AbortController();
  const interrupted = slow.waitForTurn(60_000, aborted.signal);
  aborted.abort(new Error('the worker shuts down'));
  await expect(interrupted).rejects.toThrow('the worker shuts down');
  slow.end();
  one.close();
});
