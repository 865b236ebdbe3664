import { createServer, type AddressInfo, type Server } from 'node:net';
import { ChildFailedError } from './guardian.js';

/** Ports this process has handed out: between the answer and the use of a port the system may offer it again. */
const handedOut = new Set<number>();

/**
 * Free TCP ports on 127.0.0.1, all different, none handed out by this process before.
 *
 * They are held open together while they are chosen, then let go, so another process can take one before it is used: whoever
 * starts a server on it must be ready to choose again when the address is in use.
 *
 * @param count How many.
 */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  try {
    while (ports.length < count) {
      const server = await listen(0);
      held.push(server);
      const { port } = server.address() as AddressInfo;
      if (handedOut.has(port)) continue;
      handedOut.add(port);
      ports.push(port);
    }
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  }
  return ports;
}

/** One free TCP port on 127.0.0.1; see {@link freePorts}. `preferred` is taken when it is free, so that addresses survive a restart. */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && preferred > 0) {
    try {
      const server = await listen(preferred);
      await new Promise((resolve) => server.close(resolve));
      handedOut.add(preferred);
      return preferred;
    } catch {
      // In use: another one is as good.
    }
  }
  const [port] = await freePorts(1);
  return port!;
}

/**
 * Starts a server on a free port, and on another one when the port was taken between our choice and its use.
 *
 * @param start Starts it, and fails with the end of the server's log when it cannot.
 */
export async function withFreePort<T>(preferred: number | undefined, start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? preferred : undefined);
    try {
      return await start(port);
    } catch (error) {
      if (
        attempt < 4 &&
        error instanceof ChildFailedError &&
        /address already in use|EADDRINUSE/i.test(error.exit.logTail)
      )
        continue;
      throw error;
    }
  }
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => resolve(server));
  });
}
