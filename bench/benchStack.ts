import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import {
  adminClients,
  apiClient,
  type Connected,
  connectAccount,
  type CustomerAccount,
  setUpCustomer,
} from '../cli/customer.js';
import { describeRun, type SimulatedRun, simulateInstrument } from '../local/instrument.js';
import { controlOmics } from '../local/omics/control.js';
import type { Pace } from '../local/omics/run.js';
import { type Stack, type StackOptions, startStack } from '../local/stack.js';
import { buildFolder } from './build.js';

/** A stack with a connected account, for one part of the bench. */
export interface BenchStack extends Connected {
  stack: Stack;
  call: ReturnType<typeof apiClient>;
  account: CustomerAccount;
  temporal: Client;
  setPace: (pace: Pace) => Promise<unknown>;
  /** Uploads a small run. @returns its id, once its upload has ended */
  upload: (runName: string) => Promise<string>;
  /** Starts an execution. @returns its id */
  start: (runId: string) => Promise<string>;
  /** Waits until the workflow of an execution has ended. */
  end: (executionId: string) => Promise<unknown>;
}

/** A run of one cycle and one sample: its upload takes next to no time. */
export function smallRun(runName: string): SimulatedRun {
  return describeRun({
    runName,
    cycles: { R1: 1 },
    samples: [{ name: 'one', index1: '', index2: '' }],
    bytesPerCycle: 16,
  });
}

/** Waits until something is true. @throws after so many seconds, with what it waited for. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>, seconds = 120): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s`);
    await pause(20);
  }
}

/** Does something `count` times, `atOnce` at the same time. @returns the results in order */
export async function runConcurrently<T>(count: number, each: (at: number) => Promise<T>, atOnce = 20): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(atOnce, count) }, async () => {
      while (next < count) {
        const at = next++;
        results[at] = await each(at);
      }
    }),
  );
  return results;
}

/**
 * Kills the worker, and starts one with other settings. The leases are forgotten, so that it need not wait until they
 * expire.
 * @param meanwhile what changes while no worker runs
 */
export async function replaceWorker(
  stack: Stack,
  env: Record<string, string>,
  meanwhile: () => Promise<unknown> = async () => undefined,
): Promise<void> {
  stack.worker!.kill();
  await stack.worker!.exited;
  const db = new pg.Client({ connectionString: stack.info.databaseUrl });
  await db.connect();
  await db.query('delete from leases').finally(() => db.end());
  await meanwhile();
  Object.assign(stack.env, env);
  stack.worker = await stack.startWorker();
}

/**
 * Starts a stack of the built processes, and connects an account, for the time of some measurements.
 * @param env settings of the API and the worker
 * @param autoStart whether the flow starts for each run
 */
export async function withBenchStack(
  {
    env,
    omics,
    autoStart = false,
    say,
  }: {
    env: Record<string, string>;
    omics: StackOptions['omics'];
    autoStart?: boolean;
    say: (line: string) => void;
  },
  measure: (bench: BenchStack) => Promise<void>,
): Promise<void> {
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  const stack = await startStack({
    stateDir,
    durable: false,
    headless: true,
    build: buildFolder(),
    omics,
    // The bench is one caller, which asks often whether something has happened. The first sweep comes at a random moment
    // of the interval.
    env: {
      POLONY_DISCOVER_SECONDS: '3600',
      POLONY_SWEEP_SECONDS: '86400',
      POLONY_REQUESTS_PER_MINUTE: '1000000',
      ...env,
    },
    onProgress: say,
  });
  const { info } = stack;
  const connection = await Connection.connect({ address: info.temporalAddress });
  const { s3, iam, omics: omicsClient } = adminClients(info);
  try {
    const temporal = new Client({ connection });
    const call = apiClient(info);
    const account = await setUpCustomer(info, stack.aws.serviceAccountId, 'bench');
    const connected = await connectAccount(call, account, { autoStart });
    await measure({
      ...connected,
      stack,
      call,
      account,
      temporal,
      setPace: (pace) => controlOmics(stack.aws.emulator.control, 'POST', 'settings', { pace }),
      upload: async (runName) => {
        const { bucket, prefix } = account;
        await simulateInstrument({ s3, bucket, prefix, run: smallRun(runName) }).done;
        await call('POST', `/v1/storage-connections/${connected.storageConnectionId}/discover`);
        let id: string | undefined;
        await until(`the run ${runName}`, async () => {
          const { runs } = await call<{ runs: { id: string; name: string; status: string }[] }>('GET', '/v1/runs');
          id = runs.find(({ name, status }) => name === runName && status === 'RUN_STATUS_COMPLETED')?.id;
          return id !== undefined;
        });
        return id!;
      },
      start: async (runId) =>
        (
          await call<{ execution: { id: string } }>('POST', '/v1/executions', {
            flowId: connected.flowId,
            runId,
          })
        ).execution.id,
      end: (executionId) => temporal.workflow.getHandle(`execution/${executionId}`).result(),
    });
  } finally {
    for (const client of [s3, iam, omicsClient]) client.destroy();
    await connection.close();
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}
