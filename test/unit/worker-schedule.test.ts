import { expect, it } from 'vitest';
import { makeSchedule } from '../../worker/schedule.js';

const settings = { verifySeconds: 60, temporal: { address: 'temporal:7233', namespace: 'lab' } };
const make = (ensureVerification: () => Promise<void>, stopping = new AbortController().signal): Promise<void> =>
  makeSchedule(settings, { schedules: { ensureVerification } }, stopping);

it('names the schedule that Temporal does not make, and says why', async () => {
  const cause = new Error('7 PERMISSION_DENIED: Request unauthorized.');
  const error = new Error('Failed to create schedule', { cause });
  await expect(make(() => Promise.reject(error))).rejects.toThrow(
    'The schedule of verifications was not made by Temporal at temporal:7233: 7 PERMISSION_DENIED: Request unauthorized.',
  );
  await expect(make(() => Promise.reject(new Error('no connection')))).rejects.toThrow('temporal:7233: no connection');
});

it('ends with the reason of a worker that stops', async () => {
  const reason = new Error('the worker stops');
  await expect(make(() => new Promise(() => undefined), AbortSignal.abort(reason))).rejects.toBe(reason);
});
