import { spawn as spawnProcess, execFileSync, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * How a child ended. `logTail` is the end of what it wrote, up to 64 KiB, so that the reason of a crash is in it and not
 * only the stacks that follow; `expected` is true when we stopped it.
 */
export interface ChildExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  expected: boolean;
  logTail: string;
  error?: Error;
}

/** How to run a child. */
export interface GuardedSpawnOptions {
  /** Added to this process's environment; a value of `undefined` removes a variable. */
  env?: Record<string, string | undefined>;
  cwd?: string;
  uid?: number;
  gid?: number;
  /** Where stdout and stderr go (appended). Default: `<stateDir>/logs/<name>.log`. */
  logFile?: string;
  /** The signal that asks the child to end. Default SIGTERM; PostgreSQL needs SIGINT for a fast shutdown. */
  stopSignal?: NodeJS.Signals;
  /** Milliseconds between the stop signal and SIGKILL, also when the watcher stops the child. Default 10,000. */
  graceMs?: number;
}

/** A running child. */
export interface GuardedChild {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves, never rejects, when the child has ended. */
  readonly exited: Promise<ChildExit>;
  /** True until the child has ended. */
  isRunning(): boolean;
  /**
   * Sends `signal` (default: the child's stop signal), then SIGKILL after `timeoutMs` (default: the child's grace), and
   * waits for the child's end.
   */
  stop(signal?: NodeJS.Signals, timeoutMs?: number): Promise<ChildExit>;
  /** Kills the child's whole process group at once, without waiting. The exit that follows counts as expected. */
  kill(signal?: NodeJS.Signals): void;
  /** The last `maxBytes` (default 4,096) that the child wrote to its log. */
  logTail(maxBytes?: number): string;
}

/** Supervises children, so that no child outlives this process, whatever ends it. */
export interface Guardian {
  /** The process id of the watcher. */
  readonly pid: number;
  /** Starts a child in its own process group. @throws ChildFailedError when the command cannot start. */
  spawn(name: string, command: string, args: readonly string[], options?: GuardedSpawnOptions): GuardedChild;
  /** Stops every child with its own signal and grace; the child that started last stops first. */
  stopAll(): Promise<void>;
  /** Stops every child and the watcher. You cannot use the guardian afterwards. */
  close(): Promise<void>;
}

export interface GuardianOptions {
  /** Called when a child ends without a stop. By default nothing happens: use `exited` of the child. */
  onUnexpectedExit?: (error: ChildFailedError) => void;
  /** Files to remove when everything has stopped, also when this process was killed: they tell others that it runs. */
  removeAtEnd?: readonly string[];
}

/** A child could not start, or ended by itself. The message contains the end of its log. */
export class ChildFailedError extends Error {
  override readonly name = 'ChildFailedError';
  constructor(
    readonly childName: string,
    readonly exit: ChildExit,
    readonly logFile: string,
  ) {
    const how = exit.error
      ? `could not start: ${exit.error.message}`
      : `ended with ${exit.signal ?? `code ${exit.code}`}`;
    const tail = exit.logTail.trim().slice(-SHOWN_LOG);
    super(`${childName} ${how} (log: ${logFile})${tail ? `\n${tail.replace(/^/gm, '  | ')}` : ''}`);
  }
}

const MARKER = 'POLONY_GUARD';
const WATCHER_FILE = fileURLToPath(new URL('./guardianWatcher.mjs', import.meta.url));
const DEFAULT_GRACE_MS = 10_000;
/** How many characters of a child's log an error shows. */
const SHOWN_LOG = 4096;
const LOG_ROTATE_BYTES = 16 * 1024 * 1024;

/** What the watcher must know about a child to stop it. */
export interface GuardedProcess {
  key: string;
  pid: number;
  start: string | null;
  stopSignal: NodeJS.Signals;
  graceMs: number;
}

/** A line that the guardian writes to its watcher (guardianWatcher.mjs). */
export type WatcherCommand = { add: GuardedProcess } | { remove: string };

/**
 * The content of `<stateDir>/guardian/<id>.json`. With it, a later start can stop the children when this process and
 * its watcher were both killed.
 */
interface GuardianRecord {
  id: string;
  boot: string | null;
  parent: { pid: number; start: string | null };
  watcher: { pid: number; start: string | null };
  children: GuardedProcess[];
}

/**
 * Starts a guardian with its watcher for a state folder. First it stops the children that an earlier run left behind
 * because its process and its watcher were both killed.
 *
 * @param stateDir Folder for `logs/` and the guardian's own records; created if missing.
 */
