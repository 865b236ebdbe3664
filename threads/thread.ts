import { parentPort } from 'node:worker_threads';
import { InputError } from '../domain/errors.js';
import { type TaskAnswer, type TaskMessage, TASKS } from './tasks.js';

/** The code of a thread: it carries out one task after another. */
const port = parentPort;
if (port === null) throw new Error('threads/thread.ts runs in a thread only');
port.on('message', ({ task, args }: TaskMessage) => port.postMessage(carryOut(task, args)));

function carryOut(task: TaskMessage['task'], args: unknown[]): TaskAnswer {
  try {
    return { result: (TASKS[task] as (...all: unknown[]) => unknown)(...args) };
  } catch (error) {
    // Structured clones of errors lose their class and their own members.
    return error instanceof InputError ? { problems: [...error.problems] } : { error };
  }
}
