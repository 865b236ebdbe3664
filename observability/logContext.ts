import { AsyncLocalStorage } from 'node:async_hooks';

/**
 * What the current request, activity or other piece of work is about. Every line that it logs has these fields, under
 * these names.
 */
export interface LogIds {
  requestId?: string;
  executionId?: string;
  /** A run of an instrument. Temporal's run is `workflowRunId`. */
  runId?: string;
  /** The provider of the AWS account that is called. */
  providerId?: string;
  healthOmicsRunId?: string;
  storageConnectionId?: string;
  computeConnectionId?: string;
  flowId?: string;
  webhookId?: string;
  deliveryId?: string;
}

const storage = new AsyncLocalStorage<LogIds>();

/** Does a piece of work whose log lines have these ids, and those that it notes. */
export function withLogIds<T>(ids: LogIds, work: () => T): T {
  return storage.run(ids, work);
}

/** Adds ids to the log lines of the current piece of work. Does nothing outside of one. */
export function noteLogIds(ids: LogIds): void {
  const current = storage.getStore();
  if (current !== undefined) Object.assign(current, ids);
}

/** The ids of the current piece of work. */
export function currentLogIds(): LogIds {
  return storage.getStore() ?? {};
}
