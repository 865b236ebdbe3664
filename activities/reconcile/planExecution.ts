import { classifyAwsError } from '../../aws/errors.js';
import { isTransientFailure } from '../../domain/connections/runSettings.js';
import { type HealthOmicsStatus, isFinalStatus, toExecutionStatus } from '../../domain/executions/execution.js';
import type { ReconciledExecution } from '../../domain/reconcile/report.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import {
  RECONCILE_CALLER,
  recordCompletedRun,
  recordForgottenEnd,
  recordKnownStart,
} from '../../store/executions/recover.js';
import type { RecordPlace } from '../../store/reconcile/places.js';
import type { Dependencies } from '../dependencies.js';
import { ClosedExecutions } from '../executions/closedExecutions.js';
import { ForgottenExecutions } from '../executions/forgottenExecutions.js';
import { type ReadRecord, readExecutionRecord, recordEndInBucket } from '../executions/records.js';
import { startExecution } from '../executions/workflows.js';
import type { AwsTruth, FoundRun, RunTruth } from './awsTruth.js';
import type { Traces } from './candidates.js';
import {
  ASK_AGAIN,
  type Continuation,
  done,
  type Evidence,
  judgeRun,
  type ReadEvidence,
  type Step,
  toContinuation,
} from './facts.js';
import { ForgottenPlanner, UnansweredError } from './planForgotten.js';
import { placeOf, StartRecall } from './recall.js';

/** What is to be done about one execution. Planning changes nothing. */
export interface Plan {
  result: ReconciledExecution;
  steps: Step[];
}

export type ReconcileDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'secrets'> & {
  settings: Pick<Dependencies['settings'], 'closedWorkflows'>;
};

/** How an execution continues, and what shows it. */
interface Next {
  steps: Step[];
  after: string;
  why: string;
  todo?: string;
  /** Too little is known to decide. */
  isUndecided?: true;
}

/** Plans what is to be done about executions. Each plan holds for the moment at which it was made. */
export class ExecutionPlanner {
  readonly #forgotten: ForgottenExecutions;
  readonly #closed: ClosedExecutions;
  readonly #forgottenPlanner: ForgottenPlanner;
  readonly #recall: StartRecall;