export async function createGuardian(stateDir: string, options: GuardianOptions = {}): Promise<Guardian> {
  const recordDir = path.join(stateDir, 'guardian');
  mkdirSync(recordDir, { recursive: true, mode: 0o700 });
  await stopLeftovers(recordDir);
  return new ProcessGuardian(stateDir, recordDir, options);
}

class ProcessGuardian implements Guardian {
  readonly #id = randomUUID();
  readonly #recordFile: string;
  readonly #processes = new Map<string, GuardedProcess>();
  readonly #children = new Map<string, GuardedChild>();
  #watcher: ChildProcess;
  #closing = false;
  #counter = 0;

  constructor(
    private readonly stateDir: string,
    recordDir: string,
    private readonly options: GuardianOptions,
  ) {
    this.#recordFile = path.join(recordDir, `${this.#id}.json`);
    this.#watcher = this.#startWatcher();
  }

  get pid(): number {
    return this.#watcher.pid ?? 0;
  }

  #startWatcher(): ChildProcess {
    const logFd = openLog(path.join(this.stateDir, 'logs', 'guardian.log')).fd;
    const watcher = spawnProcess(
      process.execPath,
      ['--max-old-space-size=32', WATCHER_FILE, this.#id, this.#recordFile, ...(this.options.removeAtEnd ?? [])],
      {
        detached: true,
        stdio: ['pipe', logFd, logFd],
        // The watcher needs no loader or inspector of this process. With the marker of an outer guardian, that guardian
        // would stop the watcher before the children that it watches.
        env: withoutUndefined({ ...process.env, NODE_OPTIONS: undefined, [MARKER]: undefined }),
      },
    );
    closeSync(logFd);
    watcher.unref();
    (watcher.stdin as unknown as { unref(): void } | null)?.unref();
    // The exit event reports a watcher that has ended. A write to it fails too, and needs no second report.
    watcher.stdin?.on('error', () => undefined);
    watcher.on('error', () => undefined);
    watcher.once('exit', () => {
      if (this.#closing || this.#watcher !== watcher) return;
      this.#watcher = this.#startWatcher();
      for (const registered of this.#processes.values()) this.#sendToWatcher({ add: registered });
      this.#writeRecord();
    });
    return watcher;
  }

  #sendToWatcher(command: WatcherCommand): void {
    this.#watcher.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  #writeRecord(): void {
    const record: GuardianRecord = {
      id: this.#id,
      boot: bootId(),
      parent: { pid: process.pid, start: processStart(process.pid) },
      watcher: { pid: this.pid, start: processStart(this.pid) },
      children: [...this.#processes.values()],
    };
    const draft = `${this.#recordFile}.${process.pid}.tmp`;
    writeFileSync(draft, JSON.stringify(record), { mode: 0o600 });
    renameSync(draft, this.#recordFile);
  }

  spawn(name: string, command: string, args: readonly string[], options: GuardedSpawnOptions = {}): GuardedChild {
    if (this.#closing) throw new Error(`cannot start ${name}: the guardian is closed`);
    const key = `${this.#id}:${++this.#counter}`;
    const log = openLog(options.logFile ?? path.join(this.stateDir, 'logs', `${name}.log`));
    const started = startInGroup(command, args, options, key, log.fd);
    if (started.pid === undefined) throw startFailure(name, command, log.file);
    const registered: GuardedProcess = {
      key,
      pid: started.pid,
      start: processStart(started.pid),
      stopSignal: options.stopSignal ?? 'SIGTERM',
      graceMs: options.graceMs ?? DEFAULT_GRACE_MS,
    };
    this.#register(registered);
    const child = new Child(name, started, registered, log, () => this.#unregister(key));
    this.#children.set(key, child);
    void child.exited.then((exit) => {
      if (!exit.expected) this.options.onUnexpectedExit?.(new ChildFailedError(name, exit, log.file));
    });
    return child;
  }

  #register(registered: GuardedProcess): void {
    this.#processes.set(registered.key, registered);
    this.#sendToWatcher({ add: registered });
    this.#writeRecord();
  }

  #unregister(key: string): void {
    this.#processes.delete(key);
    this.#children.delete(key);
    killMarked(key);
    this.#sendToWatcher({ remove: key });
    if (!this.#closing) this.#writeRecord();
  }

  async stopAll(): Promise<void> {
    // One after the other: a later child may need an earlier one.
    for (const child of [...this.#children.values()].reverse()) await child.stop();
  }

  async close(): Promise<void> {
    await this.stopAll();
    if (this.#closing) return;
    this.#closing = true;
    const watcher = this.#watcher;
    if (watcher.exitCode !== null || watcher.signalCode !== null) {
      rmSync(this.#recordFile, { force: true });
      return;
    }
    watcher.ref();
    const ended = new Promise<void>((resolve) => watcher.once('exit', () => resolve()));
    watcher.stdin?.end();
    await ended;
    rmSync(this.#recordFile, { force: true });
  }
}

/** Starts a program with the marker of its guardian. The output goes to `logFd`, which this closes. */
function startInGroup(
  command: string,
  args: readonly string[],
  options: GuardedSpawnOptions,
  key: string,
  logFd: number,
): ChildProcess {
  try {
    const child = spawnProcess(command, [...args], {
      // Its own process group: Ctrl-C in the terminal reaches only this process, which stops the children in order.
      detached: true,
      stdio: ['ignore', logFd, logFd],
      cwd: options.cwd,
      uid: options.uid,
      gid: options.gid,
      env: withoutUndefined({ ...process.env, ...options.env, [MARKER]: key }),
    });
    // Why a program could not start is known only later. The caller sees at once that there is no process.
    if (child.pid === undefined) child.once('error', () => undefined);
    return child;
  } finally {
    closeSync(logFd);
  }
}

function startFailure(name: string, command: string, logFile: string): ChildFailedError {
  const error = new Error(`${command} is missing or not executable, or its folder is not accessible`);
  return new ChildFailedError(name, { code: null, signal: null, expected: false, logTail: '', error }, logFile);
}

/** A child that its guardian started. */
class Child implements GuardedChild {
  readonly exited: Promise<ChildExit>;
  readonly #process: ChildProcess;
  readonly #registered: GuardedProcess;
  readonly #log: Log;
  #running = true;
  #isExitExpected = false;

  /** @param onExit called when the child has ended, before `exited` resolves. */
  constructor(
    readonly name: string,
    started: ChildProcess,
    registered: GuardedProcess,
    log: Log,
    onExit: () => void,
  ) {
    this.#process = started;
    this.#registered = registered;
    this.#log = log;
    this.exited = new Promise((resolve) => {
      started.once('exit', (code, signal) => {
        this.#running = false;
        onExit();
        resolve({ code, signal, expected: this.#isExitExpected, logTail: this.logTail(65_536) });
      });
    });
  }

  get pid(): number {
    return this.#registered.pid;
  }

  get logFile(): string {
    return this.#log.file;
  }

  isRunning(): boolean {
    return this.#running;
  }

  logTail(maxBytes = SHOWN_LOG): string {
    return readLogTail(this.#log, maxBytes);
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    if (!this.#running) return;
    this.#isExitExpected = true;
    // Until Node.js has read the child's exit, no other process can get its id: the group is the child's.
    try {
      process.kill(-this.pid, signal);
    } catch {
      this.#process.kill(signal);
    }
  }

  async stop(signal = this.#registered.stopSignal, timeoutMs = this.#registered.graceMs): Promise<ChildExit> {
    if (!this.#running) return this.exited;
    this.#isExitExpected = true;
    this.#process.kill(signal);
    const timer = setTimeout(() => this.kill('SIGKILL'), timeoutMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Milliseconds until a process that has neither become ready nor ended counts as stuck: far more than a busy machine
 * needs to start one.
 */
const STUCK_MS = 300_000;
/** Milliseconds between two probes. The servers here start in tenths of a second. */
const PROBE_INTERVAL_MS = 25;

/**
 * Waits until `probe` returns something other than `undefined`, `null` or `false`, and returns that.
 *
 * @throws ChildFailedError as soon as the child ends; after five minutes an Error with the last cause and the child's
 * log.
 */
export async function untilReady<T>(
  child: GuardedChild,
  probe: () => Promise<T | undefined | null | false>,
): Promise<T> {
  const deadline = Date.now() + STUCK_MS;
  let lastError: unknown;
  let ended: ChildExit | undefined;
  void child.exited.then((exit) => (ended = exit));
  while (Date.now() < deadline) {
    if (ended) throw new ChildFailedError(child.name, ended, child.logFile);
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== null && answer !== false) return answer;
    } catch (error) {
      lastError = error;
    }
    await Promise.race([child.exited, delay(PROBE_INTERVAL_MS)]);
  }
  const cause = lastError instanceof Error ? `: ${lastError.message}` : '';
  throw new Error(
    `${child.name} was not ready after ${STUCK_MS / 1000} s${cause} (log: ${child.logFile})\n${child.logTail()}`,
    { cause: lastError },
  );
}

/**
 * When a process began, as a string that only one process with this id can have: field 22 of /proc/<pid>/stat (proc(5))
 * on Linux, else the output of `ps`. `null` when the process does not exist or is a zombie. `startOf` in
 * guardianWatcher.mjs must give the same string.
 */
export function processStart(pid: number): string | null {
  if (!Number.isInteger(pid) || pid <= 0) return null;
  if (process.platform === 'linux') {
    try {
      // The name of the command is in parentheses and may contain spaces and parentheses itself.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\)\s/s, '')
        .split(' ');
      return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
    } catch {
      return null;
    }
  }
  try {
    return (
      execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim() || null
    );
  } catch {
    return null;
  }
}

/**
 * Identifies the boot of the machine, from which process start times count. `null` when the system does not have it.
 */
export function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** Whether this process still runs. Another process that has got its id does not count. */
export function isSameProcess(pid: number, start: string | null, boot: string | null = bootId()): boolean {
  if (boot !== bootId()) return false;
  const now = processStart(pid);
  return now !== null && (start === null || start === now);
}

/** Kills the processes that a child started and that outlived it; they carry its marker. Works only on Linux. */
function killMarked(key: string): void {
  for (const pid of markedProcesses(`${MARKER}=${key}`, true)) killIfAlive(pid);
}

function markedProcesses(entryStart: string, whole: boolean): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
        return (
          entries.some((entry) => (whole ? entry === entryStart : entry.startsWith(entryStart))) &&
          processStart(pid) !== null
        );
      } catch {
        return false;
      }
    });
}

async function stopLeftovers(recordDir: string): Promise<void> {
  for (const file of readdirSync(recordDir).filter((name) => name.endsWith('.json'))) {
    const recordFile = path.join(recordDir, file);
    const record = readRecord(recordFile);
    if (record === undefined || isSameProcess(record.parent.pid, record.parent.start, record.boot)) continue;
    // Its watcher may be stopping the children now. A second stop signal would turn PostgreSQL's clean stop into a
    // kill.
    const longest = record.children.reduce((sum, child) => sum + child.graceMs, 0) + 5000;
    await waitForEnd(record.watcher, record.boot, longest);
    for (const child of [...record.children].reverse()) await stopLeftover(child, record.boot);
    await Promise.all(markedProcesses(`${MARKER}=${record.id}:`, false).map(async (pid) => killAndWait(pid, pid)));
    rmSync(recordFile, { force: true });
  }
}

/** @returns undefined when the watcher removed the record after it was listed. */
function readRecord(file: string): GuardianRecord | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as GuardianRecord;
  } catch {
    return undefined;
  }
}

async function stopLeftover(child: GuardedProcess, boot: string | null): Promise<void> {
  if (!isSameProcess(child.pid, child.start, boot)) return;
  killIfAlive(child.pid, child.stopSignal);
  await waitForEnd(child, boot, child.graceMs);
  if (isSameProcess(child.pid, child.start, boot)) await killAndWait(-child.pid, child.pid);
}

/**
 * A busy machine takes a moment to end a process that it has been told to kill; until then it holds its ports and files.
 * @param target as in {@link killIfAlive}
 */
async function killAndWait(target: number, pid: number): Promise<void> {
  const start = processStart(pid);
  killIfAlive(target);
  if (start !== null) await waitForEnd({ pid, start }, bootId(), DEFAULT_GRACE_MS);
}

async function waitForEnd(
  { pid, start }: { pid: number; start: string | null },
  boot: string | null,
  timeoutMs: number,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (isSameProcess(pid, start, boot) && Date.now() < deadline) await delay(25);
}

/** @param target a process id, or the negative id of a process group. */
function killIfAlive(target: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(target, signal);
  } catch {
    // It has ended already.
  }
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A log file. A child's own output begins at `offset`; what stands before it is from earlier children. */
interface Log {
  file: string;
  offset: number;
}

function openLog(logFile: string): Log & { fd: number } {
  mkdirSync(path.dirname(logFile), { recursive: true, mode: 0o700 });
  // Keep one old log: it is enough to look back, and restarts do not fill the disk.
  if (existsSync(logFile) && statSync(logFile).size > LOG_ROTATE_BYTES) renameSync(logFile, `${logFile}.1`);
  const fd = openSync(logFile, 'a', 0o600);
  return { file: logFile, fd, offset: fstatSync(fd).size };
}

function readLogTail({ file, offset }: Log, maxBytes: number): string {
  try {
    const fd = openSync(file, 'r');
    try {
      const size = fstatSync(fd).size;
      const start = Math.max(offset, size - maxBytes);
      const buffer = Buffer.alloc(Math.max(0, size - start));
      readSync(fd, buffer, 0, buffer.length, start);
      return buffer.toString('utf8');
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

function withoutUndefined(env: Record<string, string | undefined>): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
}
