import { START_CONFLICT } from '../../domain/executions/execution.js';
import { listAttempts } from '../../store/executions/attempts.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import type { DbOrTransaction } from '../../store/database.js';
import { isLaterStart, type KnownRun, type KnownStart } from '../../store/executions/recover.js';
import type { RecordPlace } from '../../store/reconcile/places.js';
import { toKnownStart } from '../executions/startedExecution.js';
import type { AwsTruth, RunPlace } from './awsTruth.js';
import { ASK_AGAIN, type Evidence, isOwnRequest, judgeRun } from './facts.js';
import { type ForgottenPlanner, LOST_RUN } from './planForgotten.js';

/** What the row of an execution has forgotten, or why nobody can tell. */
type Recalled = { known: KnownStart; why: string } | { undecided: string; todo: string };

/** Finds out which StartRun the row of an execution has forgotten. It changes nothing. */
export class StartRecall {
  constructor(
    private readonly db: DbOrTransaction,
    private readonly truth: AwsTruth,
    private readonly forgottenPlanner: ForgottenPlanner,
  ) {}

  /** @returns undefined where the row has forgotten nothing. */
  recall(row: ExecutionContext, evidence: Evidence, place: RunPlace): Promise<Recalled | undefined> {
    const recorded = evidence.record && toKnownStart(evidence.record, row.id, row.outputUri);
    const isUseless = isConflicting(row) && recorded?.run === undefined;
    return recorded === undefined || isUseless
      ? this.#recallFromRuns(row, evidence, place)
      : this.#recallFromRecord(row, evidence, recorded, place);
  }

