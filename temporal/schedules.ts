import { type Client, ScheduleAlreadyRunning, ScheduleNotFoundError, ScheduleOverlapPolicy } from '@temporalio/client';
import { TypedSearchAttributes } from '@temporalio/common';
import { attributes } from '../workflows/messages/searchAttributes.js';
import type { DiscoverRunsInput } from '../workflows/messages/runs.js';
import { discoverScheduleId, SWEEP_SCHEDULE_ID, VERIFY_SCHEDULE_ID } from '../workflows/messages/schedules.js';
import { toSummary } from '../workflows/messages/summary.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import { type TemporalContext, toKeyword } from './context.js';

type ScheduleAction = Parameters<Client['schedule']['create']>[0]['action'];

/** What Temporal starts again and again: the search for runs, the sweep, and verification. */
export class ScheduleClient {
  readonly #context: TemporalContext;
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /**
   * Makes sure that polony searches a storage connection for new runs.
   * @param everySeconds interval between two searches
   * @param updateExisting whether an existing schedule gets the present settings, or stays as it is
   */
  async ensureDiscovery(input: DiscoverRunsInput, everySeconds: number, updateExisting = true): Promise<void> {
    const { queues, giveUpDays } = this.#context;
    await this.#ensureSchedule(discoverScheduleId(input.storageConnectionId), everySeconds, updateExisting, {
      type: 'startWorkflow',
      workflowType: WORKFLOWS.discoverRuns,
      workflowId: `discover-runs/${input.storageConnectionId}`,
      taskQueue: queues.main,
      args: [{ giveUpDays, ...input }],
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.blocked, value: false },
        { key: attributes.storageConnection, value: toKeyword(input.storageConnectionName) },
      ]),
      staticSummary: toSummary(`Search for new runs in ${input.storageConnectionName}`),
    });
  }

  /** Which schedules Temporal lacks: those that a worker creates, and those of the searches of storage connections. */
  async listMissing(
    storageConnectionIds: readonly string[],
  ): Promise<{ sweep: boolean; verification: boolean; discovery: string[] }> {
    const missing: string[] = [];
    for (const id of storageConnectionIds) if (!(await this.#exists(discoverScheduleId(id)))) missing.push(id);
    return {
      sweep: !(await this.#exists(SWEEP_SCHEDULE_ID)),
      verification: !(await this.#exists(VERIFY_SCHEDULE_ID)),
      discovery: missing,
    };
  }

  async #exists(scheduleId: string): Promise<boolean> {
    try {
      await this.#context.client.schedule.getHandle(scheduleId).describe();
      return true;
    } catch (error) {
      if (error instanceof ScheduleNotFoundError) return false;
      throw error;
    }
  }

  /** Ends the search of a storage connection. Nothing happens where there is no schedule. */
  async removeDiscovery(storageConnectionId: string): Promise<void> {
    try {
      await this.#context.client.schedule.getHandle(discoverScheduleId(storageConnectionId)).delete();
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    }
  }

  /** Searches a storage connection now, in addition to its schedule. */
  async discoverNow(storageConnectionId: string): Promise<void> {
    await this.#context.client.schedule
      .getHandle(discoverScheduleId(storageConnectionId))
      .trigger(ScheduleOverlapPolicy.BUFFER_ONE);
  }

  /** Makes sure that the sweep runs. It starts what the store holds and Temporal does not know yet. */
  async ensureSweep(everySeconds: number): Promise<void> {
    await this.#ensureSchedule(SWEEP_SCHEDULE_ID, everySeconds, true, {
      type: 'startWorkflow',
      workflowType: WORKFLOWS.sweep,
      workflowId: 'sweep',
      taskQueue: this.#context.queues.main,
      args: [],
      workflowExecutionTimeout: '1 hour',
      staticSummary: 'Start what was created and not yet started',
    });
  }

  /** Makes sure that polony verifies all providers, connections and flows. */
  async ensureVerification(everySeconds: number): Promise<void> {
    await this.#ensureSchedule(VERIFY_SCHEDULE_ID, everySeconds, true, {
      type: 'startWorkflow',
      workflowType: WORKFLOWS.verifyAll,
      workflowId: 'verify-all',
      taskQueue: this.#context.queues.main,
      args: [],
      workflowExecutionTimeout: '1 hour',
      staticSummary: 'Verify all providers, connections and flows',
    });
  }

  async #ensureSchedule(
    scheduleId: string,
    everySeconds: number,
    updateExisting: boolean,
    action: ScheduleAction,
  ): Promise<void> {
    const { schedule } = this.#context.client;
    const spec = { intervals: [{ every: everySeconds * 1000 }] };
    const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' as const };
    try {
      await schedule.create({ scheduleId, spec, policies, action });
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      if (!updateExisting) return;
      await schedule.getHandle(scheduleId).update((previous) => ({ ...previous, spec, policies, action }));
    }
  }
}
