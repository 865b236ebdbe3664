import { createServer, type Server } from 'node:http';

/** Where a part of the worker stands: `ok`, or what is wrong. */
export interface WorkerHealth {
  database: string;
  temporal: string;
  /** Whether it polls Temporal for tasks. */
  tasks: string;
}

/** Health checks that are served. */
export interface HealthServer {
  url: string;
  close: () => Promise<void>;
}

/** How long an answer is reused, in milliseconds, so that checks cost the database and Temporal nothing. */
const REUSE_MS = 1000;

/**
 * Serves the worker's health checks: `GET /healthz` answers while the process lives, and `GET /readyz` only while it
 * works.
 * @param address `host:port`; the host may be an IPv6 address in brackets.
 * @param check what works now; it must end within a few seconds.
 * @throws Error where the address is in use.
 */
export async function startHealthServer(address: string, check: () => Promise<WorkerHealth>): Promise<HealthServer> {
  const { hostname, port } = new URL(`http://${address}`);
  let last: { time: number; health: Promise<WorkerHealth> } | undefined;
  const checkNow = (): Promise<WorkerHealth> => {
    if (last === undefined || Date.now() - last.time > REUSE_MS) last = { time: Date.now(), health: check() };
    return last.health;
  };
  const server = createServer((request, response) => {
    void answer(request.url ?? '', checkNow).then(([status, body]) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
  });
  await listen(server, hostname.replace(/^\[|\]$/g, ''), Number(port || 80));
  const bound = server.address() as { port: number };
  return {
    url: `http://${hostname}:${bound.port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function answer(url: string, check: () => Promise<WorkerHealth>): Promise<[status: number, body: object]> {
  const { pathname } = new URL(url, 'http://worker');
  if (pathname === '/healthz') return [200, { status: 'ok' }];
  if (pathname !== '/readyz') return [404, { message: 'The worker answers /healthz and /readyz only' }];
  const health = await check();
  const isReady = Object.values(health).every((part) => part === 'ok');
  return [isReady ? 200 : 503, { status: isReady ? 'ok' : 'not ready', ...health }];
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
