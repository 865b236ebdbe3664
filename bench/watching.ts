import { setTimeout as pause } from 'node:timers/promises';
import { CancelRunCommand, StartRunCommand } from '@aws-sdk/client-omics';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import pg from 'pg';
import { adminClients } from '../cli/customer.js';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';
import { WAKE_CHANNEL } from '../store/events.js';
import { Orchestrator } from '../temporal/client.js';
import { type BenchStack, replaceWorker, runConcurrently, until, withBenchStack } from './benchStack.js';
import { mean, median, percentile, type Report } from './report.js';
import { cpuOf, cpuShareDuring, usageOf } from './usage.js';
import { WAITER_SECONDS, Waiters, type WaitersUsage } from './waiters.js';

/** How many runs are watched. */
const COUNTS = [500, 2000, 10_000];
/** How many of them Temporal has as open workflows. More would take longer to open than the rest of the measurement. */
const MOST_OPEN = 2000;
/**
 * How many executions start in a round, at each of them and beside it on a stack with few, and how many rounds there
 * are. The last one is the one with a target. Before, so many start to warm up.
 */
const STARTS = { each: 25, rounds: 2, lastRounds: 3, warmUp: 60 };
/** Share of the starts whose end is not measured, and after how many milliseconds an activity counts as lost. */
const MOST_LOST = 0.05;
const LOST_AFTER_MS = 30_000;
const CANCELLED = 150;
const CANCELLED_AT = 2000;
/** More threads of one process of Python do not always come to their second poll in time. */
const MOST_WAITERS = 2000;
/** What a watched run may take of a worker's memory. */
const MOST_KB = 100;
/** GetRun calls a second in one account, as by default: from 480 watched runs on, there are no more. */
const GET_RUNS_PER_SECOND = 8;
/** Polls are measured for as long as a round of the waiters, in so many pieces. */
const PIECES = 6;
const PIECE_SECONDS = WAITER_SECONDS / PIECES;
/** Polls before that, so that V8 has compiled what a worker executes that runs for days. */
const WARM_UP = { polls: 1000, again: 300, perSecond: 150 };
/** Runs that are watched where events arrive. */
const WITH_EVENTS = 60;
/** What starts are compared with: it watches no more than it has started itself. */
const MOST_FEW = STARTS.warmUp + STARTS.each * ((COUNTS.length - 1) * STARTS.rounds + STARTS.lastRounds);
const FEW = { text: `a stack that watches ${STARTS.warmUp} to ${MOST_FEW} runs`, about: 100 };
/** How long the calls of the worker that took over are counted. */
const COUNTED_SECONDS = 10;

/** Rows of runs that are watched. */
export async function watching(report: Report): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const withStarter = (run: (starter: Starter) => Promise<void>): Promise<void> =>
    withBenchStack(
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
          await run(new Starter(bench, db, await bench.upload('BENCH')));
        } finally {
          await db.end();
        }
      },
    );
  let hasFew: (starter: Starter) => void = () => undefined;
  let end = (): void => undefined;
  const few = new Promise<Starter>((resolve) => (hasFew = resolve));
  const ended = new Promise<void>((resolve) => (end = resolve));
  // Both start at the same time. If one fails, this process ends, and with it the other.
  await Promise.all([
    withStarter(async (starter) => {
      hasFew(starter);
      await ended;
    }),
    withStarter(async (many) => {
      await new Watching(report, many, await few).measure();
      end();
    }),
  ]);
}

/** @returns the CPU of a worker in each piece, as shares of a core: they show whether it did something only once */
async function measurePieces(worker: number): Promise<number[]> {
  const cpus: number[] = [];
  for (let piece = 0; piece < PIECES; piece++) cpus.push(await cpuShareDuring(pause(PIECE_SECONDS * 1000), worker));
  return cpus;
}

/** What a worker uses that watches. */
interface WatchingUsage {
  /** Of the worker, in MiB, and before it watched as many runs. */
  memory: number;
  idleMemory: number;
  /** Share of a core. */
  cpu: number;
  /** Whether it has polled before as often as events asked for. */
  hasPolled: boolean;
  waiters: WaitersUsage;
}

/** Starts a second, and the CPU of worker and Temporal for each. */
interface Starts {
  perSecond: number;
  cpuMs: number;
}

