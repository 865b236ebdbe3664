import { createServer, type Server, type ServerResponse } from 'node:http';
import { collectDefaultMetrics } from 'prom-client';
import { errorMessage } from '../domain/errors.js';
import {
  buildInfo,
  exposeMetrics,
  type MetricsProcess,
  type Reading,
  registry,
  setReadings,
  sources,
} from './metrics.js';

/** Metrics that are served. */
export interface MetricsServer {
  url: string;
  /** Takes no more requests. Call it before the database is closed. */
  close: () => Promise<void>;
}

export interface MetricsOptions {
  process: MetricsProcess;
  version: string;
  /** Reads the values that all processes share. */
  read: { database: () => Promise<Reading[]>; temporal: () => Promise<Reading[]> };
  /** The port of this machine's loopback address where Temporal's SDK serves its metrics; absent in the API. */
  sdkPort?: number;
}

/** How long values of the database and of Temporal are reused, in milliseconds: scrapes must cost them nothing. */
const REUSE_MS = 5000;
/** How long a scrape waits for them, in milliseconds. Prometheus gives up after 10 seconds by default. */
const DEADLINE_MS = 4000;
/** After how long nobody waits for an answer any more, in milliseconds: a connection may be lost without a trace. */
const ABANDON_MS = 30_000;

/**
 * Serves the metrics of this process at `/metrics`. A scrape is answered whether or not the database and Temporal are
 * there: `polony_database_up` and `polony_temporal_up` say it.
 * @param address `host:port`; the host may be an IPv6 address in brackets
 * @throws Error where the address is in use
 */
export async function startMetricsServer(address: string, options: MetricsOptions): Promise<MetricsServer> {
  const { process: name, version, read, sdkPort } = options;
  if (registry.getSingleMetric('process_cpu_seconds_total') === undefined)
    collectDefaultMetrics({ register: registry });
  buildInfo.set({ version, node: process.versions.node, process: name }, 1);
  const refreshes = (['database', 'temporal'] as const).map((source) => refreshOf(source, read[source]));
  const collect = async (): Promise<string> => {
    const [sdk] = await Promise.all([
      sdkPort === undefined ? undefined : readSdkMetrics(sdkPort),
      ...refreshes.map((refresh) => refresh()),
    ]);
    if (sdkPort !== undefined) sources.temporalSdk.set(sdk === undefined ? 0 : 1);
    const own = await exposeMetrics(name);
    return sdk === undefined ? own : mergeMetrics(own, sdk);
  };
  const server = createServer((request, response) => {
    // Not a URL: whatever a client sends as an address must not end the process.
    const [path] = (request.url ?? '').split('?');
    if (path !== '/metrics' || (request.method !== 'GET' && request.method !== 'HEAD'))
      return send(response, 404, 'The metrics are at GET /metrics\n');
    collect().then(
      (text) => send(response, 200, text),
      (error: unknown) => send(response, 500, `Collecting the metrics failed: ${errorMessage(error)}\n`),
    );
  });
  const { hostname, port } = new URL(`http://${address}`);
  await listen(server, hostname.replace(/^\[|\]$/g, ''), Number(port || 80), address);
  const bound = server.address() as { port: number };
  return {
    url: `http://${hostname}:${bound.port}/metrics`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(response: ServerResponse, status: number, text: string): void {
  const contentType = status === 200 ? registry.contentType : 'text/plain; charset=utf-8';
  response.writeHead(status, { 'content-type': contentType }).end(text);
}

/** Scrapes at the same time share one query, and those of the next seconds its values. */
export function refreshOf(source: 'database' | 'temporal', read: () => Promise<Reading[]>): () => Promise<void> {
  let reading: { since: number; done: Promise<void> } | undefined;
  let freshUntil = 0;
  const start = (): NonNullable<typeof reading> => {
    const finish = (values: Reading[] | undefined): void => {
      // A later reading has taken the place of this one, which was abandoned.
      if (reading !== next) return;
      setReadings(source, values);
      reading = undefined;
      freshUntil = Date.now() + REUSE_MS;
    };
    const next = { since: Date.now(), done: read().then(finish, () => finish(undefined)) };
    return next;
  };
  return async () => {
    if (Date.now() < freshUntil) return;
    // A query that hangs is not started again with each scrape. After a while it is given up: where its connection was
    // lost without a trace, it would hang forever.
    if (reading === undefined || Date.now() - reading.since > ABANDON_MS) reading = start();
    const { done } = reading;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        setReadings(source, undefined);
        resolve();
      }, DEADLINE_MS);
    });
    await Promise.race([done, late]);
    clearTimeout(timer);
  };
}

/** @returns undefined where the SDK does not answer. */
async function readSdkMetrics(port: number): Promise<string | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(DEADLINE_MS) });
    return response.ok ? await response.text() : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Adds metrics of another source to ours. A family of metrics may be only once in an answer (Prometheus' text format),
 * so a family that we have too is left out.
 */
export function mergeMetrics(own: string, other: string): string {
  const known = new Set([...own.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const kept: string[] = [];
  let isKept = true;
  for (const line of other.split('\n')) {
    const [, name] = /^# (?:HELP|TYPE) (\S+)/.exec(line) ?? [];
    if (name !== undefined) isKept = !known.has(name);
    if (line !== '' && line !== '# EOF' && isKept) kept.push(line);
  }
  return `${own}${kept.join('\n')}\n`;
}

function listen(server: Server, host: string, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === 'EADDRINUSE'
          ? 'another process uses it. Give each process on this machine another port'
          : error.message;
      reject(
        new Error(`The metrics cannot be served at ${address} (POLONY_METRICS_ADDRESS): ${reason}`, { cause: error }),
      );
    });
    server.listen(port, host, resolve);
  });
}
