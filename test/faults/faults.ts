import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { adminClients, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import { startStack } from '../../local/stack.js';
import {
  ANSWER_MS,
  compareWithRuns,
  createCarefulClient,
  emptyOutcome,
  type Outcome,
  waitUntilEnded,
} from './outcome.js';

export interface FaultOptions {
  executions: number;
  /** Seed of all random choices: which faults, when, and what is cancelled. */
  seed: number;
  /** Seconds between two crashes. */
  crashEvery?: number;
  onProgress?: (line: string) => void;
}

/** The result. All counts but `executions`, `faults` and `runs` must be 0. */
export interface FaultReport extends Outcome {
  seed: number;
  /** How many faults of each kind were injected. */
  faults: Record<string, number>;
}

/** Mulberry32: a small generator whose numbers follow from its seed. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function isAlive(pid: number | undefined): boolean {
  try {
    return pid !== undefined && process.kill(pid, 0);
  } catch {
    return false;
  }
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
const PARTS = ['worker', 'api', 'temporal', 'postgres'] as const;

/**
 * Starts executions on the whole stack and injects faults: it kills parts, ends sessions early, makes a fifth of
 * HealthOmics' answers errors, late or lost, lets runs fail temporarily, sends events that are repeated, forged or out
 * of order, and cancels executions at any moment. Then it compares the result with the emulator's own log: every
 * execution must have ended, with at most one run per attempt and the status of its last run, and no run may still be
 * running.
 */
export async function runFaults({
  executions,
  seed,
  crashEvery = 8,
  onProgress = (): void => undefined,
}: FaultOptions): Promise<FaultReport> {
  const draw = random(seed);
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-faults-'));
  const pace = { PENDING: 200, STARTING: 200, RUNNING: 2500, STOPPING: 200 };
  const stack = await startStack({
    stateDir,
    durable: false,
    headless: true,
    omics: { pace },
    env: { POLONY_SESSION_SECONDS: '900', POLONY_SWEEP_SECONDS: '5' },
  });
  const faults: Record<string, number> = {};
  const count = (kind: string): void => void (faults[kind] = (faults[kind] ?? 0) + 1);
  const report: FaultReport = { seed, faults, ...emptyOutcome(executions) };
  try {
    const { info } = stack;
    /** Why a part did not start again after its crash. Ends every wait at once. */
    let crashed: unknown;
    const call = createCarefulClient(
      info.apiKey,
      () => info.apiUrl,
      () => crashed === undefined,
    );
    const account = await setUpCustomer(info, stack.aws.serviceAccountId, 'faults');
    const { flowId } = await connectAccount(call, account);
    const { s3 } = adminClients(info);
    const { folder, done } = simulateInstrument({
      s3,
      bucket: account.bucket,
      prefix: account.prefix,
      run: describeRun({
        runName: 'FAULTS',
        cycles: { R1: 1 },
        samples: [{ name: 'one', index1: '', index2: '' }],
        bytesPerCycle: 16,
      }),
    });
    await done;
    s3.destroy();
    let runId: string | undefined;
    while (runId === undefined) {
      runId = (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        (run) => run.status === 'RUN_STATUS_COMPLETED',
      )?.id;
      await pause(100);
    }

    // About a fifth of all answers gets a fault while executions are created.
    stack.aws.emulator.faults.push(
      // In any case, however few calls there are meanwhile on a slow machine.
      { operation: 'StartRun', kind: 'dropAnswer', count: 2 },
      { operation: '*', kind: 'throttle', probability: 0.06 },
      { operation: '*', kind: 'internal', probability: 0.05 },
      { operation: '*', kind: 'slow', delayMs: 700, probability: 0.05 },
      { operation: '*', kind: 'dropAnswer', probability: 0.05 },
      {
        operation: 'run',
        kind: 'failRun',
        probability: 0.04,
        failureReason: 'SERVICE_ERROR',
        statusMessage: 'scripted',
      },
    );
    let working = true;
    const crashes = (async (): Promise<void> => {
      while (working) {
        await pause(crashEvery * 1000 * (0.5 + draw()));
        if (!working) return;
        const part = PARTS[Math.floor(draw() * (PARTS.length + 1))];
        if (part === undefined) {
          await stack.aws.expireSessions();
          count('sessions ended');
          continue;
        }
        onProgress(`  killing ${part}`);
        await stack.crash(part);
        count(`${part} killed`);
      }
    })();
    /** Sends events that are true, late, repeated, forged or about other runs. A lost event is not sent again. */
    const events = (async (): Promise<void> => {
      const statuses = ['PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'COMPLETED', 'FAILED', 'CANCELLED'];
      while (working) {
        await pause(draw() * 120);
        const all = [...stack.aws.emulator.runs.values()];
        const run = all[Math.floor(draw() * all.length)];
        const origin = { account: run?.accountId ?? '111122223333', region: 'us-west-2' };
        const event =
          run === undefined || draw() < 0.2
            ? {
                ...origin,
                source: 'aws.s3',
                'detail-type': 'Object Created',
                detail: {
                  bucket: { name: account.bucket },
                  object: {
                    key:
                      draw() < 0.5
                        ? `${folder}/RunUploaded.json`
                        : `${account.prefix}/AV240001/20260115_AV240001_FORGED/RunUploaded.json`,
                  },
                },
              }
            : {
                ...origin,
                source: 'aws.omics',
                'detail-type': 'Run Status Change',
                detail: {
                  runId: run.id,
                  uuid: draw() < 0.8 ? run.uuid : 'forged',
                  status: statuses[Math.floor(draw() * statuses.length)],
                },
              };
        const answer = await fetch(`${info.apiUrl}/v1/events`, {
          method: 'POST',
          headers: { 'x-api-key': info.apiKey, 'content-type': 'application/json' },
          body: JSON.stringify(event),
          signal: AbortSignal.timeout(5000),
        }).catch(() => undefined);
        if (answer?.ok === true) count('events');
        else count('events lost');
      }
    })();
    crashes.catch((error: unknown) => (crashed = error));

    const ids: string[] = [];
    const cancels: Promise<unknown>[] = [];
    for (let at = 0; at < executions && crashed === undefined; at++) {
      const { execution } = await call<{ execution: { id: string } }>(
        'POST',
        '/v1/executions',
        { flowId, runId },
        `faults-${seed}-${at}`,
      );
      ids.push(execution.id);
      if (draw() < 0.3) {
        count('cancels');
        const after = draw() * 6000;
        // 409 is a valid answer: the execution had already ended.
        cancels.push(
          pause(after).then(() =>
            call('POST', `/v1/executions/${execution.id}/cancel`, { reason: 'faults' }).catch((error: unknown) =>
              / 409 /.test(String(error)) ? undefined : Promise.reject(error as Error),
            ),
          ),
        );
      }
      // Sometimes the client misses the answer and sends the request again.
      if (draw() < 0.1) {
        count('requests repeated');
        const again = await call<{ execution: { id: string } }>(
          'POST',
          '/v1/executions',
          { flowId, runId },
          `faults-${seed}-${at}`,
        );
        if (again.execution.id !== execution.id)
          report.details.push(`a repeated request created another execution: ${execution.id}, ${again.execution.id}`);
      }
      if (at % 50 === 49) onProgress(`  ${at + 1} executions accepted`);
      await pause(draw() * 150);
    }
    await Promise.all(cancels);
    working = false;
    await Promise.all([crashes, events]);
    if (crashed !== undefined)
      throw crashed instanceof Error ? crashed : new Error('A part did not start again after its crash');
    const { faults: emulatorFaults } = stack.aws.emulator;
    emulatorFaults.splice(0, emulatorFaults.length, ...emulatorFaults.filter(({ count: left }) => left !== undefined));

    onProgress('  waiting until all executions end');
    const states = await waitUntilEnded(ids, call, Date.now() + ANSWER_MS);
    for (const call of stack.aws.emulator.calls) {
      if (call.code === 429) count('calls throttled');
      else if (call.code === 500) count('calls failed');
      else if (call.code === 0) count('answers lost');
    }
    for (const run of stack.aws.emulator.runs.values()) if (run.failureReason === 'SERVICE_ERROR') count('runs failed');
    const runs = [...stack.aws.emulator.runs.values()];
    report.runs = runs.length;
    await compareWithRuns(ids, states, runs, report, call);
    if (report.lost > 0) {
      const log = readFileSync(path.join(stateDir, 'logs', 'worker.log'), 'utf8').slice(-2000);
      report.details.push(
        `the worker ${isAlive(stack.worker?.pid) ? 'is alive' : 'has ended'}; its log ends with ${log}`,
      );
    }
    return report;
  } finally {
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}
