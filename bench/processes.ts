import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createGuardian } from '../local/guardian.js';
import { freePort } from '../local/ports.js';
import { startStack, type Stack } from '../local/stack.js';
import { startTemporal } from '../local/temporal.js';
import { SEARCH_ATTRIBUTES } from '../workflows/messages/searchAttributes.js';
import { buildFolder } from './build.js';
import { measure } from './measure.js';
import { median, type Report } from './report.js';
import { usageOf } from './usage.js';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** How often each process, and the whole stack, is started. */
const PROCESS_STARTS = 5;
const STACK_STARTS = 2;
/** A start that takes so long counts as one that failed. The first one may build the console. */
const START_MS = 90_000;
const INSTALL_MS = 60_000;

/** Starts a command, and stops it as soon as it prints a text. @returns seconds until then, and its CPU seconds. */
async function timeStart(
  args: string[],
  ready: string,
  env: NodeJS.ProcessEnv,
): Promise<{ wall: number; cpu: number }> {
  const began = performance.now();
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  let output = '';
  const timer = setTimeout(() => child.kill('SIGKILL'), START_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      const take = (chunk: Buffer): void => {
        output += chunk.toString();
        if (output.includes(ready)) resolve();
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      void ended.then(() => reject(new Error(`${args.join(' ')} ended before it was ready: ${output.slice(-1000)}`)));
    });
    return { wall: (performance.now() - began) / 1000, cpu: usageOf(child.pid!).cpu };
  } finally {
    child.kill('SIGINT');
    await ended;
    clearTimeout(timer);
  }
}

/** Measures how long processes, the whole stack and `npm ci` take. */
export async function processes(report: Report): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  try {
    await measureSecondStart(report, path.join(folder, 'second'));
    const stack = await startStack({ stateDir: path.join(folder, 'started'), build: buildFolder() });
    await measureProcessStarts(report, stack).finally(() => stack.stop());
    // Last, since the rows need no more time then. It ends before this part must.
    const timeoutMs = Math.min(INSTALL_MS, report.secondsLeft() * 1000 - 5000);
    if (timeoutMs > 0) await measureInstall(report, path.join(folder, 'install'), timeoutMs);
    else report.note('npm ci was not measured: no time was left');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The second start of a local stack, and of a Temporal dev server with a database that it has used before. */
async function measureSecondStart(report: Report, folder: string): Promise<void> {
  report.say('\nsecond starts of the local stack, and of Temporal alone');
  const env = { ...process.env, POLONY_HOME: path.join(folder, 'stack') };
  const start = async (): Promise<number> =>
    (await timeStart(['local/fromSources.mjs', 'local'], 'Press Ctrl-C', env)).wall;
  const startAlone = async (): Promise<number> => {
    const guardian = await createGuardian(path.join(folder, 'temporal'));
    const began = performance.now();
    try {
      const options = { guardian, stateDir: path.join(folder, 'temporal'), searchAttributes: SEARCH_ATTRIBUTES };
      await startTemporal(options);
      return (performance.now() - began) / 1000;
    } finally {
      await guardian.close();
    }
  };
  await start();
  await startAlone();
  const [ours, alone]: [number[], number[]] = [[], []];
  for (let round = 0; round < STACK_STARTS; round++) {
    ours.push(await start());
    alone.push(await startAlone());
  }
  const [value, against] = [median(ours), median(alone) + 3];
  report.row({
    name: 'second start of `npm run local`, without npm itself',
    unit: 's',
    value,
    against,
    of: 'the Temporal dev server alone, and 3 s',
    ratio: value / against,
    reach: 'at most 1',
    met: value <= against,
  });
}

/** How long a process of the build takes until it serves. */
async function measureProcessStarts(report: Report, stack: Stack): Promise<void> {
  report.say('\nprocess starts');
  const parts = [
    { name: 'API', command: 'api', ready: 'API is listening' },
    { name: 'worker', command: 'worker', ready: 'worker is running' },
  ];
  const starts = parts.map(() => [] as { wall: number; cpu: number }[]);
  for (let round = 0; round < PROCESS_STARTS; round++)
    for (const [at, { command, ready }] of parts.entries()) {
      const env = {
        ...process.env,
        ...stack.env,
        POLONY_PORT: String(await freePort()),
        // Not to take the work of the stack's own worker.
        POLONY_TASK_QUEUE: 'started',
      };
      starts[at]!.push(await timeStart([path.join(buildFolder(), 'cli/main.js'), command], ready, env));
    }
  for (const [at, { name }] of parts.entries()) {
    const value = median(starts[at]!.map(({ wall }) => wall));
    report.row({
      name: `start of the ${name}`,
      unit: 's',
      value,
      against: 1.5,
      of: 'the target',
      ratio: value / 1.5,
      reach: 'within 1.5 s',
      met: value <= 1.5,
    });
    const cpu = median(starts[at]!.map((each) => each.cpu));
    report.note(`start of the ${name}: ${cpu.toFixed(2)} s of CPU`);
  }
}

/** What `npm ci` takes, with the packages that npm has in its cache. It runs once: it takes most of a minute. */
async function measureInstall(report: Report, folder: string, timeoutMs: number): Promise<void> {
  report.say('\nnpm ci');
  mkdirSync(folder, { recursive: true });
  for (const file of ['package.json', 'package-lock.json', '.npmrc'])
    copyFileSync(path.join(ROOT, file), path.join(folder, file));
  const command = ['npm', '--prefix', folder, 'ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  try {
    const { wall, cpu, memory } = await measure('python3', command, { env: process.env, timeoutMs });
    const disk = Number.parseInt(spawnSync('du', ['-sm', path.join(folder, 'node_modules')]).stdout.toString(), 10);
    report.note(
      `npm ci, with development packages and from its cache: ${wall.toFixed(0)} s, ${cpu.toFixed(0)} s of CPU, ` +
        `${memory.toFixed(0)} MiB of memory, ${disk} MiB on disk`,
    );
  } catch (error) {
    report.note(`npm ci was not measured: ${(error as Error).message.split('\n')[0]!.slice(0, 200)}`);
  }
}
