import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CancelRunCommand, OmicsClient, StartRunCommand } from '@aws-sdk/client-omics';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { adminClients, apiClient, connectAccount, setUpCustomer } from '../cli/customer.js';
import { describeRun, simulateInstrument } from '../local/instrument.js';
import { controlOmics } from '../local/omics/control.js';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';
import { startStack } from '../local/stack.js';
import type { LocalInfo } from '../local/stackFiles.js';
import { percentile, type Report } from './report.js';

/** Number of executions that complete, and of executions that are watched at the same time. */
const COMPLETED = 100;
const WATCHED = 500;
const MANY = 2000;
const CANCELLED = 100;
/** Pause after the last start, until the processes are idle; and the duration of a measurement. */
const SETTLED_MS = 10_000;
const MEASURED_MS = 30_000;
/** Activities of an execution: GetWorkflow, StartRun, watching twice, results. */
const ACTIVITIES = 5;
/** Number of executions, or bare workflows, that start at the same time. */
const AT_ONCE = 20;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function runConcurrently<T>(count: number, each: (at: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(AT_ONCE, count) }, async () => {
      while (next < count) {
        const at = next++;
        results[at] = await each(at);
      }
    }),
  );
  return results;
}

/** Resident memory of a process, in KB, and its CPU time, in seconds (proc(5); 100 ticks a second on Linux). */
function usageOf(pid: number): { kb: number; cpu: number } | undefined {
  try {
    const kb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return { kb, cpu: (Number(fields[11]) + Number(fields[12])) / 100 };
  } catch {
    return undefined;
  }
}

/**
 * Runs one waiter of botocore per run, in threads of one process.
 * @returns the memory of the process in KB, and its CPU as a share of a core.
 */
