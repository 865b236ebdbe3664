import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type FieldProblem, InputError } from '../domain/errors.js';
import type { TaskAnswer, TaskMessage, TaskName, Tasks } from './tasks.js';

/** How many threads a process has, and how many tasks may wait for one. */
const THREADS = 2;
const MOST_WAITING = 100;
/** The most memory of a thread, in MiB. A task that needs more ends its thread, and not the process. */
const THREAD_MEMORY_MIB = 256;
/** How long a task may take, in milliseconds. What polony accepts takes hundredths of a second. */
const DEADLINE_MS = 10_000;

/** A task took longer than it may, or needed more memory. Its thread has ended. */
export class TaskTooLongError extends Error {
  override readonly name = 'TaskTooLongError';
}

/** Too many tasks wait already. The same task may succeed later. */
export class ThreadsBusyError extends Error {
  override readonly name = 'ThreadsBusyError';
}

interface Task {
  message: TaskMessage;
  deadlineMs: number;
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
}

/** A thread with at most one task. */
class Thread {
  readonly #worker = startWorker();
  readonly #onFree: () => void;
  readonly #onEnd: (thread: Thread) => void;
  #task: Task | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(onFree: () => void, onEnd: (thread: Thread) => void) {
    this.#onFree = onFree;
    this.#onEnd = onEnd;
    this.#worker.unref();
    this.#worker.on('message', (answer: TaskAnswer) => this.#finish(answer));
    this.#worker.on('error', (error: Error & { code?: string }) =>
      this.#fail(
        error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? new TaskTooLongError('The task needs too much memory') : error,
      ),
    );
    this.#worker.on('exit', () => this.#fail(new Error('The thread has ended')));
  }

  get isFree(): boolean {
    return this.#task === undefined;
  }

  start(task: Task): void {
    this.#task = task;
    // A process with a task must not end before it.
    this.#worker.ref();
    this.#timer = setTimeout(() => {
      this.#fail(new TaskTooLongError(`The task took longer than ${task.deadlineMs / 1000} seconds`));
    }, task.deadlineMs);
    this.#worker.postMessage(task.message);
  }

  #finish(answer: TaskAnswer): void {
    const task = this.#release();
    if ('result' in answer) task?.resolve(answer.result);
    else if ('problems' in answer) task?.reject(new InputError(answer.problems as FieldProblem[]));
    else task?.reject(answer.error instanceof Error ? answer.error : new Error(String(answer.error)));
    this.#onFree();
  }

  #fail(error: Error): void {
    const task = this.#release();
    this.#onEnd(this);
    void this.#worker.terminate();
    task?.reject(error);
  }

  #release(): Task | undefined {
    const task = this.#task;
    this.#task = undefined;
    clearTimeout(this.#timer);
    this.#worker.unref();
    return task;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Starts the code of threads: compiled in a build, and through tsx where the sources run. */
function startWorker(): Worker {
  // Without the options of this process, some of which a thread does not accept.
  const options = { resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MIB }, execArgv: [] };
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./thread.js', import.meta.url), options);
  const tsx = new URL('esm/api/index.mjs', pathToFileURL(createRequire(import.meta.url).resolve('tsx'))).href;
  const [api, source] = [tsx, new URL('./thread.ts', import.meta.url).href].map((url) => JSON.stringify(url));
  return new Worker(`import(${api}).then(({ tsImport }) => tsImport(${source}, ${source}))`, {
    ...options,
    eval: true,
  });
}

/** Threads that start when a task needs one, and then stay. */
export class ThreadPool {
  readonly #threads = new Set<Thread>();
  readonly #waiting: Task[] = [];

  /**
   * Carries out a task in a thread.
   * @param deadlineMs how long it may take, without the time that it waits for a thread
   * @throws what the task throws; TaskTooLongError; ThreadsBusyError
   */
  async run<Name extends TaskName>(
    name: Name,
    args: Parameters<Tasks[Name]>,
    deadlineMs = DEADLINE_MS,
  ): Promise<ReturnType<Tasks[Name]>> {
    if (this.#waiting.length >= MOST_WAITING)
      throw new ThreadsBusyError(`${MOST_WAITING} tasks wait for a thread already`);
    const result = await new Promise<unknown>((resolve, reject) => {
      this.#waiting.push({ message: { task: name, args }, deadlineMs, resolve, reject });
      this.#startWaiting();
    });
    return result as ReturnType<Tasks[Name]>;
  }

  #startWaiting(): void {
    while (this.#waiting.length > 0) {
      const thread = [...this.#threads].find(({ isFree }) => isFree) ?? this.#addThread();
      if (thread === undefined) return;
      thread.start(this.#waiting.shift()!);
    }
  }

  #addThread(): Thread | undefined {
    if (this.#threads.size >= THREADS) return undefined;
    const thread = new Thread(
      () => this.#startWaiting(),
      (ended) => {
        this.#threads.delete(ended);
        this.#startWaiting();
      },
    );
    this.#threads.add(thread);
    return thread;
  }

  /** Ends all threads. Their tasks fail. */
  async close(): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.end()));
  }
}

/**
 * The threads of this process. They are shared, because their number should follow the machine and not the number of
 * parts that use them. They do not keep the process alive.
 */
export const threads = new ThreadPool();
