import { setFlagsFromString } from 'node:v8';

// While modules load, nearly everything that V8 allocates stays. It takes that for a sign that it needs much space for
// new objects (32 MB in each thread), and an idle process keeps that space.

/** How long a process that has started still loads what it needs for its first work, in milliseconds. */
const FIRST_WORK_MS = 30_000;

/** Call it before a process loads its modules: the space for new objects stays as small as it is. */
export function beginStart(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** Call it when a process has started: soon, the space grows again when the load needs it. */
export function endStart(): void {
  setTimeout(() => setFlagsFromString('--semi-space-growth-factor=2'), FIRST_WORK_MS).unref();
}
