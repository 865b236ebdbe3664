import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { WorkflowHandle } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { type BenchStack, runConcurrently, until, withBenchStack } from './benchStack.js';
import { median, type Report } from './report.js';
import { cpuOf, usageOf } from './usage.js';

/** Rounds of executions and of bare workflows, one after the other, and how many there are in each. */
const ROUNDS = 3;
const EACH = 30;
/** Of each, before the first round: V8 compiles what runs often only after a while. */
const WARM_UP = 60;
/** A workflow that polls a run for four hours, every 30 seconds: a timer and an activity each. */
const POLLING_ACTIONS = 1 + 2 * ((4 * 3600) / 30);

/** Kinds of events that Temporal Cloud bills as an action each. */
const BILLED = [
  'workflowExecutionStartedEventAttributes',
  'activityTaskScheduledEventAttributes',
  'timerStartedEventAttributes',
  'workflowExecutionSignaledEventAttributes',
  'upsertWorkflowSearchAttributesEventAttributes',
  'markerRecordedEventAttributes',
] as const;

type Events = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>;

function countActivities(events: Events): number {
  return events.filter(({ activityTaskScheduledEventAttributes: scheduled }) => scheduled != null).length;
}

/** Rows of executions that complete. HealthOmics takes no time. */
export async function executions(report: Report): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  await withBenchStack(
    {
      env: { POLONY_RUN_POLL_SECONDS: '5' },
      omics: { pace: { PENDING: 0, STARTING: 0, RUNNING: 0, STOPPING: 0 } },
      say: report.say,
    },
    (bench) => measure(report, bench),
  );
}

async function measure(report: Report, bench: BenchStack): Promise<void> {
  const { stack, temporal, start, end, setPace } = bench;
  const runId = await bench.upload('BENCH');
  report.say('  the stack is ready');
  const execute = async (): Promise<string> => {
    const id = await start(runId);
    await end(id);
    return id;
  };
  const native = await NativeConnection.connect({ address: stack.info.temporalAddress });
  const worker = await Worker.create({
    connection: native,
    taskQueue: 'bare',
    workflowsPath: fileURLToPath(new URL('./workflows.ts', import.meta.url)),
    activities: { nothing: async () => undefined },
  });
  const historyOf = async (workflowId: string) =>
    (await temporal.workflow.getHandle(workflowId).fetchHistory()).events ?? [];
  let bareCount = 0;
  const executeBare = async (activities: number): Promise<string> => {
    const workflowId = `bare-${bareCount++}`;
    await temporal.workflow.execute('bare', { taskQueue: 'bare', workflowId, args: [activities] });
    return workflowId;
  };
  await worker.runUntil(async () => {
    // The first ones warm up both sides. Some are seen running, and have an activity more.
    const counts: number[] = [];
    for (const id of await runConcurrently(WARM_UP, execute))
      counts.push(countActivities(await historyOf(`execution/${id}`)));
    const activities = Math.round(median(counts));
    const oneBare = (): Promise<string> => executeBare(activities);
    await runConcurrently(WARM_UP, oneBare);
    report.say(`  both sides are warm; activities of executions: ${Math.min(...counts)} to ${Math.max(...counts)}`);
    const rates = { ours: [] as number[], bare: [] as number[] };
    const cpu = { ours: [] as number[], bare: [] as number[] };
    const parts: Record<string, number> = {
      worker: stack.worker!.pid,
      Temporal: stack.temporal.pid!,
      api: stack.api!.pid,
      'local AWS': stack.aws.pid,
      'HealthOmics emulator and measuring': process.pid,
    };
    const spent: Record<string, number> = {};
    const round = async (side: 'ours' | 'bare', pids: number[], one: () => Promise<unknown>): Promise<void> => {
      const before = cpuOf(...pids);
      const began = performance.now();
      await runConcurrently(EACH, one);
      rates[side].push(EACH / ((performance.now() - began) / 1000));
      cpu[side].push(((cpuOf(...pids) - before) / EACH) * 1000);
      report.say(`  ${side}: ${rates[side].at(-1)!.toFixed(1)} a second, CPU ${cpu[side].at(-1)!.toFixed(0)} ms each`);
    };
    for (let at = 0; at < ROUNDS; at++) {
      const before = Object.entries(parts).map(([name, pid]) => [name, usageOf(pid).cpu] as const);
      await round('ours', [parts.worker!, parts.Temporal!], execute);
      for (const [name, seconds] of before) spent[name] = (spent[name] ?? 0) + usageOf(parts[name]!).cpu - seconds;
      await round('bare', [process.pid, parts.Temporal!], oneBare);
    }
    const each = Object.entries(spent).map(
      ([name, seconds]) => `${name} ${((seconds * 1000) / (ROUNDS * EACH)).toFixed(0)} ms`,
    );
    report.note(
      `CPU of an execution, of all processes on these ${cpus().length} cores: ${each.join(', ')}, and PostgreSQL. A bare ` +
        'workflow uses neither the API nor PostgreSQL nor AWS, and shares its process with its client',
    );
    report.row({
      name: 'executions completed',
      unit: 'a second',
      value: median(rates.ours),
      against: median(rates.bare),
      of: `bare workflows of ${activities} empty activities`,
      ratio: median(rates.ours) / median(rates.bare),
      reach: 'at least 0.7',
      met: median(rates.ours) / median(rates.bare) >= 0.7,
    });
    report.row({
      name: 'CPU of worker and Temporal for an execution',
      unit: 'ms',
      value: median(cpu.ours),
      against: median(cpu.bare),
      of: 'the bare workflow',
      ratio: median(cpu.ours) / median(cpu.bare),
      reach: 'at most 1.3',
      met: median(cpu.ours) / median(cpu.bare) <= 1.3,
    });
    const bare = (await historyOf(await oneBare())).length;
    // Each status takes long enough to be seen.
    await setPace({ PENDING: 3000, STARTING: 500, RUNNING: 3_600_000, STOPPING: 0 });
    const id = await start(runId);
    const runOf = () => [...stack.aws.emulator.runs.values()].find(({ requestId }) => requestId === id);
    const status = async (): Promise<string> =>
      (await bench.call<{ execution: { status: string } }>('GET', `/v1/executions/${id}`)).execution.status;
    await until('the execution to be seen running', async () => (await status()).endsWith('RUNNING'));
    stack.aws.emulator.finish(runOf()!.id);
    await end(id);
    const events = await historyOf(`execution/${id}`);
    report.row({
      name: 'history of an execution that was seen pending and running',
      unit: 'events',
      value: events.length,
      against: bare,
      of: 'the bare workflow',
      ratio: events.length / bare,
      reach: 'at most 31 events',
      met: events.length <= 31,
    });
    const { historySize } = await temporal.workflow.getHandle(`execution/${id}`).describe();
    report.note(`the history of an execution that was seen pending and running has ${historySize} bytes`);
    // No activity has a heartbeat timeout while the run is watched, and watching sends none.
    const actions = events.filter((event) => BILLED.some((kind) => event[kind] != null)).length;
    report.row({
      name: 'billable actions of an execution of 4 hours',
      unit: 'actions',
      value: actions,
      against: POLLING_ACTIONS,
      of: 'a workflow that sleeps and polls every 30 s',
      ratio: actions / POLLING_ACTIONS,
      reach: 'at most 0.1',
      met: actions / POLLING_ACTIONS <= 0.1,
    });
  });
  await native.close();
}
