import { createServer, type AddressInfo, type Server } from 'node:net';
import { ChildFailedError } from './guardian.js';

/** Ports that this process has chosen: until a port is used, the system may offer it again. */
const chosenPorts = new Set<number>();

/**
 * Chooses free TCP ports on 127.0.0.1, all different, and none that this process has chosen before.
 *
 * Another process can take a port before you use it: be ready to choose again when the address is in use.
 *
 * @param count Number of ports.
 */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  try {
    while (ports.length < count) {
      const server = await listen(0);
      held.push(server);
      const { port } = server.address() as AddressInfo;
      if (chosenPorts.has(port)) continue;
      chosenPorts.add(port);
      ports.push(port);
    }
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  }
  return ports;
}

/**
 * Chooses a free TCP port on 127.0.0.1; see {@link freePorts}.
 * @param preferred chosen when it is free, so that addresses stay the same after a restart.
 */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && preferred > 0) {
    try {
      const server = await listen(preferred);
      await new Promise((resolve) => server.close(resolve));
      chosenPorts.add(preferred);
      return preferred;
    } catch {
      // It is in use: choose another one.
    }
  }
  const [port] = await freePorts(1);
  return port!;
}

/**
 * Starts a server on a free port. When another process takes the port first, tries again with another port.
 *
 * @param start Starts the server. @throws ChildFailedError with the server's log when the server ends.
 */
export async function withFreePort<T>(preferred: number | undefined, start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? preferred : undefined);
    try {
      return await start(port);
    } catch (error) {
      if (attempt === 4 || !isPortTaken(error)) throw error;
    }
  }
}

/** Whether a child ended because another process has taken its port. */
function isPortTaken(error: unknown): boolean {
  return error instanceof ChildFailedError && /address already in use|EADDRINUSE/i.test(error.exit.logTail);
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => resolve(server));
  });
}
