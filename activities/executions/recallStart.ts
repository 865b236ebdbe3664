import { ApplicationFailure } from '@temporalio/common';
import { markStartSent, recordStartedRun } from '../../store/executions/start.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { withHeartbeat } from '../heartbeat.js';
import type { StepDependencies } from './context.js';
import { type EarlierStart, findRecordedEnd, findRecordedStart } from './records.js';

/**
 * Gives an execution back the StartRun that the bucket knows and the database has forgotten.
 * @returns whether the execution has it now: not where it is closed, or has ended.
 */
export async function recallStart(
  { db }: Pick<StepDependencies, 'db'>,
  execution: ExecutionContext,
  { start, run }: EarlierStart,
): Promise<boolean> {
  if (!(await markStartSent(db, execution, start.request))) return false;
  if (run !== undefined) await recordStartedRun(db, execution, run);
  return true;
}

/** Gives an execution back the StartRun that the bucket has, before it is decided that none was sent. */
export async function recallSentStart(dependencies: StepDependencies, execution: ExecutionContext): Promise<void> {
  if (execution.startState !== 'none') return;
  const earlier = await withHeartbeat(() => findRecordedStart(dependencies, execution));
  if (earlier !== undefined) await recallStart(dependencies, execution, earlier);
}

/**
 * Looks in the bucket for what a restored database has forgotten of an execution whose workflow was lost, before anything
 * is checked or started for it. Other executions have forgotten nothing.
 * @returns whether it has a HealthOmics run now
 * @throws ApplicationFailure `ExecutionEnded` where it had ended
 */
export async function recallLostStart(dependencies: StepDependencies, execution: ExecutionContext): Promise<boolean> {
  if (execution.adoptions === 0 || execution.startState !== 'none') return false;
  const earlier = await withHeartbeat(() => findRecordedStart(dependencies, execution));
  if (earlier?.run !== undefined) return recallStart(dependencies, execution, earlier);
  await throwIfEndRecorded(dependencies, execution);
  return false;
}

/**
 * Prevents the start of a HealthOmics run for an execution that had ended, as the bucket says, before the database was
 * restored.
 * @throws ApplicationFailure `ExecutionEnded`
 */
export async function throwIfEndRecorded(dependencies: StepDependencies, execution: ExecutionContext): Promise<void> {
  const end = await withHeartbeat(() => findRecordedEnd(dependencies, execution));
  if (end === undefined || end.status === 'COMPLETED') return;
  throw ApplicationFailure.create({
    type: 'ExecutionEnded',
    message: `Execution ${execution.id} had ended as ${end.status} before the database was restored: ${end.description}`,
    nonRetryable: true,
    details: [end.status],
  });
}
