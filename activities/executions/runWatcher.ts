import { GetRunCommand, type GetRunCommandOutput } from '@aws-sdk/client-omics';
import { ApplicationFailure } from '@temporalio/common';
import { undefinedIf } from '../../aws/errors.js';
import { errorMessage } from '../../domain/errors.js';
import {
  type ExecutionStatus,
  type HealthOmicsStatus,
  isFinalStatus,
  toExecutionStatus,
} from '../../domain/executions/execution.js';
import { counted } from '../../observability/metrics.js';
import { type EventSource, recordGenuineEvent } from '../../store/events.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import type { Watch } from '../../store/executions/watches.js';
import type { Dependencies } from '../dependencies.js';
import { runCall, withAwsErrors } from './awsCalls.js';
import { loadExecution, noteExecutionIds } from './context.js';
import type { WatchedRun } from './getRunBudget.js';
import type { PollPace } from './pollPace.js';
import { isRunOfOutput } from './runsInOutput.js';

/** What polony saw of a HealthOmics run. */
export interface WatchedStatus {
  status: ExecutionStatus;
  healthOmicsStatus: HealthOmicsStatus;
  failureReason?: string;
  statusMessage?: string;
  /** The run that was watched, and which of the execution's runs it is. After a reset, the history may name another. */
  healthOmicsRunId?: string;
  attempt?: number;
  /** The workflow was reset to an attempt that is over: the execution is at a later one, whose run does not exist yet. */
  isSuperseded?: true;
}

/** What a watcher works with. */
export interface WatcherDependencies extends Pick<Dependencies, 'db' | 'aws' | 'secrets'> {
  pace: PollPace;
  /** @throws where another process may watch the run by now. */
  throwIfLost: () => void;
}

/** A run that was just started may not be found yet. After so many polls in a row it counts as deleted. */
const NOT_FOUND_LIMIT = 3;
const NOT_FOUND = 'RunNotFound';
/** Failures that pass. The next poll asks again, without another attempt of the activity. */
const TRANSIENT_FAILURES = ['Throttled', 'Network', 'AwsInternal', 'ExpiredSession', 'Conflict', NOT_FOUND];

/**
 * Watches the HealthOmics run of an execution, for an activity that waits for it to change. Polls it every
 * `runPollSeconds`, sooner after a change or an event, and later where the quota of the account does not suffice.
 */
export class RunWatcher {
  /** Absent before the first poll. */
  #poller: RunPoller | undefined;

  constructor(
    private readonly dependencies: WatcherDependencies,
    private readonly watch: Watch,
    /** As the activity has loaded it; undefined where another process has registered the watch. */
    execution: ExecutionContext | undefined,
    private readonly source: EventSource,
    /** Shows why the last poll failed; undefined: it succeeded. */
    private readonly showTrouble: (trouble: string | undefined) => void,
  ) {
    if (execution?.healthOmics == null) return;
    noteExecutionIds(execution);
    this.#poller = RunPoller.of(dependencies, execution);
  }

  /**
   * @returns how the activity ends
   * @throws ApplicationFailure with which it ends, or the signal's reason.
   */
  async watchUntilChange(turns: WatchedRun, signal: AbortSignal): Promise<WatchedStatus> {
    // The watching begins because of a change, or because another worker died, who may have missed one.
    const began = Date.now();
    for (let pause = 0; ;) {
      const byEvent = await turns.waitForTurn(pause, signal);
      const seen = await this.#poll(byEvent, turns, signal);
      if (seen !== undefined) {
        if (seen.status !== this.watch.from) return seen;
        if (this.watch.probing) throw ApplicationFailure.nonRetryable('No longer blocked', 'Unblocked');
      }
      const { changedAt = began, isRunning = false } = this.#poller ?? {};
      pause = await this.dependencies.pace.nextPause(this.source, changedAt, isRunning);
    }
  }

  /** @returns undefined where the poll failed and the next one asks again. */
  async #poll(byEvent: boolean, turns: WatchedRun, signal: AbortSignal): Promise<WatchedStatus | undefined> {
    try {
      // Not before the first turn: a process that takes over thousands of runs loads them one by one.
      this.#poller ??= await RunPoller.load(this.dependencies, this.watch.executionId);
      const seen = await this.#poller.poll(this.source, byEvent);
      this.showTrouble(undefined);
      return seen;
    } catch (error) {
      signal.throwIfAborted();
      const type = error instanceof ApplicationFailure ? error.type : undefined;
      if (error instanceof ApplicationFailure && !TRANSIENT_FAILURES.includes(type ?? '')) throw error;
      if (type === 'Throttled') turns.slowDown();
      // Anything else passes too, such as a database that is away.
      this.showTrouble(errorMessage(error));
      return undefined;
    }
  }
}

/** Asks HealthOmics for one run, and records what it says. */
class RunPoller {
  /** When the run was last seen to change, in milliseconds since 1970. */
  changedAt: number | undefined;
  /** The status that the database has. */
  #recordedStatus: HealthOmicsStatus | null;
  #timesNotFound = 0;

  private constructor(
    private readonly dependencies: WatcherDependencies,
    private execution: ExecutionContext,
    private readonly run: NonNullable<ExecutionContext['healthOmics']>,
  ) {
    this.#recordedStatus = run.status;
  }

  get isRunning(): boolean {
    return this.#recordedStatus === 'RUNNING';
  }

