import { asyncLocalStorage, Context } from '@temporalio/activity';

/** Well below the heartbeat timeout of these activities, which is 15 seconds. */
const HEARTBEAT_MS = 4000;

/** Heartbeats while a call runs, so that another worker takes over within seconds when this one dies. */
export async function withHeartbeat<T>(call: () => Promise<T>): Promise<T> {
  const context = Context.current();
  context.heartbeat();
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
  try {
    return await call();
  } finally {
    clearInterval(timer);
  }
}

/** Heartbeats the activity that runs this code. Sweeps and `polony reconcile` run some of it outside of activities. */
export function heartbeatIfActivity(): void {
  asyncLocalStorage.getStore()?.heartbeat();
}

/** Logs a warning of the activity that runs this code; nothing outside of activities. */
export function warnIfActivity(message: string, fields: Record<string, unknown>): void {
  asyncLocalStorage.getStore()?.log.warn(message, fields);
}
