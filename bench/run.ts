import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildOnce } from '../local/sourceBuild.js';
import { killDescendants } from './descendants.js';
import type { PartMessage } from './part.js';
import { PARTS } from './parts.js';
import { lineOf, writeReport } from './report.js';
import type { Row } from './row.js';
import { MEMORY } from './transfers/setup.js';

// npm run bench [-- --only <part> …]: runs the parts one after the other, and some beside each other. Each has a process
// of its own, so that one that hangs or fails takes nothing with it.

/** The whole bench ends within so many minutes, with what was measured by then. */
const MOST_MINUTES = 20;
/** How long a part that is stopped may take to end. */
const STOP_MS = 10_000;
const ends = Date.now() + MOST_MINUTES * 60_000 - 2 * STOP_MS;

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const rows: Row[] = [];
/** The parts that are running. */
const running = new Set<ChildProcess>();
let isInterrupted = false;
const notes = [`${cpus().length} cores and ${Math.round(totalmem() / 2 ** 30)} GiB; this machine runs both sides`];

/** @returns why the part did not end well; undefined if it did */
async function runPart(name: string, minutes: number): Promise<string | undefined> {
  const milliseconds = Math.min(minutes * 60_000, ends - Date.now());
  if (milliseconds <= 0) return `no time was left of the ${MOST_MINUTES} minutes of the bench`;
  const folder = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  // PostgreSQL may run as another user.
  chmodSync(folder, 0o711);
  const child = fork(
    fileURLToPath(new URL('./part.ts', import.meta.url)),
    [name, build, String(Date.now() + milliseconds)],
    {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, TMPDIR: folder },
    },
  );
  running.add(child);
  let isDone = false;
  child.on('message', (message: PartMessage) => {
    if ('say' in message) say(message.say);
    else if ('note' in message) notes.push(message.note);
    else if ('row' in message) {
      rows.push(message.row);
      say(lineOf(message.row));
    } else isDone = true;
  });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    stop(child);
  }, milliseconds);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(timer);
  running.delete(child);
  // What was killed may still be ending.
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  removeFromMemory(child.pid!);
  if (isDone && code === 0) return undefined;
  return isLate
    ? `it did not end within ${(milliseconds / 60_000).toFixed(1)} minutes`
    : `it ended with ${code ?? 'a signal'}`;
}

/** A part that loses its connection kills what it has started, and ends. One that is busy for too long cannot. */
function stop(child: ChildProcess): void {
  if (child.connected) child.disconnect();
  setTimeout(() => {
    // Its process ID may belong to another process by now.
    if (!running.has(child)) return;
    killDescendants(child.pid!);
    child.kill('SIGKILL');
  }, STOP_MS).unref();
}

/** Removes what a part has left in memory; see `unchanged`. */
function removeFromMemory(pid: number): void {
  if (!existsSync(MEMORY)) return;
  for (const name of readdirSync(MEMORY))
    if (name.startsWith(`polony-bench-${pid}-`))
      rmSync(path.join(MEMORY, name), { recursive: true, force: true, maxRetries: 10 });
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    isInterrupted = true;
    for (const child of running) stop(child);
  });

/** The parts that the command line names. */
let only: string[] | undefined;
try {
  ({ only } = parseArgs({ options: { only: { type: 'string', multiple: true } } }).values);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\nUsage: npm run bench [-- --only <part> …]\n`);
  process.exit(2);
}
for (const name of only ?? [])
  if (PARTS[name] === undefined) {
    process.stderr.write(`--only: there is no part ${name}. The parts are ${Object.keys(PARTS).join(', ')}\n`);
    process.exit(2);
  }
say('Building polony from its sources, if they have changed');
const build = await buildOnce();
const durations: string[] = [];

/** Runs a part, and says how long it took and what went wrong. */
async function measurePart(name: string, minutes: number): Promise<void> {
  say(`\n${name}`);
  const began = performance.now();
  const problem = await runPart(name, minutes);
  const seconds = Math.round((performance.now() - began) / 1000);
  say(`${name}: ${seconds} s`);
  durations.push(`${name} ${seconds} s`);
  if (problem === undefined) return;
  say(`${name}: ${problem}`);
  rows.push({
    name: `${name}: the rows that are missing`,
    unit: '',
    value: 0,
    against: 0,
    of: '',
    ratio: 0,
    reach: 'to be measured',
    met: false,
    problem,
  });
}

const groups: string[][] = [];
for (const [name, { besideLast }] of Object.entries(PARTS))
  if (besideLast === true) groups.at(-1)!.push(name);
  else groups.push([name]);
for (const group of groups) {
  const asked = group.filter((name) => only?.includes(name) !== false);
  if (!isInterrupted) await Promise.all(asked.map((name) => measurePart(name, PARTS[name]!.minutes)));
}
notes.push(`duration of each part: ${durations.join(', ')}`);
if (isInterrupted) process.exit(130);
writeReport(rows, notes, ['report', ...(only ?? [])].join('-'));
