import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startStack, type Stack } from '../local/stack.js';
import { buildFolder } from './build.js';
import type { Report } from './report.js';
import { usageOf } from './usage.js';

/** Pause after a start until processes have done their first work. V8 collects what is left of it seconds later. */
const SETTLED_MS = 30_000;
/** How long idle processes are measured: some of what they do comes once a minute. */
const MEASURED_MS = 60_000;

/** The rows of processes that do nothing. */
export async function idle(report: Report): Promise<void> {
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  const stack = await startStack({ stateDir, build: buildFolder() });
  try {
    await measureIdle(report, stack);
  } finally {
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

/** CPU and memory of each process of a local stack without connections. */
async function measureIdle(report: Report, stack: Stack): Promise<void> {
  await pause(SETTLED_MS);
  const pids = stack.info.pids;
  const usage = (): Record<string, { memory: number; cpu: number }> =>
    Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, usageOf(pid)]));
  const before = usage();
  await pause(MEASURED_MS);
  const after = usage();
  const share = (name: string): number => ((after[name]!.cpu - before[name]!.cpu) / MEASURED_MS) * 100_000;
  for (const [name, most] of [
    ['api', 120],
    ['worker', 150],
  ] as const) {
    const value = after[name]!.memory;
    report.row({
      name: `memory of an idle ${name === 'api' ? 'API' : name}`,
      unit: 'MiB',
      value,
      against: most,
      of: 'the target',
      ratio: value / most,
      reach: `at most ${most} MiB`,
      met: value <= most,
    });
  }
  const value = share('api') + share('worker');
  report.row({
    name: 'CPU of an idle API and worker',
    unit: '% of a core',
    value,
    against: 1,
    of: `the target; the Temporal dev server beside them uses ${share('temporal').toFixed(1)} %`,
    ratio: value,
    reach: 'at most 1 %',
    met: value <= 1,
  });
  const each = Object.keys(pids)
    .filter((name) => name !== 'polony')
    .map((name) => `${name} ${share(name).toFixed(1)} % and ${after[name]!.memory.toFixed(0)} MiB`);
  report.note(`idle processes of a local stack without connections, CPU of a core and memory: ${each.join(', ')}`);
}
