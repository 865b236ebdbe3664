import type { ExecutionOrigin } from '../../domain/executions/origin.js';
import { isSameStart } from '../../domain/executions/record.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import type { KnownStart } from '../../store/executions/recover.js';
import { startRunRequestId } from '../../store/executions/start.js';
import type { RecordPlace, StartRule } from '../../store/reconcile/places.js';
import type { KnownExecution } from '../../temporal/executions.js';
import type { ReadRecord } from '../executions/records.js';
import { isRunOfOutput } from '../executions/runsInOutput.js';
import type { AwsTruth, RunPlace, RunTruth } from './awsTruth.js';
import type { Traces } from './candidates.js';

/** A step of a plan. @returns why nobody can decide about the execution now; undefined where the step is done. */
export type Step = () => Promise<string | undefined>;

/** What a bucket says about an execution, and through which storage connection; none where no bucket knows it. */
export type ReadEvidence = ReadRecord & { place?: RecordPlace };

/** What a plan is made from, besides what the database has. */
export interface Evidence extends ReadEvidence {
  id: string;
  workflow: KnownExecution | undefined;
  traces: Traces;
}

/** What to do where AWS does not answer a question about a run. */
export const ASK_AGAIN = 'polony status shows what the provider may not do. Then run polony reconcile again';

/** The parts of an execution that decide how it continues. Of one that the database does not have, as it will be. */
export type Continuation = Pick<
  ExecutionContext,
  'id' | 'healthOmics' | 'startState' | 'blocked' | 'adoptions' | 'cancel' | 'workflowStarted'
> & { status: string; attempt: number };

/** A step that always succeeds or throws. */
export function done(work: () => Promise<unknown>): Step {
  return async () => {
    await work();
    return undefined;
  };
}

/**
 * What HealthOmics says about a run of an execution. Ids of deleted runs are used again, so the uuid and the output
 * must be those of the execution.
 */
export async function judgeRun(
  truth: AwsTruth,
  outputUri: string,
  place: RunPlace,
  { runId, uuid }: { runId: string; uuid: string | null },
): Promise<RunTruth> {
  const found = await truth.getRun(place, runId);
  if (found.is !== 'found') return found;
  const { run } = found;
  const isSame = uuid === null || run.uuid === undefined || run.uuid === uuid;
  const isOurs = run.outputUri === undefined || isRunOfOutput(run, outputUri);
  if (isSame && isOurs) return found;
  return { is: 'gone', why: `HealthOmics run ${runId} was deleted, and its id now belongs to another run` };
}

/** The row of an execution after its StartRun was recalled. */
export function toContinuation({ attempt, request, run, hasEnded }: KnownStart) {
  const withoutRun = hasEnded === true ? ('closed' as const) : request === null ? ('none' as const) : ('sent' as const);
  return {
    attempt,
    startState: run === undefined ? withoutRun : ('started' as const),
    healthOmics: run === undefined ? null : { ...run, status: null },
  };
}

/**
 * Whether a recorded request runs the workflow of an execution's flow, with its role and output. Where the flow has
 * changed since, a person decides.
 */
export function isOwnRequest(
  id: string,
  { outputUri }: Pick<ExecutionOrigin, 'outputUri'>,
  { attempt, request }: KnownStart,
  rule: Pick<StartRule, 'sharedWorkflowId' | 'workflowOwnerId' | 'executionRoleArn'>,
): boolean {
  return isSameStart(request ?? {}, {
    workflowId: rule.sharedWorkflowId,
    workflowOwnerId: rule.workflowOwnerId,
    roleArn: rule.executionRoleArn,
    outputUri: outputUri.replace(/\/$/, ''),
    requestId: startRunRequestId({ id, attempt }),
  });
}
