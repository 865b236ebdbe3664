import { createServer, type Server } from 'node:http';
import { errorMessage } from '../domain/errors.js';
import { shareAnswer } from '../observability/deadline.js';

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
  const shared = shareAnswer(check, REUSE_MS);
  const server = createServer((request, response) => {
    const send = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    answer(request.url ?? '', shared).then(
      ([status, body]) => send(status, body),
      (error: unknown) => send(503, { status: 'not ready', message: `The check failed: ${errorMessage(error)}` }),
    );
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
  // Not a URL: whatever a client sends as an address must not end the process.
  const [path] = url.split('?');
  if (path === '/healthz') return [200, { status: 'ok' }];
  if (path !== '/readyz') return [404, { message: 'The worker answers /healthz and /readyz only' }];
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
