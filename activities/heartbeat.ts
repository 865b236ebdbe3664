import { Context } from '@temporalio/activity';

/** Heartbeats while something is under way, so that another worker takes over within seconds when this one dies. */
export async function withHeartbeat<T>(call: () => Promise<T>): Promise<T> {
  const context = Context.current();
  context.heartbeat();
  const timer = setInterval(() => context.heartbeat(), 4000);
  try {
    return await call();
  } finally {
    clearInterval(timer);
  }
}
