import { connect } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { shareAnswer, withDeadline } from '../../observability/deadline.js';
import { exposeMetrics } from '../../observability/metrics.js';
import { refreshOf, startMetricsServer } from '../../observability/metricsServer.js';
import { startHealthServer } from '../../worker/health.js';

/** Sends bytes, and returns the first line of the answer. */
function sendRaw(url: string, request: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(request));
    let text = '';
    socket.on('data', (data) => (text += data.toString()));
    socket.on('error', reject);
    socket.on('close', () => resolve(text.split('\r\n')[0]!));
  });
}
const get = (url: string, address: string): Promise<string> =>
  sendRaw(url, `GET ${address} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);

/** Addresses that are no URLs, or URLs of another host. */
const ADDRESSES = ['//', '///metrics', '//[', 'http://[', '/%', '*', 'http://x:99999/readyz', '/\\'];

describe('an address that is no URL', () => {
  it('does not end a process that answers health checks', async () => {
    const server = await startHealthServer('127.0.0.1:0', async () => ({
      database: 'ok',
      temporal: 'ok',
      tasks: 'ok',
    }));
    for (const address of ADDRESSES) expect(await get(server.url, address), address).toMatch(/^HTTP\/1.1 40[04] /);
    expect(await get(server.url, '/readyz?from=probe')).toBe('HTTP/1.1 200 OK');
    await server.close();
  });

  it('does not end a process that serves metrics', async () => {
    const read = { database: async () => [], temporal: async () => [] };
    const server = await startMetricsServer('127.0.0.1:0', { process: 'api', version: '0', read });
    for (const address of ADDRESSES) expect(await get(server.url, address), address).toMatch(/^HTTP\/1.1 40[04] /);
    expect(await get(server.url, '/metrics?')).toBe('HTTP/1.1 200 OK');
    await server.close();
  });
});

it('a health check that fails itself is answered', async () => {
  const server = await startHealthServer('127.0.0.1:0', () => Promise.reject(new Error('broken')));
  const response = await fetch(`${server.url}/readyz`);
  expect(response.status).toBe(503);
  expect(await response.json()).toEqual({ status: 'not ready', message: 'The check failed: broken' });
  await server.close();
});

describe('checks', () => {
  afterEach(() => void vi.useRealTimers());

  it('share one answer while it is on its way, and for a while after', async () => {
    vi.useFakeTimers();
    let calls = 0;
    const check = shareAnswer(async () => {
      calls++;
      await new Promise((resolve) => setTimeout(resolve, 3000));
      return calls;
    }, 1000);
    const both = [check(), check()];
    await vi.advanceTimersByTimeAsync(2000);
    both.push(check());
    await vi.advanceTimersByTimeAsync(1900);
    both.push(check());
    expect(await Promise.all(both)).toEqual([1, 1, 1, 1]);
    await vi.advanceTimersByTimeAsync(2000);
    const later = check();
    await vi.advanceTimersByTimeAsync(3000);
    expect(await later).toBe(2);
  });

  it('end at their deadline', async () => {
    vi.useFakeTimers();
    const late = expect(withDeadline(new Promise(() => undefined), 3000)).rejects.toThrow('no answer within 3 s');
    await vi.advanceTimersByTimeAsync(3000);
    await late;
    expect(await withDeadline(Promise.resolve(1), 3000)).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('of the metrics give a query up whose connection was lost without a trace', async () => {
    vi.useFakeTimers();
    const queries: ((readings: []) => void)[] = [];
    const refresh = refreshOf('database', () => new Promise((resolve) => queries.push(resolve)));
    const scrape = async (): Promise<string> => {
      const refreshed = refresh();
      await vi.advanceTimersByTimeAsync(4000);
      await refreshed;
      return (await exposeMetrics('api')).match(/^polony_database_up .*$/m)![0];
    };
    for (let each = 0; each < 5; each++) expect(await scrape()).toBe('polony_database_up 0');
    // Scrapes do not pile queries up.
    expect(queries).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(30_000);
    const last = scrape();
    expect(queries).toHaveLength(2);
    queries[1]!([]);
    expect(await last).toBe('polony_database_up 1');
  });
});