/** Starts executions of a stack, whose runs are then watched. */
class Starter {
  /** Executions that have started. */
  readonly started: string[] = [];
  /** Activities that no worker got although Temporal had started them. */
  lost = 0;
  readonly #orchestrator: Orchestrator;

  constructor(
    readonly bench: BenchStack,
    readonly db: pg.Client,
    private readonly runId: string,
  ) {
    this.#orchestrator = new Orchestrator(bench.temporal, bench.stack.env.POLONY_TASK_QUEUE ?? 'polony');
  }

  /**
   * Starts executions, and waits until their runs are watched.
   * @returns what was measured until nearly all were: Temporal may lose the answer with which it hands an activity to a
   * worker, and the sweep, which is off here, would start that activity again
   */
  async start(count: number): Promise<Starts> {
    const pids = [this.bench.stack.worker!.pid, this.bench.stack.temporal.pid!];
    const [began, before] = [performance.now(), cpuOf(...pids)];
    const ids = await runConcurrently(count, () => this.bench.start(this.runId));
    this.started.push(...ids);
    const listOthers = async (): Promise<string[]> => {
      const { rows } = await this.db.query<{ id: string }>(
        `select id from unnest($1::uuid[]) id
         where not exists (select from watches where execution_id = id and from_status = 'RUNNING')`,
        [ids],
      );
      return rows.map(({ id }) => id);
    };
    let measured: Starts | undefined;
    await until('the started runs to be watched', async () => {
      const others = await listOthers();
      const watched = count - others.length;
      if (others.length <= count * MOST_LOST)
        measured ??= {
          perSecond: (watched * 1000) / (performance.now() - began),
          cpuMs: ((cpuOf(...pids) - before) * 1000) / watched,
        };
      if (performance.now() - began < LOST_AFTER_MS) return others.length === 0;
      const startedBefore = new Date(Date.now() - LOST_AFTER_MS);
      for (const id of others) if (await this.#orchestrator.watches.restart(id, startedBefore)) this.lost++;
      return others.length === 0;
    });
    return measured!;
  }
}

class Watching {
  readonly #bench: BenchStack;
  readonly #db: pg.Client;
  #copies = 0;
  #cancelled = 0;
  #openWorkflows = 0;

  /**
   * @param many of the stack whose watched runs become more and more
   * @param few of a stack that watches few runs
   */
  constructor(
    private readonly report: Report,
    private readonly many: Starter,
    private readonly few: Starter,
  ) {
    this.#bench = many.bench;
    this.#db = many.db;
  }