  constructor(
    private readonly dependencies: ReconcileDependencies,
    private readonly truth: AwsTruth,
  ) {
    const { db, orchestrator, settings } = dependencies;
    this.#forgotten = new ForgottenExecutions(db, orchestrator.executions);
    this.#closed = new ClosedExecutions(db, orchestrator.executions, settings.closedWorkflows, (id) =>
      recordEndInBucket(dependencies, id),
    );
    this.#forgottenPlanner = new ForgottenPlanner(db, truth, this.#forgotten);
    this.#recall = new StartRecall(db, truth, this.#forgottenPlanner);
  }

  async plan(id: string, traces: Traces): Promise<Plan> {
    const { db, orchestrator } = this.dependencies;
    const row = await findExecution(db, id);
    const workflow = await orchestrator.executions.findKnown(id);
    if (row !== undefined && isFinalStatus(row.status)) return unchanged(row, row.status, 'It has ended');
    const read = await this.#readRecord(row === undefined ? traces.places : [placeOf(row)], id);
    const evidence = { id, workflow, traces, ...read };
    try {
      return await (row === undefined ? this.#planForgotten(evidence) : this.#planKnown(row, evidence));
    } catch (error) {
      if (!(error instanceof UnansweredError)) throw error;
      const known = row === undefined ? { id, run: '', before: 'unknown', healthOmicsRunId: null } : describe(row);
      const why = `A run may belong to it, but ${error.message}`;
      return undecided(known, known.before, { why, todo: ASK_AGAIN });
    }
  }

  /** Reads a record through the first connection that may, where several have the same bucket and prefix. */
  async #readRecord(places: readonly RecordPlace[], id: string): Promise<ReadEvidence> {
    let first: ReadEvidence | undefined;
    for (const place of places) {
      const read: ReadRecord = await this.truth
        .use(place.providerId, () => readExecutionRecord(this.dependencies.secrets, this.truth.s3(place), place, id))
        .catch((error: unknown) => ({ unreadable: classifyAwsError(error).message }));
      if (read.unreadable === undefined) return { place, ...read };
      first ??= { place, ...read };
    }
    return first ?? {};
  }

  async #planForgotten(evidence: Evidence): Promise<Plan> {
    const { id } = evidence;
    const base = { id, before: 'unknown', healthOmicsRunId: null };
    const found = await this.#forgottenPlanner.plan(evidence);
    if ('undecided' in found)
      return undecided({ ...base, run: found.run }, 'unknown', { why: found.undecided, todo: found.todo });
    const next = await this.#continue(found.continuation, evidence, found.truth);
    const healthOmicsRunId = found.continuation.healthOmics?.runId ?? null;
    const description = { ...base, run: found.run, healthOmicsRunId };
    const [why, todo] = [`${found.why}; ${next.why}`, next.todo ?? found.todo];
    if (next.isUndecided === true) return undecided(description, next.after, { why, todo });
    return {
      result: { ...description, after: next.after, why, kind: 'changed', ...(todo !== undefined && { todo }) },
      steps: [...found.steps, ...next.steps],
    };
  }

  async #planKnown(row: ExecutionContext, evidence: Evidence): Promise<Plan> {
    const { db } = this.dependencies;
    const place = { providerId: row.provider.id, region: row.compute.region };
    const recall = await this.#recall.recall(row, evidence, place);
    if (recall !== undefined && 'undecided' in recall)
      return undecided(describe(row), row.status, { why: recall.undecided, todo: recall.todo });
    const recalled = recall?.known;
    const continuation: Continuation = recalled === undefined ? row : { ...row, ...toContinuation(recalled) };
    const run = continuation.healthOmics;
    const truth = run === null ? undefined : await judgeRun(this.truth, row.outputUri, place, run);
    const next = await this.#continue(continuation, evidence, truth);
    const description = { ...describe(row), healthOmicsRunId: run?.runId ?? null };
    const why = recall === undefined ? next.why : `${recall.why}; ${next.why}`;
    const { after, todo } = next;
    if (next.isUndecided === true) return undecided(description, after, { why, todo });
    const steps: Step[] = [
      ...(recalled === undefined ? [] : [done(() => recordKnownStart(db, row.id, row.attempt, recalled))]),
      ...next.steps,
    ];
    const kind = steps.length === 0 ? 'unchanged' : 'changed';
    return { result: { ...description, after, why, kind, ...(todo !== undefined && { todo }) }, steps };
  }

  /** How an execution continues whose row is as it should be. */
  async #continue(execution: Continuation, evidence: Evidence, truth: RunTruth | undefined): Promise<Next> {
    const { workflow } = evidence;
    const seen = describeTruth(truth, execution.status);
    switch (workflow?.workflowStatus) {
      case 'RUNNING':
        return { steps: [], after: seen.after, why: `its workflow runs; ${seen.why}` };
      case 'COMPLETED':
      case 'FAILED':
      case 'CANCELLED':
        // A workflow that gave up its run has ended without it.
        if (truth?.is === 'found' && seen.isFinal !== true)
          return this.#recover(execution, false, seen, `its workflow ended as ${workflow.workflowStatus}`);
        return this.#recordEndOfWorkflow(execution);
      case undefined:
        return this.#continueLost(execution, evidence, truth);
      default:
        return this.#recover(execution, false, seen, `its workflow was closed as ${workflow!.workflowStatus}`);
    }
  }

  async #recordEndOfWorkflow({ id }: Continuation): Promise<Next> {
    const { type, message } = await this.dependencies.orchestrator.executions.describeEnd(id);
    const after = type === 'COMPLETED' || type === 'CANCELED' ? type : 'FAILED';
    const results = after === 'COMPLETED' ? '; a new workflow reads the results again' : '';
    return {
      steps: [done(() => this.#forgotten.recover(id))],
      after,
      why: `its workflow has ended as ${after}: ${message}${results}`,
    };
  }

  /** Temporal does not know the execution. */
  async #continueLost(
    execution: Continuation,
    { record, unreadable }: Evidence,
    truth: RunTruth | undefined,
  ): Promise<Next> {
    const { db } = this.dependencies;
    const { id } = execution;
    const seen = describeTruth(truth, execution.status);
    const end = record?.end;
    // A run that goes on must be watched, whatever was recorded.
    const goesOn = truth?.is === 'found' && seen.isFinal !== true;
    if (!goesOn && unreadable !== undefined) return describeUnreadable(seen.why, execution.status, unreadable);
    if (end !== undefined && end.status !== 'COMPLETED' && !goesOn) {
      if (truth?.is === 'unknown') return describeUnanswered(truth.why, execution.status);
      const { status, description, errorType, time } = end;
      const forgotten = { status, description, errorType, time: new Date(time) };
      return {
        steps: [done(() => recordForgottenEnd(db, id, forgotten))],
        after: status,
        why: `its record in the bucket says that it ended: ${description}`,
      };
    }
    if (end?.status === 'COMPLETED' && truth?.is === 'gone') return this.#recoverCompleted(execution, truth.why);
    const failed = truth?.is === 'found' && truth.run.status === 'FAILED' ? truth.run : undefined;
    if (failed !== undefined && record === undefined && isTransientFailure(failed.failureReason))
      return this.#endAfterFailure(id, failed);
    if (!execution.workflowStarted && execution.healthOmics === null && execution.startState === 'none')
      return { steps: [this.#start(id)], after: execution.status, why: 'its workflow had not been started' };
    return this.#recover(execution, true, seen, 'Temporal does not know it');
  }

  /** Without a record, nobody knows whether another attempt followed. Another run would cost money again. */
  #endAfterFailure(id: string, failed: FoundRun): Next {
    const description =
      `HealthOmics run ${failed.id} ended as FAILED (${failed.failureReason}). polony did not start it again, ` +
      'because the database was restored and nothing says whether another run followed';
    const errorType = failed.failureReason ?? 'HealthOmicsFAILED';
    const end = { status: 'FAILED' as const, description, errorType, time: failed.stopTime ?? new Date() };
    return {
      steps: [
        done(() => recordForgottenEnd(this.dependencies.db, id, end)),
        done(() => recordEndInBucket(this.dependencies, id)),
      ],
      after: 'FAILED',
      why: description,
      todo: `polony executions relaunch ${id}, if HealthOmics has no later run of it`,
    };
  }

  /** Somebody deleted the run after it had completed. Its results are still in the bucket. */
  #recoverCompleted(execution: Continuation, why: string): Next {
    const { id, healthOmics } = execution;
    const seen = { after: 'COMPLETED', isFinal: true, why: `its record in the bucket says that it completed; ${why}` };
    const completed = { ...execution, healthOmics: { ...healthOmics!, status: 'COMPLETED' as const } };
    const next = this.#recover(completed, true, seen, 'Temporal does not know it');
    const record = done(() => recordCompletedRun(this.dependencies.db, id, healthOmics!.runId, RECONCILE_CALLER));
    return { ...next, steps: [record, ...next.steps] };
  }

  #start(id: string): Step {
    const { db, orchestrator } = this.dependencies;
    return async () => {
      const row = await findExecution(db, id);
      if (row !== undefined && !isFinalStatus(row.status)) await startExecution(db, orchestrator.executions, row);
      return undefined;
    };
  }

  /** As the sweep does it; see {@link ClosedExecutions}. */
  #recover(execution: Continuation, isLost: boolean, seen: TruthInWords, because: string): Next {
    const { id, cancel } = execution;
    // It tells the new workflow of a request to cancel, too.
    const steps = [done(() => this.#closed.recover(id, isLost))];
    switch (this.#closed.decide(execution, isLost)) {
      case 'adopt': {
        const repeatsStartRun = execution.startState === 'sent' && execution.healthOmics === null;
        const how = repeatsStartRun
          ? 'a new workflow repeats the same StartRun, which returns the run that exists'
          : seen.why;
        return {
          steps,
          after: cancel === null || seen.isFinal === true ? seen.after : 'CANCELED',
          why: `${because}, so a new workflow follows it; ${how}`,
          ...(seen.todo !== undefined && { todo: seen.todo }),
        };
      }
      case 'cancel':
        return { steps, after: 'CANCELED', why: `${because}; POLONY_CLOSED_WORKFLOWS or repeated closing cancels it` };
      case 'fail':
        return { steps, after: 'FAILED', why: `${because}, and no HealthOmics run was started` };
    }
  }
}

