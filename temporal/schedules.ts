import { ScheduleAlreadyRunning, ScheduleNotFoundError, ScheduleOverlapPolicy } from '@temporalio/client';
import { DISCOVER_SCHEDULES, SWEEP_SCHEDULE_ID, VERIFY_SCHEDULE_ID } from '../workflows/messages/schedules.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import type { TemporalContext } from './context.js';

/** What Temporal starts again and again: the verification of everything. */
export class ScheduleClient {
  readonly #context: TemporalContext;
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /** Whether Temporal lacks the schedule that a worker creates. */
  async isMissing(): Promise<boolean> {
    try {
      await this.#context.client.schedule.getHandle(VERIFY_SCHEDULE_ID).describe();
      return false;
    } catch (error) {
      if (error instanceof ScheduleNotFoundError) return true;
      throw error;
    }
  }

  /**
   * Removes the schedules with which older versions swept, and searched storage connections. Workers do that by
   * themselves. A worker of an older version may create them again.
   */
  async removeOld(): Promise<void> {
    const { client } = this.#context;
    const { namespace } = client.options;
    let nextPageToken: Uint8Array = new Uint8Array();
    do {
      // Unlike the list of the SDK, this reads no memos, which may be encrypted with a key that is gone.
      const page = await client.workflowService.listSchedules({ namespace, maximumPageSize: 500, nextPageToken });
      for (const { scheduleId } of page.schedules)
        if (scheduleId === SWEEP_SCHEDULE_ID || scheduleId?.startsWith(DISCOVER_SCHEDULES) === true)
          await this.#remove(scheduleId);
      nextPageToken = page.nextPageToken ?? new Uint8Array();
    } while (nextPageToken.length > 0);
  }

  /** Removes the schedule of older versions that searched a storage connection. Nothing happens where there is none. */
  async removeDiscovery(storageConnectionId: string): Promise<void> {
    await this.#remove(DISCOVER_SCHEDULES + storageConnectionId);
  }

  /** Removes the schedule of older versions that swept. Nothing happens where there is none. */
  async removeSweep(): Promise<void> {
    await this.#remove(SWEEP_SCHEDULE_ID);
  }

  async #remove(scheduleId: string): Promise<void> {
    try {
      await this.#context.client.schedule.getHandle(scheduleId).delete();
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    }
  }

  /** Makes sure that polony verifies all providers, connections and flows. */
  async ensureVerification(everySeconds: number): Promise<void> {
    const { client, queues } = this.#context;
    const action = {
      type: 'startWorkflow' as const,
      workflowType: WORKFLOWS.verifyAll,
      workflowId: 'verify-all',
      taskQueue: queues.main,
      args: [],
      workflowExecutionTimeout: '1 hour' as const,
      staticSummary: 'Verify all providers, connections and flows',
    };
    const spec = { intervals: [{ every: everySeconds * 1000 }] };
    const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' as const };
    try {
      await client.schedule.create({ scheduleId: VERIFY_SCHEDULE_ID, spec, policies, action });
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      const handle = client.schedule.getHandle(VERIFY_SCHEDULE_ID);
      await handle.update((previous) => ({ ...previous, spec, policies, action }));
    }
  }
}
