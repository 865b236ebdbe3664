import { spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { CancelRunCommand, StartRunCommand } from '@aws-sdk/client-omics';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import pg from 'pg';
import { adminClients } from '../cli/customer.js';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';
import { Orchestrator } from '../temporal/client.js';
import { type BenchStack, runConcurrently, until, withBenchStack } from './benchStack.js';
import { percentile, type Report } from './report.js';
import { cpuOf, usageOf } from './usage.js';

/** How many runs are watched. */
const COUNTS = [500, 2000, 10_000];
/** How many of them Temporal has as open workflows. More would take longer to open than the rest of the measurement. */
const MOST_OPEN = 2000;
/** How many executions start at each of them, and before all. */
const STARTED = 40;
/** Share of the starts whose end is not measured, and after how many milliseconds an activity counts as lost. */
const MOST_LOST = 0.05;
const LOST_AFTER_MS = 30_000;
const CANCELLED = 40;
const CANCELLED_AT = 2000;
/** How often the waiters poll (botocore, omics, RunCompleted). One round of theirs is measured. */
const WAITER_SECONDS = 30;
const MEASURED_MS = WAITER_SECONDS * 1000;
/** More threads than this do not come to their second poll in that time, in one process of Python. */
const MOST_WAITERS = 2000;

/** Rows of runs that are watched. */
export async function watching(report: Report): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  await withBenchStack(
    {
      // The first polls of all runs come soon, so that the worker knows all of each. There is no second one. A sweep
      // would start the copies, which have no workflow of their own.
      env: { POLONY_GET_RUNS_PER_SECOND: '1000', POLONY_RUN_POLL_SECONDS: '3600' },
      omics: { pace: { PENDING: 0, STARTING: 0, RUNNING: 3_600_000, STOPPING: 0 } },
      say: report.say,
    },
    async (bench) => {
      const db = new pg.Client({ connectionString: bench.stack.info.databaseUrl });
      await db.connect();
      try {
        await new Watching(report, bench, db, await bench.upload('BENCH')).measure();
      } finally {
        await db.end();
      }
    },
  );
}

class Watching {
  /** Executions that the measurement started, with a workflow. */
  readonly #started: string[] = [];
  #copies = 0;
  #openWorkflows = 0;
  /** Activities that no worker got although Temporal had started them. */
  #lost = 0;
  readonly #orchestrator: Orchestrator;

  constructor(
    private readonly report: Report,
    private readonly bench: BenchStack,
    private readonly db: pg.Client,
    private readonly runId: string,
  ) {
    this.#orchestrator = new Orchestrator(bench.temporal, bench.stack.env.POLONY_TASK_QUEUE ?? 'polony');
  }

