import type { Connection } from '@temporalio/client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type KnownVersion, Deployments } from '../../temporal/deployments.js';
import { getsTasks } from '../../temporal/taskQueues.js';
import { waitUntilDrained } from '../../worker/versioning.js';

// Fake timers do not replace these.
vi.mock('node:timers/promises', () => ({
  setTimeout: (milliseconds: number, value: unknown, { signal }: { signal?: AbortSignal } = {}) =>
    new Promise((resolve, reject) => {
      const abort = (): void => {
        clearTimeout(timer);
        reject(new Error('aborted', { cause: signal?.reason }));
      };
      const timer = globalThis.setTimeout(() => {
        signal?.removeEventListener('abort', abort);
        resolve(value);
      }, milliseconds);
      signal?.addEventListener('abort', abort);
    }),
}));

const VERSION = { deploymentName: 'lab', buildId: 'two' };
const QUEUES = [
  { name: 'polony', kind: 'workflow' },
  { name: 'polony-watch', kind: 'activity' },
] as const;
const grpcError = (code: number, message: string): Error => Object.assign(new Error(message), { code });
const silent = { warn: () => undefined } as unknown as Parameters<typeof waitUntilDrained>[2];

/** A Temporal server whose answers a test decides. */
function fakeTemporal() {
  const temporal = {
    /** When workers polled last, by build ID, in milliseconds. */
    polled: {} as Record<string, number>,
    errors: [] as Error[],
    deadlines: 0,
  };
  const connection = {
    withDeadline: (_deadline: number, call: () => unknown) => {
      temporal.deadlines++;
      return call();
    },
    workflowService: {
      describeTaskQueue: async () => {
        const error = temporal.errors.shift();
        if (error !== undefined) throw error;
        return {
          pollers: Object.entries(temporal.polled).map(([buildId, time]) => ({
            identity: buildId,
            deploymentOptions: { deploymentName: 'lab', buildId },
            lastAccessTime: { seconds: Math.floor(time / 1000) },
          })),
        };
      },
      // Of a version whose workers have ended long ago, Temporal still says this.
      describeWorkerDeploymentVersion: async () => ({
        workerDeploymentVersionInfo: {},
        versionTaskQueues: QUEUES.map(({ name }) => ({ name })),
      }),
    },
  };
  return { temporal, deployments: new Deployments(connection as unknown as Connection, 'default') };
}

describe('before a version becomes the current one', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** Waits for up to a minute. @returns what was waited for, and whether the workers came */
  async function wait({ deployments }: ReturnType<typeof fakeTemporal>, whileWaiting: () => void = () => undefined) {
    const reasons: string[] = [];
    const end = new AbortController();
    const waiting = deployments
      .waitForWorkers(VERSION, QUEUES, (reason) => reasons.push(reason), end.signal)
      .then(
        () => 'ready',
        (error: Error) => (end.signal.aborted ? 'gave up' : error.message),
      );
    await vi.advanceTimersByTimeAsync(30_000);
    whileWaiting();
    await vi.advanceTimersByTimeAsync(30_000);
    end.abort();
    await vi.advanceTimersByTimeAsync(0);
    return { reasons, result: await waiting };
  }

  it('its workers must poll now: that they polled once does not count', async () => {
    const fake = fakeTemporal();
    fake.temporal.polled = { one: Date.now() + 60_000, two: Date.now() - 80_000 };
    expect(await wait(fake)).toEqual({
      reasons: ['workers of version two of lab on polony (workflow), polony-watch (activity)'],
      result: 'gave up',
    });
    expect((await wait(fake, () => (fake.temporal.polled.two = Date.now()))).result).toBe('ready');
  });

  it('errors that pass do not end the wait, and each call has a deadline', async () => {
    const fake = fakeTemporal();
    fake.temporal.polled = { two: Date.now() };
    fake.temporal.errors = [grpcError(14, 'connection refused'), grpcError(4, 'too late'), grpcError(8, 'busy')];
    const { reasons, result } = await wait(fake);
    expect(result).toBe('ready');
    expect(reasons[0]).toBe('Temporal, which does not answer: connection refused');
    expect(fake.temporal.deadlines).toBeGreaterThanOrEqual(7);
  });

  it.each([
    ['a missing namespace', 5, 'The namespace default does not exist. Check TEMPORAL_NAMESPACE'],
    ['a denied question', 7, 'no right to ask'],
  ])('%s ends the wait at once', async (_what, code, message) => {
    const fake = fakeTemporal();
    fake.temporal.errors = [grpcError(code, 'no right to ask')];
    expect(await wait(fake)).toEqual({ reasons: [], result: message });
  });
});

describe('a worker that ends when its version is drained', () => {
  const MINUTE = 60_000;

  /** @param drained whether the version is, minute by minute. @returns after which minute the worker ends */
  async function endAfter(drained: (minute: number) => KnownVersion | undefined): Promise<number> {
    vi.useFakeTimers();
    try {
      const began = Date.now();
      const minute = (): number => (Date.now() - began) / MINUTE;
      const waiting = waitUntilDrained(
        { ...VERSION, endsWhenDrained: true, pinnedWorkflows: [] },
        { describe: async () => drained(minute()) },
        silent,
        new AbortController().signal,
      ).then(minute);
      await vi.advanceTimersByTimeAsync(60 * MINUTE);
      return await Promise.race([waiting, Promise.resolve(Infinity)]);
    } finally {
      vi.useRealTimers();
    }
  }

  it('ends at once when its last workflow has ended', async () => {
    expect(await endAfter((minute) => ({ isDrained: minute >= 3 }))).toBe(3);
  });

  it('waits where the version is drained when it starts: somebody may want to go back to it', async () => {
    expect(await endAfter(() => ({ isDrained: true }))).toBe(10);
    // Promoted after five minutes, and replaced again later.
    expect(await endAfter((minute) => ({ isDrained: minute < 5 || minute >= 30 }))).toBe(30);
    expect(await endAfter(() => undefined)).toBe(Infinity);
  });
});

describe('the pollers in the metrics', () => {
  const versioned = (buildId: string) => ({
    deploymentOptions: { deploymentName: 'lab', buildId, workerVersioningMode: 2 },
  });
  const current = { currentDeploymentVersion: { deploymentName: 'lab', buildId: 'two' } };

  it('are the workers that get new tasks', () => {
    expect(getsTasks(versioned('two'), current)).toBe(true);
    expect(getsTasks(versioned('one'), current)).toBe(false);
    expect(getsTasks({}, current)).toBe(false);
    expect(getsTasks({}, {})).toBe(true);
    expect(getsTasks({}, undefined)).toBe(true);
    // Nobody has promoted it yet.
    expect(getsTasks(versioned('two'), {})).toBe(false);
    const ramping = { ...current, rampingDeploymentVersion: { deploymentName: 'lab', buildId: 'three' } };
    expect(getsTasks(versioned('three'), ramping)).toBe(true);
  });
});
