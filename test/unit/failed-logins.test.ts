import { afterEach, describe, expect, it, vi } from 'vitest';
import { FailedLogins } from '../../api/plugins/failedLogins.js';
import type { Db } from '../../store/database.js';

const ADDRESS = '192.0.2.1';
/** No login of these tests fails, so nothing is written. */
const noDatabase = {} as Db;
const log = { error: () => undefined };

describe('logins that wait', () => {
  const logins = new FailedLogins(noDatabase, log, 1);
  afterEach(() => logins.close());

  it('all begin, also behind one whose credential worked meanwhile', async () => {
    const began: string[] = [];
    const begin = async (credential: string): Promise<() => void> => {
      const end = await logins.begin(ADDRESS, credential);
      began.push(credential);
      return end;
    };
    const endFirst = await begin('first');
    const same = [begin('same'), begin('same')];
    const last = begin('last');
    logins.succeed('first');
    endFirst();
    const endSame = await same[0]!;
    logins.succeed('same');
    endSame();
    (await last)();
    (await same[1]!)();
    expect(began).toEqual(['first', 'same', 'same', 'last']);
  });

  it('give up when those before them do not end, and when too many wait', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const end = await logins.begin(ADDRESS, 'hangs');
      const waiting = Array.from({ length: 1000 }, async (_, at) => logins.begin(ADDRESS, `waits ${at}`));
      const answers = Promise.allSettled(waiting);
      await expect(logins.begin(ADDRESS, 'one more')).rejects.toMatchObject({ status: 503, reason: 'BUSY' });
      vi.advanceTimersByTime(5000);
      for (const answer of await answers)
        expect(answer).toMatchObject({ status: 'rejected', reason: { status: 503, reason: 'BUSY' } });
      end();
      (await logins.begin(ADDRESS, 'later'))();
    } finally {
      vi.useRealTimers();
    }
  });
});