  async #recallFromRecord(
    row: ExecutionContext,
    { record, workflow, traces }: Evidence,
    recorded: KnownStart,
    place: RunPlace,
  ): Promise<Recalled | undefined> {
    const { attempt, startState, healthOmics } = row;
    if (!isLaterStart(recorded, { attempt, startState, hasRun: healthOmics !== null })) return undefined;
    const contradiction = await this.#findUnendedAttempt(row, recorded, place);
    if (contradiction !== undefined) return contradiction;
    // Temporal and the output folder may name only the run of the attempt before.
    const earlier = [...recorded.earlier, ...(await this.#listEarlierRuns(row))];
    const known = await this.forgottenPlanner.findAnswer({ ...recorded, earlier }, row.outputUri, place, {
      ids: [...traces.runs.map(({ id }) => id), workflow?.healthOmicsRunId],
      inOutput: () => this.truth.listRunsInOutput(placeOf(row), row.id),
    });
    const isAnswered = known.run !== undefined;
    if (!isAnswered && record?.end?.status === 'COMPLETED') return LOST_RUN;
    const rule = { ...row.flow, ...row.compute };
    if (!isAnswered && known.request !== null && !isOwnRequest(row.id, row, known, rule))
      return {
        undecided: 'The record in the bucket has a StartRun for another workflow, role or output than its flow has now',
        todo: `Set the flow ${row.flow.name} back to what it was, or cancel the execution, and check HealthOmics`,
      };
    return { known, why: 'its record in the bucket is newer than the database' };
  }

  /** The runs of the row that are not those of the recorded attempt, as far as the database knows them. */
  async #listEarlierRuns({ id, attempt, healthOmics }: ExecutionContext): Promise<KnownStart['earlier']> {
    const attempts = await listAttempts(this.db, id);
    const current = healthOmics === null ? [] : [toEarlier(attempt, healthOmics)];
    return [
      ...attempts.map((each) =>
        toEarlier(each.attempt, {
          runId: each.healthomics_run_id,
          uuid: each.healthomics_run_uuid,
          arn: each.healthomics_run_arn,
          runOutputUri: each.run_output_uri,
        }),
      ),
      ...current,
    ];
  }

  /** A next attempt follows only a failed run. So a record of one is wrong while HealthOmics says something else. */
  async #findUnendedAttempt(
    row: ExecutionContext,
    recorded: KnownStart,
    place: RunPlace,
  ): Promise<Recalled | undefined> {
    const before = recorded.attempt - 1;
    const ofRow = row.attempt === before ? row.healthOmics : null;
    const run = ofRow ?? recorded.earlier.find((earlier) => earlier.attempt === before);
    if (row.attempt >= recorded.attempt || run === undefined) return undefined;
    const truth = await judgeRun(this.truth, row.outputUri, place, run);
    if (truth.is === 'gone' || (truth.is === 'found' && truth.run.status === 'FAILED')) return undefined;
    const seen = truth.is === 'found' ? `HealthOmics run ${run.runId} is ${truth.run.status}` : truth.why;
    return {
      undecided: `Its record in the bucket has attempt ${recorded.attempt}, which follows only a failed run, but ${seen}`,
      todo: `Look at run ${run.runId} in the HealthOmics console, and run polony reconcile again when it has ended`,
    };
  }

  /** An execution of a version that kept no records, or whose records are gone. */
  async #recallFromRuns(
    row: ExecutionContext,
    { workflow, traces }: Evidence,
    place: RunPlace,
  ): Promise<Recalled | undefined> {
    // A workflow that runs gets the answer to its StartRun itself, and may still name the run of the attempt before.
    if (workflow?.workflowStatus === 'RUNNING' && row.healthOmics === null && !isConflicting(row)) return undefined;
    const current = row.healthOmics === null ? undefined : await this.truth.getRun(place, row.healthOmics.runId);
    const mayHaveOther = current?.is !== 'found' || current.run.status === 'FAILED';
    const ids = await this.#listOtherRuns(row, { workflow, traces }, mayHaveOther);
    const newest = await this.forgottenPlanner.findNewestRun(row.outputUri, place, ids);
    if (newest === undefined) return undefined;
    if (row.healthOmics === null || current === undefined)
      return {
        known: { attempt: row.attempt, request: row.startRequest, run: newest.known, earlier: [] },
        why: `HealthOmics has run ${newest.known.runId} of it, which the database did not know`,
      };
    const { runId } = row.healthOmics;
    if (current.is === 'unknown')
      return {
        undecided: `Run ${newest.known.runId} may have followed run ${runId}, but ${current.why}`,
        todo: ASK_AGAIN,
      };
    // Nobody can tell whether the other run is later than a run that was deleted.
    if (current.is === 'gone' || current.run.status !== 'FAILED') return undefined;
    if (newest.createdAt <= (current.run.creationTime?.getTime() ?? 0)) return undefined;
    const earlier = [toEarlier(row.attempt, row.healthOmics)];
    return {
      known: { attempt: row.attempt + 1, request: null, run: newest.known, earlier },
      why: `HealthOmics run ${newest.known.runId} followed run ${runId}, which the database still had`,
    };
  }

  /** Runs that may be of the execution, without those that its row and its earlier attempts have. */
  async #listOtherRuns(
    row: ExecutionContext,
    { workflow, traces }: Pick<Evidence, 'workflow' | 'traces'>,
    mayHaveOther: boolean,
  ): Promise<string[]> {
    const ids = new Set(traces.runs.map(({ id }) => id));
    if (workflow?.healthOmicsRunId !== undefined) ids.add(workflow.healthOmicsRunId);
    else if (mayHaveOther && workflow === undefined)
      for (const id of await this.truth.listRunsInOutput(placeOf(row), row.id)) ids.add(id);
    if (row.healthOmics !== null) ids.delete(row.healthOmics.runId);
    for (const earlier of await listAttempts(this.db, row.id)) ids.delete(earlier.healthomics_run_id);
    return [...ids];
  }
}

/** Whether HealthOmics has a run for the StartRun of an execution, and its workflow cannot find out which. */
const isConflicting = ({ blocked, healthOmics }: ExecutionContext): boolean =>
  blocked?.kind === START_CONFLICT && healthOmics === null;

function toEarlier(
  attempt: number,
  { runId, uuid, arn, runOutputUri }: Omit<KnownRun, 'runOutputUri'> & { runOutputUri: string | null },
): KnownStart['earlier'][number] {
  return { attempt, runId, uuid, arn, runOutputUri: runOutputUri ?? '' };
}

/** Where the records of an execution are. */
export function placeOf({ storage, storageProviderId }: ExecutionContext): RecordPlace {
  return { ...storage, providerId: storageProviderId };
}