  async measure(): Promise<void> {
    const { report } = this;
    const { stack } = this.#bench;
    for (const starter of [this.few, this.many]) await starter.start(STARTS.warmUp);
    await pause(2000);
    const idle = usageOf(stack.worker!.pid);
    const { pythonBin } = await ensurePython(PYTHON.awsClients);
    let waiters: WaitersUsage | undefined;
    for (const count of COUNTS) {
      report.say(`  ${count} runs are watched`);
      await this.#watch(count);
      const { memory } = usageOf(stack.worker!.pid);
      await this.#compareStarts(count);
      const measured = await this.#measurePolls(pythonBin, count);
      waiters = measured.waiters ?? waiters!;
      this.#reportWatching(count, { ...measured, memory, idleMemory: idle.memory, waiters });
      if (count === CANCELLED_AT)
        await Promise.all([this.#measureCancels(), this.#causePolls(100, GET_RUNS_PER_SECOND)]);
    }
    const ended = stack.worker!.logTail(1 << 22).split('no longer watches').length - 1;
    if (ended > 0) report.note(`the worker lost its lease ${ended} times, and began to watch all runs again`);
    // Each on a stack of its own. The worker that takes over mostly waits.
    await Promise.all([this.#measureTakeover(), this.#measurePollsWithEvents(this.few)]);
    report.note(
      'starts: the watched runs beyond those that the measurement starts are copies of an execution in PostgreSQL, each ' +
        `with a HealthOmics run of its own and a registered watch. Temporal has ${MOST_OPEN} more open workflows at most, ` +
        'and none of their activities: it has nothing to do for an open activity without heartbeats',
    );
    const [lost, started] = [this.many.lost + this.few.lost, this.many.started.length + this.few.started.length];
    report.note(
      `${lost} of ${started} activities that watch a run were started by Temporal and reached no worker. They were ` +
        'started again, as the sweep does. So starts a second are those of the first 95 %',
    );
  }

  get #emulator() {
    return this.#bench.stack.aws.emulator;
  }

  #getRuns(): number {
    return this.#emulator.calls.filter(({ operation }) => operation === 'GetRun').length;
  }

  /** Starts executions on both stacks, one after the other. */
  async #compareStarts(count: number): Promise<void> {
    const [many, few]: Starts[][] = [[], []];
    /** Of the worker with many, while the other stack starts executions. */
    const idle: number[] = [];
    const isLast = count === COUNTS.at(-1);
    for (let round = 0; round < (isLast ? STARTS.lastRounds : STARTS.rounds); round++)
      for (const [starter, measured] of [
        [this.few, few!],
        [this.many, many!],
      ] as const) {
        const worker = this.#bench.stack.worker!.pid;
        const starting = starter.start(STARTS.each);
        const share = await cpuShareDuring(starting, worker);
        const starts = await starting;
        measured.push(starts);
        if (starter === this.few) idle.push(share);
        this.report.say(
          `  ${starter === this.few ? 'few' : count} watched: ${starts.perSecond.toFixed(1)} starts a second, CPU ` +
            `${starts.cpuMs.toFixed(0)} ms each`,
        );
      }
    this.report.note(
      `a worker that watches ${count} runs took ${(Math.max(...idle) * 100).toFixed(1)} % of a core while the other stack ` +
        'started executions',
    );
    const addRow = (
      what: keyof Starts,
      { title, unit, reach }: { title: string; unit: string; reach: string },
      isMet: (ratio: number) => boolean,
    ): void => {
      const [value, against] = [many!, few!].map((side) => median(side.map((each) => each[what]))) as [number, number];
      const row = { unit, against, of: FEW.text };
      if (count === COUNTS[0])
        this.report.row({
          name: `${title} while few runs are watched`,
          value: against,
          ratio: 1,
          ...row,
          series: { title, at: FEW.about },
        });
      this.report.row({
        name: `${title} while ${count} runs are watched`,
        ...{ ...row, value, ratio: value / against, series: { title, at: count } },
        ...(isLast && { reach, met: isMet(value / against) }),
      });
    };
    addRow('perSecond', { title: 'starts a second', unit: 'a second', reach: 'at least 0.8' }, (ratio) => ratio >= 0.8);
    addRow(
      'cpuMs',
      { title: 'CPU of worker and Temporal for a start', unit: 'ms', reach: 'at most 1.25' },
      (ratio) => ratio <= 1.25,
    );
  }

  /** Makes as many runs watched, and waits until each was polled. */
  async #watch(count: number): Promise<void> {
    const more = count - this.#copies - this.many.started.length + this.#cancelled;
    const [template] = this.many.started;
    const model = [...this.#emulator.runs.values()].find(({ requestId }) => requestId === template)!;
    const ids = Array.from({ length: more }, (_, at) => String(5_000_000 + this.#copies + at));
    for (const id of ids) this.#emulator.runs.set(id, { ...model, id, uuid: `uuid-${id}`, requestId: `copy-${id}` });
    await this.#db.query(
      `insert into executions
       select (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'healthomics_run_id', copy.id,
         'healthomics_run_uuid', 'uuid-' || copy.id))).*
       from executions e, unnest($2::text[]) as copy(id) where e.id = $1`,
      [template, ids],
    );
    await this.#db.query(
      `insert into watches (execution_id, scope, task_token, from_status, probing)
       select e.id, w.scope, convert_to(e.id::text, 'utf8'), 'RUNNING', false
       from watches w, executions e where w.execution_id = $1 and e.healthomics_run_id = any($2)`,
      [template, ids],
    );
    this.#copies += more;
    const before = this.#getRuns();
    await this.#open(more);
    await until('each run to be polled', () => this.#getRuns() - before >= more, 90);
    // What was registered just now is read again by each renewal of the lease, and copies all at once never are.
    await this.#db.query(`update watches set time_registered = time_registered - interval '10 minutes'`);
    await pause(2000);
  }

  /** Has Temporal hold open workflows, of which nobody takes the tasks. */
  async #open(count: number): Promise<void> {
    const more = Math.min(count, MOST_OPEN - this.#openWorkflows);
    await runConcurrently(
      more,
      () =>
        this.#bench.temporal.workflow.start('open', { taskQueue: 'open', workflowId: `open-${this.#openWorkflows++}` }),
      50,
    );
  }

  /** Kills the worker. A new one takes over its runs. */
  async #measureTakeover(): Promise<void> {
    const { stack } = this.#bench;
    // From here on with the default settings.
    stack.env.POLONY_GET_RUNS_PER_SECOND = String(GET_RUNS_PER_SECOND);
    stack.env.POLONY_RUN_POLL_SECONDS = '60';
    // As after a renewal, so that chance does not decide how much time the leases have left.
    await this.#db.query(`update leases set expires_at = now() + interval '30 seconds'`);
    const began = Date.now();
    await stack.crash('worker');
    // The last polls of the killed worker are over.
    const before = this.#getRuns();
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
    const calls = this.#getRuns();
    await pause(COUNTED_SECONDS * 1000);
    const polls = this.#getRuns() - calls;
    for (const count of COUNTS) {
      const perHour = (polls / count) * (3600 / COUNTED_SECONDS);
      this.report.row({
        name: `GetRun calls, if ${count} runs are watched`,
        unit: 'an execution and hour',
        value: perHour,
        against: 3600 / WAITER_SECONDS,
        of: 'the waiter of the SDK, every 30 s',
        ratio: perHour / (3600 / WAITER_SECONDS),
        reach: 'at most a half without events',
        // A worker that does not poll meets nothing.
        met: polls >= 0.8 * GET_RUNS_PER_SECOND * COUNTED_SECONDS && perHour / (3600 / WAITER_SECONDS) <= 0.5,
      });
    }
  }

  /** Polls of a few runs where events arrive, with an interval of a second, so that they need not be awaited for long. */
  async #measurePollsWithEvents({ bench: { stack }, db }: Starter): Promise<void> {
    let began = 0;
    await replaceWorker(stack, { POLONY_RUN_POLL_SECONDS: '1' }, async () => {
      await db.query(
        `delete from watches where execution_id not in
           (select execution_id from watches where from_status = 'RUNNING' limit ${WITH_EVENTS})`,
      );
      await db.query(
        `insert into event_sources (source, time_genuine) select distinct 'omics/' || scope, now() from watches
         on conflict (source) do update set time_genuine = now()`,
      );
      began = Date.now();
    });
    /** From the first poll of each run to its second, in milliseconds. */
    const pauses = (): number[] => {
      const polls = new Map<string, number[]>();
      for (const { operation, runId = '', at } of stack.aws.emulator.calls)
        if (operation === 'GetRun' && at >= began) polls.set(runId, [...(polls.get(runId) ?? []), at]);
      return [...polls.values()].flatMap(([first, second]) => (second === undefined ? [] : [second - first!]));
    };
    await until('most runs to be polled again', () => pauses().length >= WITH_EVENTS / 2);
    const seconds = median(pauses()) / 1000;
    // By default, the interval is a minute instead of a second.
    const perHour = (3600 / seconds) * (1 / 60);
    const ratio = perHour / (3600 / WAITER_SECONDS);
    this.report.row({
      name: 'GetRun calls where events arrive',
      unit: 'an execution and hour',
      value: perHour,
      against: 3600 / WAITER_SECONDS,
      of: 'the waiter of the SDK, every 30 s',
      ratio,
      reach: 'at most a tenth',
      met: ratio <= 0.1,
    });
  }

