import { expect, it } from 'vitest';
import { openTemporal } from '../../temporal/connection.js';
import { WatchClient } from '../../temporal/watches.js';
import { startSilentServer } from '../silentServer.js';

it('gives up calls that Temporal does not answer, since nobody else repeats them', { tags: 'long' }, async () => {
  const silent = await startSilentServer();
  const { client, connection } = openTemporal({ address: silent.address, namespace: 'default' });
  const watches = new WatchClient({ client, queues: {} as never, giveUpDays: undefined });
  const token = Buffer.from('token');
  const calls = await Promise.allSettled([
    watches.complete(token, {}),
    watches.show(token, {}),
    watches.restart('id', new Date()),
  ]);
  expect(calls.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
  expect(silent.connections()).toBeGreaterThan(0);
  await connection.close();
  silent.close();
});