  /** @throws ApplicationFailure where the database has forgotten the run. The activity looks for it elsewhere. */
  static async load(dependencies: WatcherDependencies, executionId: string): Promise<RunPoller> {
    return RunPoller.of(dependencies, await loadExecution(dependencies.db, executionId));
  }

  /** @throws as {@link load} */
  static of(dependencies: WatcherDependencies, execution: ExecutionContext): RunPoller {
    if (execution.healthOmics === null)
      throw ApplicationFailure.retryable('The database has forgotten the HealthOmics run', 'RunForgotten');
    return new RunPoller(dependencies, execution, execution.healthOmics);
  }

  /** @throws ApplicationFailure where the activity ends so, or where the next poll must ask again. */
  async poll(source: EventSource, byEvent: boolean): Promise<WatchedStatus> {
    const answer = await this.#getRun();
    this.dependencies.throwIfLost();
    if (answer === undefined) return this.#handleNotFound();
    this.#timesNotFound = 0;
    if (this.#isReplaced(answer)) return this.#endAsReplaced(answer);
    const healthOmicsStatus = answer.status as HealthOmicsStatus;
    const status = toExecutionStatus(healthOmicsStatus);
    if (healthOmicsStatus !== this.#recordedStatus) {
      await this.#recordChange(answer, healthOmicsStatus, status);
      if (byEvent) await recordGenuineEvent(this.dependencies.db, source).catch(() => undefined);
    }
    return {
      status,
      healthOmicsStatus,
      failureReason: answer.failureReason,
      statusMessage: answer.statusMessage,
      healthOmicsRunId: this.run.runId,
      attempt: this.execution.attempt,
    };
  }

  /** @returns undefined where HealthOmics does not find the run. That blocks nothing: the next polls decide about it. */
  async #getRun(): Promise<GetRunCommandOutput | undefined> {
    const { execution, run } = this;
    // The SDK must not retry: the budget counts each call, and the next poll asks again.
    const omics = this.dependencies.aws.omics(execution.provider.id, execution.compute.region, true);
    // A CancelRun that is blocked stays visible while polls succeed.
    const isCancelBlocked = execution.blocked?.action === 'omics:CancelRun';
    const polled = isCancelBlocked ? { ...execution, blocked: null } : execution;
    const answer = await withAwsErrors(
      this.dependencies,
      polled,
      runCall(execution, 'omics:GetRun', run.runId),
      () => omics.send(new GetRunCommand({ id: run.runId })).catch(undefinedIf('not-found')),
      this.dependencies.throwIfLost,
    );
    // The database no longer shows what blocked the polls, so the next one has nothing to clear.
    this.execution = { ...execution, blocked: null };
    return answer;
  }

  #handleNotFound(): WatchedStatus {
    if (++this.#timesNotFound >= NOT_FOUND_LIMIT) return this.#endAsDeleted();
    throw ApplicationFailure.retryable(`HealthOmics does not find run ${this.run.runId}`, NOT_FOUND);
  }

  #endAsDeleted(): WatchedStatus {
    if (this.#recordedStatus === 'COMPLETED') return this.#completed();
    return {
      status: 'FAILED',
      healthOmicsStatus: 'DELETED',
      failureReason: 'RUN_DELETED',
      statusMessage: 'HealthOmics no longer finds the run: somebody deleted it before polony saw how it ended',
    };
  }

  /** HealthOmics may give the id of a deleted run to another run; only the uuid and the output are its own. */
  #isReplaced(answer: GetRunCommandOutput): boolean {
    const { uuid } = this.run;
    if (uuid !== null && answer.uuid !== undefined) return answer.uuid !== uuid;
    return answer.outputUri !== undefined && !isRunOfOutput(answer, this.execution.outputUri);
  }

  #endAsReplaced({ uuid }: GetRunCommandOutput): WatchedStatus {
    const { runId, uuid: ours } = this.run;
    if (this.#recordedStatus === 'COMPLETED') return this.#completed();
    throw ApplicationFailure.nonRetryable(
      `HealthOmics run ${runId} was deleted, and its id now belongs to another run (uuid ${uuid ?? 'unknown'}, ` +
        `ours was ${ours ?? 'unknown'})`,
      'RunReplaced',
    );
  }

  /** The results of a completed run stay in the bucket when somebody deletes the run. */
  #completed(): WatchedStatus {
    return {
      status: 'COMPLETED',
      healthOmicsStatus: 'COMPLETED',
      healthOmicsRunId: this.run.runId,
      attempt: this.execution.attempt,
    };
  }

  async #recordChange(
    answer: GetRunCommandOutput,
    healthOmicsStatus: HealthOmicsStatus,
    status: ExecutionStatus,
  ): Promise<void> {
    await updateExecution(this.dependencies.db, this.execution.id, {
      healthOmicsStatus,
      // The workflow records how an execution ended, once it has the results.
      ...(status === 'PENDING' || status === 'RUNNING' ? { status } : {}),
      statusDescription: `HealthOmics run ${this.run.runId} is ${healthOmicsStatus}`,
      ...(answer.startTime !== undefined && { timeStarted: answer.startTime }),
    });
    if (isFinalStatus(status) && answer.stopTime !== undefined)
      counted.endToNotice.observe(Math.max(0, Date.now() - answer.stopTime.getTime()) / 1000);
    this.#recordedStatus = healthOmicsStatus;
    this.changedAt = Date.now();
  }
}
