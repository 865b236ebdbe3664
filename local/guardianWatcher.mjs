/**
 * The guardian's watcher: the process that stops the children of a guardian when the guardian's own process has ended.
 *
 * It is plain JavaScript, so that Node.js starts it without a loader: it runs after some 30 ms, from the sources and
 * from `dist/`. For the same reason it imports nothing of polony.
 *
 * Its standard input is the guardian's lifeline: the kernel closes it when the guardian's process ends, whatever the
 * cause. Each line is a `WatcherCommand` of guardian.ts as JSON. The end of the input means: stop every child.
 *
 * Arguments: the guardian's id, the file of its record, and the files to remove at the end.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';

/** @typedef {import('./guardian.js').GuardedProcess} GuardedProcess */
/** @typedef {{ pid: number, start: string | null, key: string }} MarkedProcess */

const MARKER = 'POLONY_GUARD=';
const ORPHAN_GRACE_MS = 3000;
const POLL_MS = 25;

const [id = '', recordFile = '', ...filesToRemove] = process.argv.slice(2);
const isLinux = process.platform === 'linux';
/** @type {(line: string) => import('./guardian.js').WatcherCommand} */
const parseCommand = JSON.parse;

/** @type {Map<string, GuardedProcess>} */
const children = new Map();
let isStopping = false;
let unreadInput = '';

// To end the watcher, end the guardian's process. A signal to the whole process tree must not end the watcher first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => undefined);

process.stdin.setEncoding('utf8');
process.stdin.on('data', readCommands);
process.stdin.on('end', stopOnce);
process.stdin.on('error', stopOnce);
process.stdin.on('close', stopOnce);

/** @param {string} chunk */
function readCommands(chunk) {
  const lines = (unreadInput + chunk).split('\n');
  unreadInput = lines.pop() ?? '';
  for (const line of lines) {
    const command = parseCommand(line);
    if ('add' in command) children.set(command.add.key, command.add);
    else children.delete(command.remove);
  }
}

function stopOnce() {
  if (isStopping) return;
  isStopping = true;
  void stopAll();
}

async function stopAll() {
  for (const file of filesToRemove) ignoreErrors(() => rmSync(file, { force: true }));
  await stopOrphans();
  // The child that started last stops first: a worker that still reaches its server returns its tasks to it.
  for (const child of [...children.values()].reverse()) await stop(child);
  for (const stray of markedProcesses()) send(stray, 'SIGKILL', false);
  ignoreErrors(() => rmSync(recordFile, { force: true }));
  process.exit(0);
}

/** Stops the processes whose registration this watcher never read: the guardian ended right after it started them. */
async function stopOrphans() {
  const registered = [...children.values()];
  // The other processes of a registered child's group end with that child.
  const orphans = markedProcesses().filter(
    (marked) => !registered.some((child) => child.pid === marked.pid || child.key === marked.key),
  );
  await Promise.all(orphans.map((orphan) => stop({ ...orphan, stopSignal: 'SIGTERM', graceMs: ORPHAN_GRACE_MS })));
}

/**
 * Sends the stop signal, and SIGKILL to the whole process group after the grace period.
 * @param {GuardedProcess} child
 */
async function stop(child) {
  send(child, child.stopSignal, false);
  const deadline = Date.now() + child.graceMs;
  while (isRunning(child) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  send(child, 'SIGKILL', true);
}

/**
 * @param {{ pid: number, start: string | null }} target
 * @param {NodeJS.Signals} signal
 * @param {boolean} toGroup
 */
function send(target, signal, toGroup) {
  if (!isRunning(target)) return;
  try {
    process.kill(toGroup ? -target.pid : target.pid, signal);
  } catch {
    ignoreErrors(() => process.kill(target.pid, signal));
  }
}

/** @param {{ pid: number, start: string | null }} target */
function isRunning({ pid, start }) {
  const now = startOf(pid);
  return now !== null && (start === null || start === now);
}

/**
 * When a process began; null when it has ended. It must give the same string as `processStart` in guardian.ts.
 * @param {number} pid
 * @returns {string | null}
 */
function startOf(pid) {
  try {
    if (!isLinux) {
      const output = execFileSync('ps', ['-o', 'lstart=', '-p', `${pid}`], { stdio: ['ignore', 'pipe', 'ignore'] });
      return output.toString('utf8').trim() || null;
    }
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the command is in parentheses and may contain spaces and parentheses itself.
    const fields = stat.replace(/^.*\)\s/s, '').split(' ');
    // A zombie has ended; it only waits for its parent to read its exit code.
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/**
 * The processes whose environment carries this guardian's marker: also those that the guardian started just before it
 * ended, and those that left their process group. Only Linux shows the environment of other processes.
 * @returns {MarkedProcess[]}
 */
function markedProcesses() {
  if (!isLinux) return [];
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const key = markOf(name);
      const start = key === undefined ? null : startOf(Number(name));
      return key === undefined || start === null ? [] : [{ pid: Number(name), start, key }];
    });
}

/** @param {string} pid */
function markOf(pid) {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return environment.find((entry) => entry.startsWith(`${MARKER}${id}:`))?.slice(MARKER.length);
  } catch {
    return undefined;
  }
}

/** @param {() => unknown} action */
function ignoreErrors(action) {
  try {
    action();
  } catch {
    // What fails here has ended or is removed already, and the rest must still stop.
  }
}
