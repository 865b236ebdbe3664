import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import { freePort } from '../../local/ports.js';
import { type LocalTemporal, startTemporal } from '../../local/temporal.js';
import { Orchestrator } from '../../temporal/client.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';
import { createTestDatabase, onSharedServer } from '../postgres.js';
import { databaseUrl, TEMPLATE } from '../sharedPostgres.js';
import { startSilentServer } from '../silentServer.js';
import { waitFor } from '../support.js';
import { cliFile } from '../testStack.js';

let folder: string;
let guardian: Guardian;
let temporal: LocalTemporal;
let databaseThatWorks: string;
let worker: ChildProcess | undefined;
const database = `worker_health_${process.pid}`;

beforeAll(async () => {
  databaseThatWorks = databaseUrl(inject('postgresUrl'), await createTestDatabase());
  folder = mkdtempSync(path.join(tmpdir(), 'polony-worker-health-'));
  guardian = await createGuardian(folder);
  temporal = await startTemporal({ guardian, stateDir: folder, headless: true, searchAttributes: SEARCH_ATTRIBUTES });
});
afterEach(() => void worker?.kill('SIGKILL'));
afterAll(async () => {
  await onSharedServer(`drop database if exists ${database} with (force)`);
  await guardian?.stopAll();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Starts a worker. @returns its log, and how its checks answer. */
async function startWorker(url: string, temporalAddress = temporal.address, env: Record<string, string> = {}) {
  const port = await freePort();
  const child = spawn(process.execPath, [cliFile(), 'worker'], {
    env: {
      ...process.env,
      DATABASE_URL: url,
      TEMPORAL_ADDRESS: temporalAddress,
      TEMPORAL_NAMESPACE: temporal.namespace,
      POLONY_TASK_QUEUE: database,
      POLONY_HEALTH_ADDRESS: `127.0.0.1:${port}`,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  worker = child;
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (log += data.toString()));
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const check = async (where: string): Promise<{ status: number; body: Record<string, string> } | undefined> => {
    try {
      const response = await fetch(`http://127.0.0.1:${port}${where}`);
      return { status: response.status, body: (await response.json()) as Record<string, string> };
    } catch {
      return undefined;
    }
  };
  const stop = (): Promise<number | null> => {
    child.kill('SIGTERM');
    return exited;
  };
  return { check, stop, exited, readLog: () => log };
}

describe('a worker', { tags: 'long' }, () => {
  it('polls only once its database works, and says what it waits for', async () => {
    const url = databaseUrl(inject('postgresUrl'), database);
    const { check, stop, readLog } = await startWorker(url);
    await waitFor('the checks to be answered', async () => (await check('/healthz'))?.status === 200);
    const waiting = await check('/readyz');
    expect(waiting).toMatchObject({ status: 503, body: { status: 'not ready', temporal: 'ok', tasks: 'not polling' } });
    expect(waiting!.body.database).toContain(database);
    await waitFor('the log to name the address', () => readLog().includes(`${new URL(url).host}/${database}`));
    expect(readLog()).not.toContain('worker is running');

    await onSharedServer(`create database ${database} template ${TEMPLATE}`);
    await waitFor('the worker to be ready', async () => (await check('/readyz'))?.status === 200);

    await onSharedServer(`drop database if exists ${database} with (force)`);
    await waitFor('the worker to say that it is not', async () => (await check('/readyz'))?.status === 503);
    expect((await check('/healthz'))!.status).toBe(200);
    // What fails meanwhile is in the log with its message, not as {}.
    await waitFor('an error in the log', () => /does not exist/.test(readLog()));
    expect(readLog()).not.toMatch(/"(error|err)":\{\}/);
    expect(await stop()).toBe(0);
  });

  it('ends at once while it waits', async () => {
    const { check, stop } = await startWorker(databaseUrl(inject('postgresUrl'), `${database}_never`));
    await waitFor('the checks to be answered', async () => (await check('/readyz'))?.status === 503);
    expect(await stop()).toBe(0);
  });

  it('waits for a Temporal that does not answer, names it, and works once it does', async () => {
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    const { check, stop, readLog } = await startWorker(databaseThatWorks, address);
    await waitFor('the log to name what it waits for', () => readLog().includes('waiting for Temporal'));
    expect(readLog()).toContain(`"temporal":"${address}","namespace":"${temporal.namespace}"`);
    expect(readLog()).toContain(`Check TEMPORAL_ADDRESS (${address})`);
    expect(await check('/readyz')).toMatchObject({ status: 503, body: { tasks: 'not polling' } });

    const later = mkdtempSync(path.join(tmpdir(), 'polony-worker-temporal-'));
    const options = { guardian, stateDir: later, headless: true, searchAttributes: SEARCH_ATTRIBUTES };
    const second = await startTemporal({ ...options, preferredPort: port });
    expect(second.address).toBe(address);
    await waitFor('the worker to be ready', async () => (await check('/readyz'))?.status === 200);
    expect(await stop()).toBe(0);
    await second.kill();
    rmSync(later, { recursive: true, force: true });
  });

  it('says how to create a namespace that is missing', async () => {
    const { stop, readLog } = await startWorker(databaseThatWorks, temporal.address, { TEMPORAL_NAMESPACE: 'lab' });
    await waitFor('the advice', () => readLog().includes('temporal operator namespace create'));
    expect(await stop()).toBe(0);
  });

  it('ends while Temporal accepts connections and does not answer', async () => {
    const silent = await startSilentServer();
    const { check, stop, readLog } = await startWorker(databaseThatWorks, silent.address);
    await waitFor('the checks to be answered', async () => (await check('/readyz'))?.body.database === 'ok');
    await waitFor('a connection to Temporal', () => silent.connections() > 0);
    expect(readLog()).not.toContain('worker is running');
    expect(await stop()).toBe(0);
    silent.close();
  });

  it('works, says so and ends while the collector of traces accepts connections and does not answer', async () => {
    const silent = await startSilentServer();
    const { check, stop, readLog } = await startWorker(databaseThatWorks, temporal.address, {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://${silent.address}`,
      OTEL_EXPORTER_OTLP_TIMEOUT: '1000',
      OTEL_BSP_SCHEDULE_DELAY: '100',
      POLONY_SWEEP_SECONDS: '1',
    });
    await waitFor('the worker to be ready', async () => (await check('/readyz'))?.status === 200);
    await waitFor('the log to say that spans are lost', () => readLog().includes('they are lost until it does'));
    expect((await check('/readyz'))?.status).toBe(200);
    expect(await stop()).toBe(0);
    silent.close();
  });

  it('gets tasks once its version is promoted, which needs workers that poll', async () => {
    const version = {
      POLONY_DEPLOYMENT_NAME: 'lab',
      POLONY_BUILD_ID: 'one',
      POLONY_TASK_QUEUE: `${database}_versions`,
    };
    const promote = (buildId: string, wait: string) =>
      promisify(execFile)(process.execPath, [cliFile(), 'promote', '--wait', wait], {
        env: {
          ...process.env,
          TEMPORAL_ADDRESS: temporal.address,
          TEMPORAL_NAMESPACE: temporal.namespace,
          ...version,
          POLONY_BUILD_ID: buildId,
        },
      });
    const connection = await Connection.connect({ address: temporal.address });
    const orchestrator = new Orchestrator(
      new Client({ connection, namespace: temporal.namespace }),
      version.POLONY_TASK_QUEUE,
    );
    const countPollers = async (): Promise<number[]> =>
      (await orchestrator.describeTaskQueues()).map(({ pollers }) => pollers);
    const { check, stop } = await startWorker(databaseThatWorks, temporal.address, version);
    await waitFor('the worker to be ready', async () => (await check('/readyz'))?.status === 200);
    // Nobody has promoted it: it gets no tasks.
    expect(await countPollers()).toEqual([0, 0, 0, 0]);
    await expect(promote('two', '2')).rejects.toThrow(/polls all task queues after 2 s, so nothing was changed/);
    expect((await promote('one', '30')).stdout).toBe('Version one of lab is the current one.\n');
    await waitFor('the pollers to count', async () => (await countPollers()).join() === '1,1,1,1');
    expect(await stop()).toBe(0);
    await connection.close();
  });

  it('ends while its database accepts connections and does not answer', async () => {
    const silent = await startSilentServer();
    const { check, stop } = await startWorker(`postgres://polony:polony@${silent.address}/polony`);
    await waitFor('the checks to be answered', async () => (await check('/readyz'))?.status === 503);
    expect(await stop()).toBe(0);
    silent.close();
  });

  it('is ready again after Temporal was away, and ends while it is away', async () => {
    const later = mkdtempSync(path.join(tmpdir(), 'polony-worker-temporal-'));
    const options = { guardian, stateDir: later, headless: true, searchAttributes: SEARCH_ATTRIBUTES };
    const first = await startTemporal(options);
    const { check, stop } = await startWorker(databaseThatWorks, first.address);
    await waitFor('the worker to be ready', async () => (await check('/readyz'))?.status === 200);
    await first.kill();
    await waitFor('the worker to say that it is not', async () => (await check('/readyz'))?.status === 503);
    expect((await check('/healthz'))?.status).toBe(200);
    const second = await startTemporal({ ...options, preferredPort: Number(first.address.split(':')[1]) });
    expect(second.address).toBe(first.address);
    await waitFor('the worker to be ready again', async () => (await check('/readyz'))?.status === 200);
    await second.kill();
    expect(await stop()).toBe(0);
    rmSync(later, { recursive: true, force: true });
  });
});
