import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { adminClients, apiClient, connectAccount, setUpCustomer } from '../cli/customer.js';
import { simulateInstrument } from '../local/instrument.js';
import { startStack } from '../local/stack.js';
import { smallRun } from './benchStack.js';
import { percentile } from './report.js';

// npm run bench:quota: measures 500 executions under the default AWS quota for GetRun, and the time that an event
// saves.
const EXECUTIONS = 500;
/** The runs end evenly over this time. */
const ENDING_MS = 120_000;
const EVENTS = 15;

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-quota-'));
const stack = await startStack({
  stateDir,
  durable: false,
  headless: true,
  omics: { pace: { PENDING: 0, STARTING: 0, RUNNING: 3_600_000, STOPPING: 0 }, quotas: { GetRun: 10 } },
  env: {
    POLONY_DISCOVER_SECONDS: '3600',
    POLONY_UPLOAD_POLL_SECONDS: '3600',
    POLONY_RUN_POLL_SECONDS: '30',
    POLONY_SWEEP_SECONDS: '86400',
    POLONY_GET_RUNS_PER_SECOND: '8',
  },
  onProgress: say,
});
try {
  const { info } = stack;
  const { emulator } = stack.aws;
  const call = apiClient(info);
  const account = await setUpCustomer(info, stack.aws.serviceAccountId, 'quota');
  const { storageConnectionId, computeConnectionId, flowId } = await connectAccount(call, account);
  await call('POST', '/v1/flows', {
    name: 'automatic',
    computeConnectionId,
    sharedWorkflowId: account.workflowId,
    workflowOwnerId: account.workflowOwnerId,
    autoStart: { storageConnectionIds: [storageConnectionId] },
  });
  const { s3 } = adminClients(info);
  const upload = async (runName: string): Promise<string> => {
    const { folder, done } = simulateInstrument({
      s3,
      bucket: account.bucket,
      prefix: account.prefix,
      run: smallRun(runName),
    });
    await done;
    return folder;
  };
  const post = (detail: object, source: string, type: string): Promise<unknown> =>
    call('POST', '/v1/events', { source, 'detail-type': type, account: '111122223333', region: 'us-west-2', detail });

  say(`\nfrom the event about RunUploaded.json to StartRun: ${EVENTS} runs, one after the other`);
  const toStart: number[] = [];
  for (let at = 0; at < EVENTS; at++) {
    const folder = await upload(`EVENT${at}`);
    const known = emulator.runs.size;
    const began = Date.now();
    await post(
      { bucket: { name: account.bucket }, object: { key: `${folder}/RunUploaded.json` } },
      'aws.s3',
      'Object Created',
    );
    while (emulator.runs.size === known) await pause(2);
    toStart.push([...emulator.runs.values()].at(-1)!.createdAt - began);
  }
  say(`median ${percentile(toStart, 0.5)} ms, slowest ${Math.max(...toStart)} ms (target: a median under 2 s)`);

  say(`\n${EXECUTIONS} executions with a GetRun quota of 10 a second`);
  const { runs } = await call<{ runs: { id: string }[] }>('GET', '/v1/runs');
  const ids: string[] = [];
  for (let at = 0; at < EXECUTIONS; at += 20)
    ids.push(
      ...(await Promise.all(
        Array.from(
          { length: 20 },
          async () =>
            (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId: runs[0]!.id }))
              .execution.id,
        ),
      )),
    );
  while ([...emulator.runs.values()].filter((run) => run.status === 'RUNNING').length < EXECUTIONS) await pause(500);
  say('all are running; now they end');
  await pause(15_000);
  const from = emulator.calls.length;
  const ended = new Map<string, number>();
  const own = [...emulator.runs.values()].filter((run) => ids.includes(run.requestId));
  // End the runs without their work: only the time until polony sees the end matters.
  for (const [at, run] of own.entries()) {
    setTimeout(
      () => {
        run.status = 'FAILED';
        run.failureReason = 'WORKFLOW_RUN_FAILED';
        run.stoppedAt = Date.now();
        ended.set(run.requestId, Date.now());
      },
      (at / own.length) * ENDING_MS,
    );
  }
  const noticed = new Map<string, number>();
  while (noticed.size < own.length) {
    // polony sees the end when GetRun returns FAILED.
    for (const each of emulator.calls.slice(from)) {
      const run =
        each.operation === 'GetRun' && each.code === 200 && each.runId !== undefined
          ? emulator.runs.get(each.runId)
          : undefined;
      if (run?.stoppedAt !== undefined && each.at >= run.stoppedAt && !noticed.has(run.requestId))
        noticed.set(run.requestId, each.at);
    }
    await pause(1000);
  }
  const after = own.map((run) => noticed.get(run.requestId)! - ended.get(run.requestId)!);
  const calls = emulator.calls.slice(from).filter((each) => each.operation === 'GetRun');
  const throttled = calls.filter((each) => each.code === 429).length;
  say(
    `${calls.length} GetRun calls, ${throttled} throttled ` +
      `(${((100 * throttled) / calls.length).toFixed(2)} %; target: at most 1 %)`,
  );
  say(
    `polony sees an end after ${(percentile(after, 0.5) / 1000).toFixed(1)} s at the median, ` +
      `${(percentile(after, 0.95) / 1000).toFixed(1)} s at p95 (target: a median of at most a minute)`,
  );
  s3.destroy();
} finally {
  await stack.stop();
  rmSync(stateDir, { recursive: true, force: true });
}
process.exit(0);
