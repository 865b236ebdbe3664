import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import { cutToBytes } from '../domain/names.js';
import { type RetryRequest, retrySignal } from '../workflows/messages/retry.js';
import type { taskQueues } from '../workflows/messages/taskQueues.js';

/** What the clients of all subjects share. */
export interface TemporalContext {
  client: Client;
  queues: ReturnType<typeof taskQueues>;
  /** How long a workflow may stay blocked, in days. Undefined: the default of the workflows. */
  giveUpDays: number | undefined;
}

/** A search attribute of type Keyword. PostgreSQL and MySQL store it as VARCHAR(255). */
export function toKeyword(text: string): string {
  return cutToBytes(text, 255);
}

/**
 * Starts a workflow, by itself or with a signal.
 * @returns false where its id is taken: it is running, or it has ended and may not start again.
 */
export async function startUnlessTaken(start: () => Promise<unknown>): Promise<boolean> {
  try {
    await start();
    return true;
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
    throw error;
  }
}

/** Makes a blocked workflow try again now. @returns false where the workflow is not running. */
export async function retryIfRunning(
  { client }: TemporalContext,
  workflowId: string,
  request: RetryRequest,
): Promise<boolean> {
  try {
    await client.workflow.getHandle(workflowId).signal(retrySignal, request);
    return true;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