  /**
   * Has the worker poll as often as the default quota allows, beside as many waiters as runs are watched. Events cause
   * the polls, since each run would be due at the same moment otherwise.
   * @returns the CPU of the worker as a share of a core, and what the waiters used; absent where there are too many
   */
  async #measurePolls(
    pythonBin: string,
    count: number,
  ): Promise<{ cpu: number; hasPolled: boolean; waiters?: WaitersUsage }> {
    const worker = this.#bench.stack.worker!.pid;
    const running = [...this.#emulator.runs.values()].flatMap(({ id, status }) => (status === 'RUNNING' ? [id] : []));
    const callsBefore = this.#getRuns();
    const warmUp = count === COUNTS[0] ? WARM_UP.polls : WARM_UP.again;
    await this.#causePolls(warmUp, WARM_UP.perSecond);
    const hasPolled = this.#getRuns() - callsBefore >= warmUp * 0.9;
    const waiters =
      count > MOST_WAITERS ? undefined : new Waiters(pythonBin, this.#bench.stack.info, running.slice(0, count));
    try {
      const calls = this.#getRuns();
      if (waiters !== undefined) await until('each waiter to have polled', () => this.#getRuns() - calls >= count);
      const polls = WAITER_SECONDS * GET_RUNS_PER_SECOND;
      const polling = this.#causePolls(polls, GET_RUNS_PER_SECOND);
      const [used, cpus] = await Promise.all([waiters?.measure(polling), measurePieces(worker), polling]);
      // Beside waiters, nobody can tell who has called.
      const isBusy = waiters !== undefined || this.#getRuns() - calls >= 0.8 * polls;
      this.report.note(
        `CPU of a worker that watches ${count} runs, in pieces of ${PIECE_SECONDS} s: ` +
          `${cpus.map((cpu) => (cpu * 100).toFixed(1)).join(', ')} % of a core`,
      );
      return { cpu: mean(cpus), hasPolled: hasPolled && isBusy, ...(used && { waiters: used }) };
    } finally {
      waiters?.stop();
    }
  }

  /** Wakes the watcher of a run, then of the next, evenly. */
  async #causePolls(count: number, perSecond: number): Promise<void> {
    const { rows } = await this.#db.query<{ id: string }>(
      `select execution_id as id from watches where from_status = 'RUNNING' order by random() limit ${count}`,
    );
    const began = performance.now();
    for (let at = 0; at < count; at++) {
      await this.#db.query('select pg_notify($1, $2)', [WAKE_CHANNEL, rows[at % rows.length]!.id]);
      await pause(Math.max(0, began + ((at + 1) * 1000) / perSecond - performance.now()));
    }
  }

  #reportWatching(count: number, { memory, idleMemory, cpu, hasPolled, waiters }: WatchingUsage): void {
    // What V8 takes and gives back meanwhile is more than a few runs need. So the row compares whole processes.
    const mostMemory = idleMemory + (count * MOST_KB) / 1024;
    const kb = ((memory - idleMemory) * 1024) / count;
    const of =
      waiters.count === count
        ? `${count} boto3 waiters in threads of one process`
        : `${count / waiters.count} times what ${waiters.count} boto3 waiters use`;
    this.report.row({
      name: `memory of a worker that watches ${count} runs`,
      unit: 'MiB',
      value: memory,
      against: mostMemory,
      of: `the worker after its first starts, and ${MOST_KB} KB a run`,
      ratio: memory / mostMemory,
      reach: 'at most 1',
      met: memory <= mostMemory,
    });
    this.report.note(
      `memory of a worker that watches ${count} runs: ${kb.toFixed(0)} KB a run more than the ` +
        `${Math.round(idleMemory)} MiB that it had after its first starts. ` +
        `${waiters.count} boto3 waiters use ${Math.round(waiters.kb / 1024)} MiB`,
    );
    const theirs = (waiters.cpu / waiters.count) * count;
    this.report.row({
      name: `CPU of a worker that watches ${count} runs`,
      unit: '% of a core',
      value: cpu * 100,
      against: theirs * 100,
      of,
      ratio: cpu / theirs,
      reach: 'at most a third',
      met: hasPolled && cpu / theirs <= 1 / 3,
    });
  }

