import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { openTemporal } from '../../temporal/connection.js';
import { WatchClient } from '../../temporal/watches.js';

it('gives up calls that Temporal does not answer, since nobody else repeats them', { tags: 'long' }, async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { client, connection } = openTemporal({ address, namespace: 'default' });
  const watches = new WatchClient({ client, queues: {} as never, giveUpDays: undefined });
  const token = Buffer.from('token');
  const calls = await Promise.allSettled([
    watches.complete(token, {}),
    watches.show(token, {}),
    watches.restart('id', new Date()),
  ]);
  expect(calls.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
  expect(sockets.size).toBeGreaterThan(0);
  await connection.close();
  server.close();
  for (const socket of sockets) socket.destroy();
});
