/**
 * Waits for a call, for a limited time.
 * @throws Error when it takes longer. The call may still succeed later: use this for calls that can be repeated only.
 */
export async function withDeadline<T>(call: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  // After the deadline nobody waits for the call, and a failure of it must not end the process.
  call.catch(() => undefined);
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds / 1000} s`)), milliseconds);
  });
  try {
    return await Promise.race([call, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Calls at the same time share one answer, and those of the next moments reuse it. So checks that anybody may ask for
 * cost the database little, and never wait in a queue behind each other.
 * @param milliseconds how long an answer is reused, from when it came
 */
export function shareAnswer<T>(call: () => Promise<T>, milliseconds: number): () => Promise<T> {
  let last: { until: number; answer: Promise<T> } | undefined;
  return () => {
    if (last === undefined || Date.now() > last.until) {
      const next = { until: Infinity, answer: call() };
      const expire = (): void => void (next.until = Date.now() + milliseconds);
      next.answer.then(expire, expire);
      last = next;
    }
    return last.answer;
  };
}

/**
 * Waits for a call, or until a signal ends the waiting. The call goes on.
 * @throws the reason of the signal
 */
export async function untilAborted<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  // Nobody waits for the call after the signal.
  call.catch(() => undefined);
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort);
  });
  try {
    return await Promise.race([call, aborted]);
  } finally {
    signal.removeEventListener('abort', abort!);
  }
}

/**
 * Does work that must not last forever, because others wait for it.
 * @param stopping ends it earlier
 * @param work gets a signal that aborts when it must end
 * @throws what the signal aborts with, also where the work goes on
 */
export async function doWithin<T>(
  milliseconds: number,
  stopping: AbortSignal,
  work: (ending: AbortSignal) => Promise<T>,
): Promise<T> {
  stopping.throwIfAborted();
  const ending = new AbortController();
  const stop = (): void => ending.abort(stopping.reason);
  stopping.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(() => {
    ending.abort(new Error(`It did not end within ${Math.round(milliseconds / 1000)} s`));
  }, milliseconds);
  try {
    return await untilAborted(work(ending.signal), ending.signal);
  } finally {
    clearTimeout(timer);
    stopping.removeEventListener('abort', stop);
  }
}