  async #measureCancels(): Promise<void> {
    const { report } = this;
    const bench = this.#bench;
    const calledAt = (runId: string): number | undefined =>
      this.#emulator.calls.findLast((each) => each.operation === 'CancelRun' && each.runId === runId)?.at;
    const runOf = new Map([...this.#emulator.runs.values()].map(({ requestId, id }) => [requestId, id]));
    const { s3, iam, omics } = adminClients(bench.stack.info);
    const cancels: number[] = [];
    const byHand: number[] = [];
    for (const id of this.many.started.slice(-CANCELLED)) {
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
    this.#cancelled += CANCELLED;
    for (const client of [s3, iam, omics]) client.destroy();
    const [ours, theirs] = [percentile(cancels, 0.99), percentile(byHand, 0.99)];
    report.row({
      name: `from the cancel call to CancelRun at HealthOmics, ${CANCELLED_AT} watched, p99`,
      unit: 'ms',
      value: ours,
      against: theirs + 300,
      of: 'CancelRun called by hand, and 300 ms',
      ratio: ours / (theirs + 300),
      reach: 'at most 1',
      met: ours <= theirs + 300,
    });
    report.note(`cancel at the median: ${percentile(cancels, 0.5)} ms, by hand ${percentile(byHand, 0.5)} ms`);
  }
}