function describeUnreadable(seen: string, status: string, unreadable: string): Next {
  return {
    steps: [],
    isUndecided: true,
    after: status,
    why: `its record in the bucket, which says what followed, cannot be read: ${unreadable} Meanwhile ${seen}`,
    todo: 'Make the record readable (permissions of the bucket, POLONY_ENCRYPTION_KEYS), and run polony reconcile again',
  };
}

function describeUnanswered(why: string, status: string): Next {
  return {
    steps: [],
    isUndecided: true,
    after: status,
    why: `its record in the bucket says that it ended, and nothing says whether its run did: ${why}`,
    todo: ASK_AGAIN,
  };
}

function describeTruth(truth: RunTruth | undefined, status: string): TruthInWords {
  switch (truth?.is) {
    case undefined:
      return { after: status === 'unknown' ? 'INITIALIZED' : status, why: 'it has no HealthOmics run yet' };
    case 'found': {
      const { id, status: runStatus } = truth.run;
      const after = toExecutionStatus(runStatus as HealthOmicsStatus);
      return { after, isFinal: isFinalStatus(after), why: `HealthOmics run ${id} is ${runStatus}` };
    }
    case 'gone':
      return { after: 'FAILED', isFinal: true, why: truth.why };
    case 'unknown':
      return { after: status, why: truth.why, todo: 'polony status shows what the provider may not do' };
  }
}

interface TruthInWords {
  after: string;
  isFinal?: boolean;
  why: string;
  todo?: string;
}

function describe(row: ExecutionContext) {
  return { id: row.id, run: row.run.name, before: row.status, healthOmicsRunId: row.healthOmics?.runId ?? null };
}

/** A plan that leaves an execution to a person. */
function undecided(
  description: Pick<ReconciledExecution, 'id' | 'run' | 'before' | 'healthOmicsRunId'>,
  after: string,
  { why, todo }: { why: string; todo?: string },
): Plan {
  return { result: { ...description, after, why, kind: 'undecided', ...(todo !== undefined && { todo }) }, steps: [] };
}

function unchanged(row: ExecutionContext, after: string, why: string): Plan {
  return { result: { ...describe(row), after, why, kind: 'unchanged' }, steps: [] };
}
