import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import { freePort } from '../../local/ports.js';
import { type LocalTemporal, startTemporal } from '../../local/temporal.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';
import { databaseUrl, TEMPLATE } from '../sharedPostgres.js';
import { waitFor } from '../support.js';
import { cliFile } from '../testStack.js';

let folder: string;
let guardian: Guardian;
let temporal: LocalTemporal;
let worker: ChildProcess | undefined;
const database = `worker_health_${process.pid}`;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-worker-health-'));
  guardian = await createGuardian(folder);
  temporal = await startTemporal({ guardian, stateDir: folder, headless: true, searchAttributes: SEARCH_ATTRIBUTES });
});
afterEach(() => void worker?.kill('SIGKILL'));
afterAll(async () => {
  await onServer(`drop database if exists ${database} with (force)`);
  await guardian?.stopAll();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function onServer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

/** Starts a worker. @returns its log, and how its checks answer. */
async function startWorker(url: string, temporalAddress = temporal.address) {
  const port = await freePort();
  const child = spawn(process.execPath, [cliFile(), 'worker'], {
    env: {
      ...process.env,
      DATABASE_URL: url,
      TEMPORAL_ADDRESS: temporalAddress,
      TEMPORAL_NAMESPACE: temporal.namespace,
      POLONY_TASK_QUEUE: database,
      POLONY_HEALTH_ADDRESS: `127.0.0.1:${port}`,
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

    await onServer(`create database ${database} template ${TEMPLATE}`);
    await waitFor('the worker to be ready', async () => (await check('/readyz'))?.status === 200);

    await onServer(`drop database if exists ${database} with (force)`);
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

  it('names the address of a Temporal that does not answer', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const { exited, readLog } = await startWorker(databaseUrl(inject('postgresUrl'), TEMPLATE), address);
    expect(await exited).toBe(1);
    expect(readLog()).toContain(`Temporal at ${address} (namespace ${temporal.namespace}) does not answer`);
  });
});
