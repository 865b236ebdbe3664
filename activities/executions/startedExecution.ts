import type { ExecutionRecord } from '../../domain/executions/record.js';
import { isFinalStatus } from '../../domain/executions/execution.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import {
  type KnownRun,
  type KnownStart,
  recordForgottenRun,
  recordKnownStart,
  runOutputUriOf,
} from '../../store/executions/recover.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { loadExecution, type StepDependencies } from './context.js';
import { readExecutionRecord } from './records.js';

type StartedDependencies = StepDependencies & Pick<Dependencies, 'orchestrator'>;

/**
 * Loads an execution whose HealthOmics run was started. A database that was restored from an older dump may have
 * forgotten the run, or that another attempt followed. Then the bucket and Temporal say which run it is.
 * @param attempt the one that the workflow is at; absent in histories from before it was passed.
 */
export async function loadStartedExecution(
  dependencies: StartedDependencies,
  executionId: string,
  attempt = 1,
): Promise<ExecutionContext> {
  const { db, orchestrator } = dependencies;
  const execution = await loadExecution(db, executionId);
  const isBehind = execution.attempt < attempt && !isFinalStatus(execution.status);
  if (execution.healthOmics !== null && !isBehind) return execution;
  if (isBehind) {
    const recorded = await readLatestStart(dependencies, execution);
    if (recorded?.run !== undefined && recorded.attempt >= attempt) {
      await recordKnownStart(db, executionId, execution.attempt, recorded);
      return loadExecution(db, executionId);
    }
  }
  const runId = (await orchestrator.executions.findKnown(executionId))?.healthOmicsRunId;
  if (runId === undefined || runId === execution.healthOmics?.runId) return execution;
  if (isBehind) {
    const run = { runId, uuid: null, arn: null, runOutputUri: runOutputUriOf(execution.outputUri, runId) };
    await recordKnownStart(db, executionId, execution.attempt, { attempt, request: null, run, earlier: [] });
  } else await recordForgottenRun(db, executionId, runId);
  return loadExecution(db, executionId);
}

/** @returns undefined where the bucket says nothing, or does not answer: Temporal knows the run too. */
async function readLatestStart(
  { aws, secrets }: StepDependencies,
  { id, outputUri, storage, storageProviderId }: ExecutionContext,
): Promise<KnownStart | undefined> {
  const s3 = aws.s3(storageProviderId, storage.region);
  const { record } = await withHeartbeat(() =>
    aws.use(storageProviderId, () => readExecutionRecord(secrets, s3, storage, id)),
  ).catch(() => ({ record: undefined }));
  return record && toKnownStart(record, id, outputUri);
}

/** What a record says about the current StartRun; undefined where it says nothing about one. */
export function toKnownStart(record: ExecutionRecord, id: string, outputUri: string): KnownStart | undefined {
  const latest = record.starts.at(-1);
  if (latest === undefined) return undefined;
  const folder = outputUri.replace(/\/?$/, '/');
  const runs = record.runs.filter((run) => run.executionId === id && run.runOutputUri.startsWith(folder));
  const run = runs.find(({ attempt }) => attempt === latest.attempt);
  return {
    attempt: latest.attempt,
    request: latest.refused === true ? null : latest.request,
    ...(run !== undefined && { run: pickRun(run) }),
    ...(record.end !== undefined && record.end.status !== 'COMPLETED' && { hasEnded: true }),
    earlier: runs
      .filter(({ attempt }) => attempt < latest.attempt)
      .map((each) => ({ ...pickRun(each), attempt: each.attempt })),
  };
}

const pickRun = ({ runId, uuid, arn, runOutputUri }: KnownRun): KnownRun => ({ runId, uuid, arn, runOutputUri });