async function measureBoto3Waiters(
  pythonBin: string,
  runs: string[],
  info: LocalInfo,
  getRuns: () => number,
): Promise<{ kb: number; cpu: number }> {
  const code = `
import sys, threading, boto3
from botocore.config import Config
config = Config(inject_host_prefix=False, max_pool_connections=50)
omics = boto3.client('omics', endpoint_url=sys.argv[1], region_name='us-west-2', config=config)
waiter = omics.get_waiter('run_completed')
threading.stack_size(256 * 1024)
def wait(run):
    try:
        waiter.wait(id=run, WaiterConfig={'Delay': 30, 'MaxAttempts': 1000})
    except Exception:
        pass
for run in sys.stdin.read().split():
    threading.Thread(target=wait, args=(run,), daemon=True).start()
threading.Event().wait()
`;
  const before = getRuns();
  const child = spawn(pythonBin, ['-c', code, info.awsEndpoint], {
    stdio: ['pipe', 'ignore', 'inherit'],
    env: { ...process.env, AWS_ACCESS_KEY_ID: info.adminAccessKeyId, AWS_SECRET_ACCESS_KEY: info.adminSecretAccessKey },
  });
  try {
    child.stdin.end(runs.join(' '));
    // Wait until each waiter has called GetRun once.
    const deadline = Date.now() + 90_000;
    while (getRuns() - before < runs.length && Date.now() < deadline) await pause(200);
    const first = usageOf(child.pid!)!;
    await pause(MEASURED_MS);
    const second = usageOf(child.pid!)!;
    return { kb: second.kb, cpu: (second.cpu - first.cpu) / (MEASURED_MS / 1000) };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Rows of executions that complete, that are watched, and that are cancelled. */
export async function executions(report: Report): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  const stack = await startStack({
    stateDir,
    durable: false,
    headless: true,
    omics: { pace: { PENDING: 0, STARTING: 0, RUNNING: 0, STOPPING: 0 } },
    env: { POLONY_DISCOVER_SECONDS: '3600', POLONY_RUN_POLL_SECONDS: '30', POLONY_SWEEP_SECONDS: '3600' },
    onProgress: report.say,
  });
  try {
    const { info } = stack;
    const call = apiClient(info);
    const connection = await Connection.connect({ address: info.temporalAddress });
    const temporal = new Client({ connection });
    const setPace = (pace: object): Promise<unknown> =>
      controlOmics(stack.aws.emulator.control, 'POST', 'settings', { pace });
    const account = await setUpCustomer(info, stack.aws.serviceAccountId, 'bench');
    const { storageConnectionId, flowId } = await connectAccount(call, account);
    const { s3 } = adminClients(info);
    await simulateInstrument({
      s3,
      bucket: account.bucket,
      prefix: account.prefix,
      run: describeRun({
        runName: 'BENCH',
        cycles: { R1: 1 },
        samples: [{ name: 'one', index1: '', index2: '' }],
        bytesPerCycle: 16,
      }),
    }).done;
    await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
    let runId: string | undefined;
    while (runId === undefined) {
      runId = (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        (run) => run.status === 'RUN_STATUS_COMPLETED',
      )?.id;
      await pause(200);
    }
    const start = async (): Promise<string> =>
      (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId })).execution.id;
    const result = (id: string): Promise<unknown> => temporal.workflow.getHandle(`execution/${id}`).result();

    report.say(`\n${COMPLETED} executions, then ${COMPLETED} bare workflows`);
    await runConcurrently(10, async () => result(await start()));
    const parts = (): Record<string, number> => ({
      worker: stack.worker!.pid,
      api: stack.api!.pid,
      Temporal: stack.temporal.pid!,
      'local AWS': stack.aws.pid,
      'HealthOmics emulator and measuring': process.pid,
    });
    const cpuBefore = Object.fromEntries(Object.entries(parts()).map(([name, pid]) => [name, usageOf(pid)!.cpu]));
    let began = performance.now();
    const done = await runConcurrently(COMPLETED, async () => {
      const id = await start();
      await result(id);
      return id;
    });
    const took = (performance.now() - began) / 1000;
    const perSecond = COMPLETED / took;
    const spent = Object.fromEntries(
      Object.entries(parts()).map(([name, pid]) => [name, usageOf(pid)!.cpu - cpuBefore[name]!]),
    );
    const cpuByPart = Object.entries(spent).map(([name, seconds]) => `${name} ${seconds.toFixed(1)}`);
    report.note(
      `CPU seconds of those ${COMPLETED} executions, in ${took.toFixed(1)} s on ${cpus().length} cores: ` +
        `${cpuByPart.join(', ')}. A bare workflow uses no API, PostgreSQL or AWS`,
    );
    const cpuOf = (): number => usageOf(stack.temporal.pid!)!.cpu + usageOf(process.pid)!.cpu;
    let bareCpu = 0;
    const native = await NativeConnection.connect({ address: info.temporalAddress });
    const bare = await Worker.create({
      connection: native,
      taskQueue: 'bare',
      workflowsPath: fileURLToPath(new URL('./workflows.ts', import.meta.url)),
      activities: { nothing: async () => undefined },
    });
    let bareId = '';
    const barePerSecond = await bare.runUntil(async () => {
      const one = async (at: number): Promise<void> => {
        bareId = `bare-${at}`;
        await temporal.workflow.execute('bare', { taskQueue: 'bare', workflowId: bareId, args: [ACTIVITIES] });
      };
      await runConcurrently(10, (at) => one(10_000 + at));
      began = performance.now();
      const cpu = cpuOf();
      await runConcurrently(COMPLETED, one);
      bareCpu = cpuOf() - cpu;
      return COMPLETED / ((performance.now() - began) / 1000);
    });
    await native.close();
    report.row({
      name: 'executions completed',
      unit: 'a second',
      value: perSecond,
      against: barePerSecond,
      of: `bare workflows of ${ACTIVITIES} empty activities`,
      ratio: perSecond / barePerSecond,
      reach: 'at least 0.7',
      met: perSecond / barePerSecond >= 0.7,
    });
    const events = async (id: string): Promise<number> =>
      (await temporal.workflow.getHandle(id).fetchHistory()).events!.length;
    // Only the parts that both use: Temporal and the worker. The AWS, the database and the API run on the same cores.
    const [oursMs, bareMs] = [((spent.worker! + spent.Temporal!) / COMPLETED) * 1000, (bareCpu / COMPLETED) * 1000];
    report.row({
      name: 'CPU of worker and Temporal for an execution',
      unit: 'ms',
      value: oursMs,
      against: bareMs,
      of: 'the bare workflow',
      ratio: oursMs / bareMs,
    });
    if (perSecond / barePerSecond < 0.7)
      report.note(
        'executions completed: the local AWS shares the cores, and each execution makes about twenty calls to it, ' +
          'including its HealthOmics run. The row on CPU excludes them. Already tried: one statement per slot ' +
          'when nobody waits, and evidence of permissions only when it is new',
      );
    const [ours, theirs] = [await events(`execution/${done[0]!}`), await events(bareId)];
    report.row({
      name: 'history of an execution',
      unit: 'events',
      value: ours,
      against: theirs,
      of: 'the bare workflow',
      ratio: ours / theirs,
      reach: 'at most 45 events',
      met: ours <= 45,
    });

    // From here on with the default setting: GetRun stays within the default quota of AWS.
    stack.env.POLONY_GET_RUNS_PER_SECOND = '8';
    await stack.crash('worker');
    await pause(5000);
    const idle = usageOf(stack.worker!.pid)!;
    await pause(10_000);
    const idleCpu = (usageOf(stack.worker!.pid)!.cpu - idle.cpu) / 10;
    report.note(
      `CPU while watching: the idle worker takes ${(idleCpu * 100).toFixed(1)} % of a core. Each heartbeat of a watched ` +
        'run adds to it. A waiter has no heartbeat, and nobody takes over from it. Already tried: GetRun within a ' +
        'budget instead of a schedule, one poller for all runs, heartbeats every 10 s that the SDK sends every 20 s',
    );
    report.note(
      'memory while watching: 470 KB each before the worker kept fewer workflows in memory (POLONY_WORKFLOW_CACHE, 100 ' +
        'instead of 500). The SDK uses the rest for each activity',
    );
    await setPace({ PENDING: 0, STARTING: 0, RUNNING: 3_600_000, STOPPING: 0 });
    const getRuns = (): number => stack.aws.emulator.calls.filter((each) => each.operation === 'GetRun').length;
    const watched: string[] = [];
    const { pythonBin } = await ensurePython(PYTHON.awsClients);
    for (const count of [WATCHED, MANY]) {
      report.say(`\n${count} executions are watched, by a worker and by boto3`);
      watched.push(...(await runConcurrently(count - watched.length, start)));
      const running = (): string[] =>
        [...stack.aws.emulator.runs.values()].flatMap((run) => (run.status === 'RUNNING' ? [run.id] : []));
      while (running().length < count) await pause(200);
      await pause(SETTLED_MS);
      const worker = stack.worker!.pid;
      const [before, calls] = [usageOf(worker)!, getRuns()];
      await pause(MEASURED_MS);
      const [after, polls] = [usageOf(worker)!, getRuns() - calls];
      const waiters = await measureBoto3Waiters(pythonBin, running(), info, getRuns);
      const each = (after.kb - idle.kb) / count;
      const seconds = MEASURED_MS / 1000;
      report.row({
        name: `memory of a worker for each of ${count} watched executions`,
        unit: 'KB',
        value: each,
        against: waiters.kb / count,
        of:
          'each of as many boto3 waiters in threads of one process; ' +
          `the idle worker has ${Math.round(idle.kb / 1024)} MB`,
        ratio: each / (waiters.kb / count),
        reach: 'at most 150 KB',
        met: each <= 150,
      });
      const [ours, theirs] = [(after.cpu - before.cpu) / seconds, waiters.cpu];
      report.row({
        name: `CPU while ${count} executions are watched`,
        unit: '% of a core',
        value: ours * 100,
        against: theirs * 100,
        of: 'as many boto3 waiters',
        ratio: ours / theirs,
        reach: 'at most a third',
        met: ours / theirs <= 1 / 3,
      });
      // The waiters poll every 30 seconds (botocore, omics, RunCompleted).
      const perHour = (calls: number): number => (calls / count) * (3600 / seconds);
      report.row({
        name: `GetRun calls, ${count} watched`,
        unit: 'an execution and hour',
        value: perHour(polls),
        against: 120,
        of: 'a waiter of the SDK, every 30 s',
        ratio: perHour(polls) / 120,
      });
      if (count === WATCHED) await cancelRows();
    }

    async function cancelRows(): Promise<void> {
      report.say(`\n${CANCELLED} of them are cancelled, and ${CANCELLED} runs by hand`);
      const seen = (match: (each: { runId?: string }) => boolean): number | undefined =>
        stack.aws.emulator.calls.findLast((each) => each.operation === 'CancelRun' && match(each))?.at;
      const runOf = new Map([...stack.aws.emulator.runs.values()].map((run) => [run.requestId, run.id]));
      const cancels: number[] = [];
      for (const id of watched.slice(0, CANCELLED)) {
        const asked = Date.now();
        await call('POST', `/v1/executions/${id}/cancel`, { reason: 'bench' });
        let at: number | undefined;
        while ((at = seen((each) => each.runId === runOf.get(id))) === undefined) await pause(2);
        cancels.push(at - asked);
      }
      const omics = new OmicsClient({
        region: 'us-west-2',
        endpoint: info.awsEndpoint,
        disableHostPrefix: true,
        credentials: { accessKeyId: info.adminAccessKeyId, secretAccessKey: info.adminSecretAccessKey },
      });
      const byHand: number[] = [];
      for (let at = 0; at < CANCELLED; at++) {
        const { id } = await omics.send(
          new StartRunCommand({
            workflowId: account.workflowId,
            workflowOwnerId: account.workflowOwnerId,
            workflowType: 'PRIVATE',
            roleArn: account.executionRoleArn,
            outputUri: `s3://${account.bucket}/runs/by-hand`,
            storageType: 'DYNAMIC',
            requestId: `bench-${at}`,
            parameters: { run_dir: `s3://${account.bucket}/runs/AV240001/20260115_AV240001_BENCH`, no_projects: true },
          }),
        );
        const asked = Date.now();
        await omics.send(new CancelRunCommand({ id }));
        byHand.push(seen((each) => each.runId === id)! - asked);
      }
      const [p99, handP99] = [percentile(cancels, 0.99), percentile(byHand, 0.99)];
      report.row({
        name: `from the cancel call to CancelRun at HealthOmics, ${WATCHED} watched, p99`,
        unit: 'ms',
        value: p99,
        against: handP99,
        of: 'CancelRun called by hand',
        ratio: p99 / Math.max(1, handP99),
        reach: 'at most 300 ms more',
        met: p99 - handP99 <= 300,
      });
      report.note(`cancel at the median: ${percentile(cancels, 0.5)} ms, by hand ${percentile(byHand, 0.5)} ms`);
      omics.destroy();
      // The next round starts new executions instead of the cancelled ones.
      watched.splice(0, CANCELLED);
    }
    s3.destroy();
    await connection.close();
  } finally {
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}
