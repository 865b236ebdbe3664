import { CompleteAsyncError, Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { ExecutionStatus } from '../../domain/executions/execution.js';
import type { Dependencies } from '../dependencies.js';
import { quotaScope } from './context.js';
import type { WatchedStatus } from './runWatcher.js';
import { loadStartedExecution } from './startedExecution.js';

type WatchDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'secrets' | 'watching'>;

/** Activities that an earlier version scheduled have a heartbeat timeout, 30 seconds by default. */
const HEARTBEAT_MS = 5000;

export function createWatchActivities(dependencies: WatchDependencies) {
  return {
    /**
     * Watches a HealthOmics run until its execution has another status than `from`. The activity only registers that it
     * waits: whoever holds the lease of the account and region completes it (`RunWatching`). So a watched run holds no
     * slot of a worker, and costs Temporal nothing until it changes.
     * @param attempt the one that the workflow is at; absent in histories from before it was passed.
     * @param probing whether the workflow waits for a person; the watching then ends as soon as nothing blocks it.
     * @throws ApplicationFailure `Unblocked` where nothing blocks it any more, `RunReplaced` where the run's id now
     * belongs to another run.
     */
    async watchRun(
      executionId: string,
      from: ExecutionStatus,
      probing: boolean,
      attempt?: number,
    ): Promise<WatchedStatus> {
      const execution = await loadStartedExecution(dependencies, executionId, attempt);
      const earlier = execution.healthOmics === null && attempt !== undefined && attempt < execution.attempt;
      if (earlier) return { status: 'FAILED', healthOmicsStatus: 'FAILED', isSuperseded: true };
      if (execution.healthOmics === null)
        throw ApplicationFailure.nonRetryable('The execution has no HealthOmics run to watch', 'ExecutionUnknown');
      // The workflow was reset to an earlier attempt, and must learn of the run that it watches.
      const isOther = attempt !== undefined && attempt !== execution.attempt;
      const { info } = Context.current();
      const watch = { executionId, taskToken: info.taskToken, from: isOther ? null : from, probing };
      await dependencies.watching.register(quotaScope(execution), watch, execution);
      // Temporal says 0 where there is none.
      if ((info.heartbeatTimeoutMs ?? 0) > 0) await heartbeatUntilOver();
      throw new CompleteAsyncError();
    },
  };
}

/** Keeps an activity with a heartbeat timeout alive until whoever watches the run has completed it. */
async function heartbeatUntilOver(): Promise<never> {
  const context = Context.current();
  const heartbeats = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
  try {
    return await context.cancelled;
  } finally {
    clearInterval(heartbeats);
  }
}
