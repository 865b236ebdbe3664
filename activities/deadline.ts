/**
 * Does work that must not last forever, because others wait for it.
 * @param stopping ends it earlier
 * @param work gets a signal that aborts when it must end
 * @throws what the signal aborts with, also where the work goes on
 */
export async function withDeadline<T>(
  milliseconds: number,
  stopping: AbortSignal,
  work: (ending: AbortSignal) => Promise<T>,
): Promise<T> {
  stopping.throwIfAborted();
  const ending = new AbortController();
  const { signal } = ending;
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  const stop = (): void => ending.abort(stopping.reason);
  stopping.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(() => {
    ending.abort(new Error(`It did not end within ${Math.round(milliseconds / 1000)} s`));
  }, milliseconds);
  try {
    return await Promise.race([work(signal), aborted]);
  } finally {
    clearTimeout(timer);
    stopping.removeEventListener('abort', stop);
  }
}
