import { pino } from 'pino';
import { it, vi } from 'vitest';
import { LeasedWork } from '../../worker/leasedWork.js';
import { startTestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';

it('renews its leases while Temporal does not answer about the schedules of an older version', async () => {
  const { db } = await startTestPostgres();
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  let isAsked = false;
  const removeOld = (): Promise<void> => {
    isAsked = true;
    return new Promise(() => undefined);
  };
  const work = new LeasedWork(
    { db, leaseDb: db } as never,
    { schedules: { removeOld } } as never,
    { discoverSeconds: 3600, sweepSeconds: 100_000 },
    pino({ level: 'silent' }),
  );
  try {
    work.start();
    await waitFor('Temporal to be asked', () => isAsked);
    const readLease = async (): Promise<Date | undefined> =>
      (await db.selectFrom('leases').select('expires_at').where('name', '=', 'searches').executeTakeFirst())
        ?.expires_at;
    const before = (await readLease())!;
    vi.advanceTimersByTime(10_000);
    await waitFor('the lease to be renewed', async () => (await readLease())! > before);
  } finally {
    vi.useRealTimers();
    await work.stop();
    await db.destroy();
  }
});
