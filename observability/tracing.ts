import type { Tracing } from './spans.js';

let current: Tracing | undefined;

/** Tracing, where it is on. */
export function tracing(): Tracing | undefined {
  return current;
}

/** Makes this the tracing of the process. */
export function setTracing(value: Tracing): void {
  current = value;
}
