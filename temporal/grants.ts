import { setTimeout as delay } from 'node:timers/promises';
import { WithStartWorkflowOperation, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, TypedSearchAttributes } from '@temporalio/common';
import pLimit, { type LimitFunction } from 'p-limit';
import pRetry from 'p-retry';
import type { GrantChange } from '../domain/grants/grant.js';
import { attributes } from '../workflows/messages/searchAttributes.js';
import {
  type BucketAccessInput,
  bucketAccessWorkflowId,
  changeGrantUpdate,
  DRAINING,
  type GrantChangeRequest,
} from '../workflows/messages/grants.js';
import { retrySignal } from '../workflows/messages/retry.js';
import { toSummary } from '../workflows/messages/summary.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import { isWorkflowRunning, type TemporalContext, toKeyword } from './context.js';

/** A bucket whose policy is to change. */
export interface BucketToChange {
  bucket: string;
  storageConnectionName: string;
}

/**
 * How many updates of one workflow this process sends at once. A server accepts ten from all processes together
 * (`history.maxInFlightUpdates`).
 */
const UPDATES_AT_ONCE = 4;
/** How often an update is sent again that its workflow did not see. */
const UPDATE_RETRIES = 19;
/** The first pause before an update is sent again. The second is twice as long, the third three times, and so on. */
const RETRY_PAUSE_MS = 100;

/** The time for a change ended before its workflow could be asked. */
class NoTimeLeftError extends Error {}

/** Whether the workflow ended, or continued in a new history, before it saw the update. */
function isUpdateUnseen(error: unknown): boolean {
  if (error instanceof WorkflowNotFoundError) return true;
  return (
    error instanceof WorkflowUpdateFailedError &&
    error.cause instanceof ApplicationFailure &&
    error.cause.type === DRAINING
  );
}

/** The workflows that write bucket policies, one for each bucket. */
export class GrantClient {
  readonly #context: TemporalContext;
  /** By bucket. */
  readonly #limits = new Map<string, LimitFunction>();
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /**
   * Changes the policy of a bucket for a grant, after all changes that were requested before.
   * @param withinMs how long this call waits for the end of the change
   * @returns how the change ended
   * @throws where the change takes longer. A change that was sent goes on.
   */
  async change(to: BucketToChange, change: Omit<GrantChangeRequest, 'bucket'>, withinMs: number): Promise<GrantChange> {
    const deadline = Date.now() + withinMs;
    return this.#limit(to.bucket)(async () => {
      try {
        return await this.#sendUntilSeen(to, change, deadline);
      } catch (error) {
        if (!(error instanceof NoTimeLeftError) && !isUpdateUnseen(error)) throw error;
        // The store has the change. Without this signal, nobody would make it until the next sweep.
        await this.settle(to);
        throw new Error(
          `The change was not sent to the workflow of the bucket ${to.bucket} within ${withinMs} ms, ` +
            'because earlier changes took longer; the workflow makes it later',
          { cause: error },
        );
      }
    });
  }

  #sendUntilSeen(
    to: BucketToChange,
    change: Omit<GrantChangeRequest, 'bucket'>,
    deadline: number,
  ): Promise<GrantChange> {
    return pRetry(
      async () => {
        if (Date.now() >= deadline) throw new NoTimeLeftError();
        return this.#sendUpdate(to, change, deadline);
      },
      {
        retries: UPDATE_RETRIES,
        minTimeout: 0,
        // p-retry's own pauses grow exponentially; these grow evenly.
        shouldRetry: async ({ error, attemptNumber }) => {
          if (!isUpdateUnseen(error)) return false;
          await delay(RETRY_PAUSE_MS * attemptNumber * (0.5 + Math.random()));
          return true;
        },
      },
    );
  }

  /** Whether the workflow of a bucket is running. */
  async isAtWork(bucket: string): Promise<boolean> {
    return isWorkflowRunning(this.#context, bucketAccessWorkflowId(bucket));
  }

  /** Has the workflow of a bucket do whatever is left to do there. */
  async settle(to: BucketToChange): Promise<void> {
    const { workflowIdConflictPolicy: _, ...options } = this.#startOptions(to);
    await this.#context.client.workflow.signalWithStart(WORKFLOWS.bucketAccess, { ...options, signal: retrySignal });
  }

  #sendUpdate(to: BucketToChange, change: Omit<GrantChangeRequest, 'bucket'>, deadline: number): Promise<GrantChange> {
    const { client } = this.#context;
    return client.withDeadline(deadline, () =>
      client.workflow.executeUpdateWithStart(changeGrantUpdate, {
        args: [{ bucket: to.bucket, ...change }],
        startWorkflowOperation: new WithStartWorkflowOperation(WORKFLOWS.bucketAccess, this.#startOptions(to)),
      }),
    );
  }

  #limit(bucket: string): LimitFunction {
    const limit = this.#limits.get(bucket) ?? pLimit(UPDATES_AT_ONCE);
    this.#limits.set(bucket, limit);
    return limit;
  }

  #startOptions({ bucket, storageConnectionName }: BucketToChange) {
    return {
      workflowId: bucketAccessWorkflowId(bucket),
      taskQueue: this.#context.queues.main,
      args: [{ bucket }] as [BucketAccessInput],
      workflowIdConflictPolicy: 'USE_EXISTING' as const,
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.status, value: 'IDLE' },
        { key: attributes.blocked, value: false },
        { key: attributes.storageConnection, value: toKeyword(storageConnectionName) },
      ]),
      staticSummary: toSummary(`Access to the bucket ${bucket}`),
      staticDetails:
        `Only this workflow writes the policy of \`${bucket}\`: it adds and removes grants one after the other, ` +
        'also when they expire.',
    };
  }
}
