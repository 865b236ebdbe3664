import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import { joinKey } from '../domain/files/paths.js';
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

/** The `s3://` URI of a run folder, without a slash at its end. */
export function runFolderUri(
  storage: { bucket: string; prefix: string },
  run: { parentPath: string; runFolder: string },
): string {
  return `s3://${storage.bucket}/${joinKey(storage.prefix, run.parentPath, run.runFolder)}`;
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

/** Workflows in one page of a list. */
const PAGE_SIZE = 1000;

/**
 * Ids of the workflows that a query finds. Unlike the list of the SDK, it does not read memos: one that cannot be
 * decrypted would end the whole list.
 * @param query in the language of Temporal's visibility
 */
export async function* listWorkflowIds({ client }: TemporalContext, query: string): AsyncGenerator<string> {
  const { namespace } = client.options;
  let nextPageToken: Uint8Array = new Uint8Array();
  do {
    const page = await client.workflowService.listWorkflowExecutions({
      namespace,
      query,
      pageSize: PAGE_SIZE,
      nextPageToken,
    });
    for (const { execution } of page.executions) if (execution?.workflowId) yield execution.workflowId;
    nextPageToken = page.nextPageToken ?? new Uint8Array();
  } while (nextPageToken.length > 0);
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

/** Whether a workflow is running. */
export async function isWorkflowRunning({ client }: TemporalContext, workflowId: string): Promise<boolean> {
  try {
    return (await client.workflow.getHandle(workflowId).describe()).status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
