import { GetRunCommand, type GetRunCommandOutput } from '@aws-sdk/client-omics';
import { Context } from '@temporalio/activity';
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
import { type EventSource, hasRecentEvents, recordGenuineEvent } from '../../store/events.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import type { Dependencies } from '../dependencies.js';
import { runCall, withAwsErrors } from './awsCalls.js';
import { quotaScope } from './context.js';
import type { WatchedRun } from './getRunBudget.js';
import { isRunOfOutput } from './runsInOutput.js';
import { loadStartedExecution } from './startedExecution.js';

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

type WatchDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'secrets' | 'settings' | 'polls'>;
type RunToWatch = NonNullable<ExecutionContext['healthOmics']>;

const HEARTBEAT_MS = 10_000;
/** A run that changed within this time is polled more often than others. */
const RECENT_CHANGE_MS = 120_000;
const POLL_AFTER_CHANGE_MS = 10_000;
/** By how much polls are rarer where events arrive. */
const EVENTS_FACTOR = 10;
/** How long it is known whether events arrive from a source, before the database is asked again. */
const EVENTS_KNOWN_MS = 60_000;
/** A run that was just started may not be found yet. After so many polls in a row it counts as deleted. */
const NOT_FOUND_LIMIT = 3;
/** Failures that pass. The next poll asks again, without another attempt of the activity. */
const TRANSIENT_FAILURES = ['Throttled', 'Network', 'AwsInternal', 'ExpiredSession', 'Conflict'];

export function createWatchActivities(dependencies: WatchDependencies) {
  const pace = new PollPace(dependencies);
  return {
    /**
     * Watches a HealthOmics run until its execution has another status than `from`. Polls every `runPollSeconds`,
     * sooner after a change or an event, and later where the quota of the account does not suffice. Heartbeats are
     * independent of the polls.
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
      const watcher = new RunWatcher(dependencies, pace, execution, execution.healthOmics);
      return watcher.watchUntilNot(isOther ? undefined : from, probing);
    },
  };
}

/** How often runs are polled. Where events arrive, polls are only a safety net. */
class PollPace {
  readonly #arrivals = new Map<EventSource, { knownUntil: number; arrive: boolean }>();

  constructor(private readonly dependencies: WatchDependencies) {}

  /**
   * @param changedAt when the run last changed, in milliseconds since 1970.
   * @returns milliseconds until the next poll.
   */
  async nextPause(source: EventSource, changedAt: number): Promise<number> {
    const usual = this.dependencies.settings.runPollSeconds * 1000;
    if (await this.#doEventsArrive(source)) return usual * EVENTS_FACTOR;
    const hasChangedRecently = Date.now() - changedAt < RECENT_CHANGE_MS;
    return hasChangedRecently ? Math.min(usual, POLL_AFTER_CHANGE_MS) : usual;
  }

  async #doEventsArrive(source: EventSource): Promise<boolean> {
    const known = this.#arrivals.get(source);
    if (known !== undefined && known.knownUntil >= Date.now()) return known.arrive;
    const arrive = await hasRecentEvents(this.dependencies.db, source).catch(() => false);
    this.#arrivals.set(source, { knownUntil: Date.now() + EVENTS_KNOWN_MS, arrive });
    return arrive;
  }
}

/** Watches one HealthOmics run, for one attempt of the activity. */
class RunWatcher {
  readonly #context = Context.current();
  readonly #source: EventSource;
  /** The status that the database has. */
  #recordedStatus: HealthOmicsStatus | null;
  /** Why the last poll failed; shown with the heartbeats. */
  #trouble: string | undefined;
  // The watching begins because of a change, or because another worker died, who may have missed one.
  #changedAt = Date.now();
  #timesNotFound = 0;

  constructor(
    private readonly dependencies: WatchDependencies,
    private readonly pace: PollPace,
    private readonly execution: ExecutionContext,
    private readonly run: RunToWatch,
  ) {
    this.#source = `omics/${quotaScope(execution)}`;
    this.#recordedStatus = run.status;
  }

  /** @param from undefined: until anything is seen. */
  async watchUntilNot(from: ExecutionStatus | undefined, probing: boolean): Promise<WatchedStatus> {
    const heartbeats = setInterval(() => this.#heartbeat(), HEARTBEAT_MS);
    const turns = this.dependencies.polls.watch(quotaScope(this.execution), this.execution.id);
    try {
      for (let pause = 0; ; pause = await this.pace.nextPause(this.#source, this.#changedAt)) {
        this.#heartbeat();
        const byEvent = await turns.waitForTurn(pause, this.#context.cancellationSignal);
        const seen = await this.#poll(turns, byEvent);
        if (seen === undefined) continue;
        if (seen.status !== from) return seen;
        if (probing) throw ApplicationFailure.nonRetryable('No longer blocked', 'Unblocked');
      }
    } finally {
      clearInterval(heartbeats);
      turns.end();
    }
  }

  #heartbeat(): void {
    this.#context.heartbeat({
      healthOmicsRunId: this.run.runId,
      healthOmicsStatus: this.#recordedStatus,
      ...(this.#trouble !== undefined && { trouble: this.#trouble }),
    });
  }

  /** @returns what HealthOmics says; undefined where it said nothing and the next poll asks again. */
  async #poll(turns: WatchedRun, byEvent: boolean): Promise<WatchedStatus | undefined> {
    let answer: GetRunCommandOutput | undefined;
    try {
      answer = await this.#getRun();
    } catch (error) {
      return this.#handleFailedPoll(error, turns);
    }
    if (answer === undefined) return this.#handleNotFound();
    this.#trouble = undefined;
    this.#timesNotFound = 0;
    if (this.#isReplaced(answer)) return this.#endAsReplaced(answer);
    const healthOmicsStatus = answer.status as HealthOmicsStatus;
    const status = toExecutionStatus(healthOmicsStatus);
    if (healthOmicsStatus !== this.#recordedStatus) {
      await this.#recordChange(answer, healthOmicsStatus, status);
      if (byEvent) await recordGenuineEvent(this.dependencies.db, this.#source).catch(() => undefined);
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
    return withAwsErrors(this.dependencies, polled, runCall(execution, 'omics:GetRun', run.runId), () =>
      omics.send(new GetRunCommand({ id: run.runId })).catch(undefinedIf('not-found')),
    );
  }

  /** @throws the failure, unless the next poll may answer it. */
  #handleFailedPoll(error: unknown, turns: WatchedRun): undefined {
    if (!(error instanceof ApplicationFailure) || !TRANSIENT_FAILURES.includes(error.type ?? '')) throw error;
    if (error.type === 'Throttled') turns.slowDown();
    this.#trouble = errorMessage(error);
    return undefined;
  }

  #handleNotFound(): WatchedStatus | undefined {
    if (++this.#timesNotFound >= NOT_FOUND_LIMIT) return this.#endAsDeleted();
    this.#trouble = `HealthOmics does not find run ${this.run.runId}`;
    return undefined;
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
    this.#changedAt = Date.now();
  }
}
