import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { CallSpacing } from '../../activities/executions/callSpacing.js';
import { WatchedRun } from '../../activities/executions/getRunBudget.js';

// The clock is fake, so no test here depends on the speed of the machine.
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A spacing of ten calls a second, and its calls with their times in milliseconds from the start. */
function createSpacing(): { spacing: CallSpacing; calls: string[]; call: (name: string) => () => void } {
  const begin = Date.now();
  const calls: string[] = [];
  return {
    spacing: new CallSpacing(10),
    calls,
    call: (name) => () => void calls.push(`${name} ${Date.now() - begin}`),
  };
}

it('spaces calls evenly, in the order in which they became due', async () => {
  const { spacing, calls, call } = createSpacing();
  for (const name of ['a', 'b', 'c']) spacing.add(call(name), false);
  await vi.advanceTimersByTimeAsync(1000);
  expect(calls).toEqual(['a 0', 'b 100', 'c 200']);
});

it('makes urgent calls before all others, and each call once', async () => {
  const { spacing, calls, call } = createSpacing();
  const [a, b, c] = [call('a'), call('b'), call('c')];
  for (const each of [a, b, c]) spacing.add(each, false);
  spacing.add(c, true);
  spacing.add(c, false);
  await vi.advanceTimersByTimeAsync(1000);
  expect(calls).toEqual(['a 0', 'c 100', 'b 200']);
});

it('goes on when somebody sets the clock back', async () => {
  const spacing = new CallSpacing(10);
  const calls: string[] = [];
  for (const name of ['a', 'b', 'c']) spacing.add(() => void calls.push(name), false);
  vi.setSystemTime(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(200);
  expect(calls).toEqual(['a', 'b', 'c']);
});

it('does not make a call that was removed', async () => {
  const { spacing, calls, call } = createSpacing();
  const b = call('b');
  spacing.add(call('a'), false);
  spacing.add(b, false);
  spacing.remove(b);
  await vi.advanceTimersByTimeAsync(1000);
  expect(calls).toEqual(['a 0']);
});

it('halves the rate with each throttled call, and recovers after a minute', async () => {
  const { spacing, calls, call } = createSpacing();
  spacing.slowDown();
  spacing.slowDown();
  for (const name of ['a', 'b']) spacing.add(call(name), false);
  await vi.advanceTimersByTimeAsync(60_000);
  for (const name of ['c', 'd']) spacing.add(call(name), false);
  await vi.advanceTimersByTimeAsync(1000);
  expect(calls).toEqual(['a 0', 'b 400', 'c 60000', 'd 60100']);
});

it('polls a watched run after its pause or after an event, but not at once after each of many events', async () => {
  const signal = new AbortController().signal;
  const watched = new WatchedRun(new CallSpacing(1000), () => undefined);
  const begin = Date.now();
  const turn = async (): Promise<[boolean, number]> => [await watched.waitForTurn(60_000, signal), Date.now() - begin];
  const first = turn();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await first).toEqual([false, 60_000]);
  const second = turn();
  await vi.advanceTimersByTimeAsync(5000);
  watched.wake();
  watched.wake();
  await vi.advanceTimersByTimeAsync(0);
  expect(await second).toEqual([true, 65_000]);
  watched.wake();
  const third = turn();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(await third).toEqual([true, 67_000]);
});

it('stops waiting when the activity is cancelled', async () => {
  const controller = new AbortController();
  const watched = new WatchedRun(new CallSpacing(1000), () => undefined);
  const waiting = watched.waitForTurn(60_000, controller.signal);
  controller.abort(new Error('cancelled'));
  await expect(waiting).rejects.toThrow('cancelled');
  expect(vi.getTimerCount()).toBe(0);
});