  async measure(): Promise<void> {
    const { report, bench } = this;
    const { stack } = bench;
    await this.#startSome(20);
    const speeds = [await this.#measureStarts()];
    await pause(5000);
    const idle = usageOf(stack.worker!.pid);
    const { pythonBin } = await ensurePython(PYTHON.awsClients);
    const waiters = new Map<number, Waiters>();
    const memory = new Map<number, number>();
    for (const count of COUNTS) {
      report.say(`  ${count} runs are watched`);
      await this.#watch(count);
      memory.set(count, ((usageOf(stack.worker!.pid).memory - idle.memory) * 1024) / count);
      speeds.push(await this.#measureStarts());
      if (count === CANCELLED_AT) await this.#measureCancels();
      if (count <= MOST_WAITERS) waiters.set(count, await this.#measureWaiters(pythonBin, count));
    }
    this.#reportSpeeds(speeds);
    for (const [count, kb] of memory) {
      const largest = waiters.get(count) ?? waiters.get(MOST_WAITERS)!;
      report.row({
        name: `memory of a worker for each of ${count} watched runs`,
        unit: 'KB',
        value: kb,
        against: largest.kb / largest.count,
        of: `each of ${largest.count} boto3 waiters in threads of one process; the idle worker has ${Math.round(idle.memory)} MB`,
        ratio: kb / (largest.kb / largest.count),
        reach: 'at most 100 KB',
        met: kb <= 100,
      });
    }
    await this.#measureTakeover();
    await this.#measurePolls(waiters);
    report.note(
      `${this.#lost} of ${this.#started.length} activities that watch a run were started by Temporal and reached no ` +
        'worker. They were started again, as the sweep does. So starts a second are those of the first 95 %',
    );
  }

  get #emulator() {
    return this.bench.stack.aws.emulator;
  }

  #getRuns(): number {
    return this.#emulator.calls.filter(({ operation }) => operation === 'GetRun').length;
  }

  /**
   * Starts executions, and waits until their runs are watched.
   * @returns milliseconds until nearly all were: Temporal may lose the answer with which it hands an activity to a
   * worker, and the sweep, which is off here, would start that activity again
   */
  async #startSome(count: number): Promise<number> {
    const began = performance.now();
    const ids = await runConcurrently(count, () => this.bench.start(this.runId));
    this.#started.push(...ids);
    const listOthers = async (): Promise<string[]> => {
      const { rows } = await this.db.query<{ id: string }>(
        `select id from unnest($1::uuid[]) id
         where not exists (select from watches where execution_id = id and from_status = 'RUNNING')`,
        [ids],
      );
      return rows.map(({ id }) => id);
    };
    let duration = 0;
    await until('the started runs to be watched', async () => {
      const others = await listOthers();
      if (duration === 0 && others.length <= count * MOST_LOST) duration = performance.now() - began;
      if (performance.now() - began < LOST_AFTER_MS) return others.length === 0;
      const startedBefore = new Date(Date.now() - LOST_AFTER_MS);
      for (const id of others) if (await this.#orchestrator.watches.restart(id, startedBefore)) this.#lost++;
      return others.length === 0;
    });
    return duration;
  }

  /** @returns starts a second, and the CPU of worker and Temporal for each */
  async #measureStarts(): Promise<{ perSecond: number; cpuMs: number }> {
    const pids = [this.bench.stack.worker!.pid, this.bench.stack.temporal.pid!];
    const before = cpuOf(...pids);
    const perSecond = (STARTED * (1 - MOST_LOST)) / ((await this.#startSome(STARTED)) / 1000);
    const cpuMs = ((cpuOf(...pids) - before) / STARTED) * 1000;
    this.report.say(`  ${perSecond.toFixed(1)} starts a second, CPU ${cpuMs.toFixed(0)} ms each`);
    return { perSecond, cpuMs };
  }

  #reportSpeeds(speeds: readonly { perSecond: number; cpuMs: number }[]): void {
    const [first] = speeds;
    for (const [at, count] of COUNTS.entries()) {
      const { perSecond, cpuMs } = speeds[at + 1]!;
      const isLast = at === COUNTS.length - 1;
      this.report.row({
        name: `starts a second while ${count} runs are watched`,
        unit: 'a second',
        value: perSecond,
        against: first!.perSecond,
        of: 'the first starts, with next to none watched',
        ratio: perSecond / first!.perSecond,
        series: { title: 'Starts a second', at: count },
        ...(isLast && { reach: 'at least 0.8', met: perSecond / first!.perSecond >= 0.8 }),
      });
      this.report.row({
        name: `CPU of worker and Temporal for a start while ${count} runs are watched`,
        unit: 'ms',
        value: cpuMs,
        against: first!.cpuMs,
        of: 'the first starts',
        ratio: cpuMs / first!.cpuMs,
        series: { title: 'CPU of worker and Temporal for a start', at: count },
        ...(isLast && { reach: 'at most 1.25', met: cpuMs / first!.cpuMs <= 1.25 }),
      });
    }
    this.report.note(
      'starts: the watched runs beyond those that the measurement starts are copies of an execution in PostgreSQL, each ' +
        `with a HealthOmics run of its own and a registered watch. Temporal has ${MOST_OPEN} more open workflows at most, ` +
        'and none of their activities: it has nothing to do for an open activity without heartbeats',
    );
  }

  /** Makes as many runs watched, and waits until each was polled. */
  async #watch(count: number): Promise<void> {
    const more = count - this.#copies - this.#started.length;
    const [template] = this.#started;
    const model = [...this.#emulator.runs.values()].find(({ requestId }) => requestId === template)!;
    const ids = Array.from({ length: more }, (_, at) => String(5_000_000 + this.#copies + at));
    for (const id of ids) this.#emulator.runs.set(id, { ...model, id, uuid: `uuid-${id}`, requestId: `copy-${id}` });
    await this.db.query(
      `insert into executions
       select (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'healthomics_run_id', copy.id,
         'healthomics_run_uuid', 'uuid-' || copy.id))).*
       from executions e, unnest($2::text[]) as copy(id) where e.id = $1`,
      [template, ids],
    );
    await this.db.query(
      `insert into watches (execution_id, scope, task_token, from_status, probing)
       select e.id, w.scope, convert_to(e.id::text, 'utf8'), 'RUNNING', false
       from watches w, executions e where w.execution_id = $1 and e.healthomics_run_id = any($2)`,
      [template, ids],
    );
    this.#copies += more;
    const before = this.#getRuns();
    await this.#open(more);
    await until('each run to be polled', () => this.#getRuns() - before >= more, 90);
    await pause(2000);
  }

  /** Has Temporal hold open workflows, of which nobody takes the tasks. */
  async #open(count: number): Promise<void> {
    const more = Math.min(count, MOST_OPEN - this.#openWorkflows);
    await runConcurrently(
      more,
      () =>
        this.bench.temporal.workflow.start('open', { taskQueue: 'open', workflowId: `open-${this.#openWorkflows++}` }),
      50,
    );
  }

  /** Kills the worker. A new one takes over its runs. */
  async #measureTakeover(): Promise<void> {
    const { stack } = this.bench;
    // From here on with the default settings: GetRun stays within the default quota of AWS.
    stack.env.POLONY_GET_RUNS_PER_SECOND = '8';
    stack.env.POLONY_RUN_POLL_SECONDS = '60';
    const before = this.#getRuns();
    const began = Date.now();
    await stack.crash('worker');
    await until('the runs of the killed worker to be polled', () => this.#getRuns() > before);
    this.report.row({
      name: 'from the kill of a worker to the first poll by the next',
      unit: 's',
      value: (Date.now() - began) / 1000,
      against: 30,
      of: 'the time of a lease',
      ratio: (Date.now() - began) / 30_000,
      reach: 'at most 120 s',
      met: Date.now() - began <= 120_000,
    });
    await pause(15_000);
  }

  /** The default quota of AWS decides how often runs are polled, from 480 watched on. So it does not depend on the count. */
  async #measurePolls(waiters: ReadonlyMap<number, Waiters>): Promise<void> {
    const worker = this.bench.stack.worker!.pid;
    const [before, calls] = [cpuOf(worker), this.#getRuns()];
    await pause(MEASURED_MS);
    const seconds = MEASURED_MS / 1000;
    const [cpu, polls] = [(cpuOf(worker) - before) / seconds, this.#getRuns() - calls];
    for (const { count, cpu: theirs, polls: theirPolls } of waiters.values()) {
      this.report.row({
        name: `CPU of a worker that watches ${COUNTS.at(-1)} runs, against ${count} waiters`,
        unit: '% of a core',
        value: cpu * 100,
        against: theirs * 100,
        of: `${count} boto3 waiters in threads of one process`,
        ratio: cpu / theirs,
        reach: 'at most a third',
        met: cpu / theirs <= 1 / 3,
      });
      const perHour = (polls / count) * (3600 / seconds);
      this.report.row({
        name: `GetRun calls, if ${count} runs are watched`,
        unit: 'an execution and hour',
        value: perHour,
        against: 3600 / WAITER_SECONDS,
        of: 'the waiter of the SDK, every 30 s',
        ratio: perHour / (3600 / WAITER_SECONDS),
        reach: 'at most a half without events',
        met: perHour / (3600 / WAITER_SECONDS) <= 0.5,
      });
      this.report.note(
        `GetRun: ${polls} calls of the worker in ${seconds} s, and ${theirPolls} of ${count} waiters, which come later ` +
          `than every ${WAITER_SECONDS} s where their process has no time`,
      );
    }
  }

  async #measureWaiters(pythonBin: string, count: number): Promise<Waiters> {
    const { info } = this.bench.stack;
    const running = [...this.#emulator.runs.values()].flatMap(({ id, status }) => (status === 'RUNNING' ? [id] : []));
    const code = `
import sys, threading, boto3
from botocore.config import Config
config = Config(inject_host_prefix=False, max_pool_connections=50)
omics = boto3.client('omics', endpoint_url=sys.argv[1], region_name='us-west-2', config=config)
waiter = omics.get_waiter('run_completed')
threading.stack_size(256 * 1024)
def wait(run):
    try:
        waiter.wait(id=run, WaiterConfig={'Delay': ${WAITER_SECONDS}, 'MaxAttempts': 1000})
    except Exception:
        pass
for run in sys.stdin.read().split():
    threading.Thread(target=wait, args=(run,), daemon=True).start()
threading.Event().wait()
`;
    const before = this.#getRuns();
    const child = spawn(pythonBin, ['-c', code, info.awsEndpoint], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: {
        ...process.env,
        AWS_ACCESS_KEY_ID: info.adminAccessKeyId,
        AWS_SECRET_ACCESS_KEY: info.adminSecretAccessKey,
      },
    });
    try {
      child.stdin.end(running.slice(0, count).join(' '));
      await until('each waiter to have polled', () => this.#getRuns() - before >= count);
      const [cpu, calls] = [cpuOf(child.pid!), this.#getRuns()];
      await pause(MEASURED_MS);
      return {
        count,
        kb: usageOf(child.pid!).memory * 1024,
        cpu: (cpuOf(child.pid!) - cpu) / (MEASURED_MS / 1000),
        polls: this.#getRuns() - calls,
      };
    } finally {
      child.kill('SIGKILL');
    }
  }

  async #measureCancels(): Promise<void> {
    const { report, bench } = this;
    const calledAt = (runId: string): number | undefined =>
      this.#emulator.calls.findLast((each) => each.operation === 'CancelRun' && each.runId === runId)?.at;
    const runOf = new Map([...this.#emulator.runs.values()].map(({ requestId, id }) => [requestId, id]));
    const { s3, iam, omics } = adminClients(bench.stack.info);
    const cancels: number[] = [];
    const byHand: number[] = [];
    for (const id of this.#started.slice(-CANCELLED)) {
      let asked = Date.now();
      await bench.call('POST', `/v1/executions/${id}/cancel`, { reason: 'bench' });
      await until('CancelRun', () => calledAt(runOf.get(id)!) !== undefined);
      cancels.push(calledAt(runOf.get(id)!)! - asked);
      const { id: runId } = await omics.send(
        new StartRunCommand({
          workflowId: bench.account.workflowId,
          workflowOwnerId: bench.account.workflowOwnerId,
          workflowType: 'PRIVATE',
          roleArn: bench.account.executionRoleArn,
          outputUri: `s3://${bench.account.bucket}/runs/by-hand`,
          storageType: 'DYNAMIC',
          requestId: `by-hand-${id}`,
          parameters: {
            run_dir: `s3://${bench.account.bucket}/runs/AV240001/20260115_AV240001_BENCH`,
            no_projects: true,
          },
        }),
      );
      asked = Date.now();
      await omics.send(new CancelRunCommand({ id: runId }));
      byHand.push(calledAt(runId!)! - asked);
    }
    for (const client of [s3, iam, omics]) client.destroy();
    const [ours, theirs] = [percentile(cancels, 0.99), percentile(byHand, 0.99)];
    report.row({
      name: `from the cancel call to CancelRun at HealthOmics, ${CANCELLED_AT} watched, p99`,
      unit: 'ms',
      value: ours,
      against: theirs,
      of: 'CancelRun called by hand',
      ratio: ours - theirs,
      reach: 'at most 300 ms more',
      met: ours - theirs <= 300,
    });
    report.note(`cancel at the median: ${percentile(cancels, 0.5)} ms, by hand ${percentile(byHand, 0.5)} ms`);
  }
}

/** What waiters of boto3 use: memory of the process in KB, CPU as a share of a core, and their calls while measured. */
interface Waiters {
  count: number;
  kb: number;
  cpu: number;
  polls: number;
}
