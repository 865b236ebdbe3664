import { ActivityNotFoundError, type Client, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { executionWorkflowId } from '../workflows/messages/executions.js';
import type { TemporalContext } from './context.js';

/** The activity that waits for a HealthOmics run to change. */
const WATCH_ACTIVITY = 'watchRun';
/** A call that takes longer has failed. Each can be repeated. */
const CALL_MS = 10_000;

/**
 * The activities that wait for HealthOmics runs. They hold no worker and send no heartbeats: whoever sees the change
 * completes them.
 */
export class WatchClient {
  readonly #client: Client;
  constructor({ client }: TemporalContext) {
    this.#client = client;
  }

  /**
   * @returns false where the activity is over: its workflow went on without it, or has ended.
   * @throws where Temporal does not answer in time
   */
  complete(taskToken: Uint8Array, result: unknown): Promise<boolean> {
    return isKnown(() => this.#call((client) => client.activity.complete(taskToken, result)));
  }

  /** Temporal starts the activity again where its retry policy says so. @returns false where the activity is over. */
  fail(taskToken: Uint8Array, failure: ApplicationFailure): Promise<boolean> {
    return isKnown(() => this.#call((client) => client.activity.fail(taskToken, failure)));
  }

  /** Shows details with the pending activity. The answer does not matter: nothing depends on what is shown. */
  async show(taskToken: Uint8Array, details: unknown): Promise<void> {
    await this.#call((client) => client.activity.heartbeat(taskToken, details)).catch(() => undefined);
  }

  #call<T>(call: (client: Client) => Promise<T>): Promise<T> {
    return this.#client.withDeadline(Date.now() + CALL_MS, () => call(this.#client));
  }

  /**
   * Has Temporal start the watching of an execution again, where the worker that took the activity died before it
   * registered it.
   * @param startedBefore an activity that started later is left to its worker
   * @returns whether there was one
   */
  async restart(executionId: string, startedBefore: Date): Promise<boolean> {
    const workflowId = executionWorkflowId(executionId);
    try {
      const { raw } = await this.#call((client) => client.workflow.getHandle(workflowId).describe());
      const lost = (raw.pendingActivities ?? []).find(
        ({ activityType, state, lastStartedTime, lastHeartbeatTime }) =>
          activityType?.name === WATCH_ACTIVITY &&
          Number(state) === STARTED &&
          Number(lastStartedTime?.seconds ?? Infinity) * 1000 < startedBefore.getTime() &&
          // A worker of an earlier version watches by itself, and heartbeats.
          Number(lastHeartbeatTime?.seconds ?? 0) * 1000 < startedBefore.getTime(),
      );
      if (lost?.activityId == null) return false;
      const failure = ApplicationFailure.retryable('The worker that took this activity registered no watch', 'Lost');
      const id = { workflowId, activityId: lost.activityId };
      return await isKnown(() => this.#call((client) => client.activity.fail(id, failure)));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }
}

/** `PENDING_ACTIVITY_STATE_STARTED` (temporal.api.enums.v1). */
const STARTED = 2;

async function isKnown(request: () => Promise<void>): Promise<boolean> {
  try {
    await request();
    return true;
  } catch (error) {
    if (error instanceof ActivityNotFoundError) return false;
    throw error;
  }
}
