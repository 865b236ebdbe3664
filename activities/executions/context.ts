import { ApplicationFailure } from '@temporalio/common';
import { type Blocked, describeBlocked, isFinalStatus } from '../../domain/executions/execution.js';
import { noteLogIds } from '../../observability/logContext.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import type { Db } from '../../store/database.js';
import type { Dependencies } from '../dependencies.js';
import { createBlockedFailure } from '../failures.js';

/** What the steps of an execution need to call AWS and to write what they learn. */
export type StepDependencies = Pick<Dependencies, 'db' | 'aws' | 'secrets'>;

/**
 * Loads an execution with all that it refers to.
 * @throws ApplicationFailure `ExecutionUnknown` where there is none. It can be retried: after a restore of an older dump,
 * the sweep gives the execution back to the database.
 */
export async function loadExecution(db: Db, executionId: string): Promise<ExecutionContext> {
  const execution = await findExecution(db, executionId);
  if (execution === undefined)
    throw ApplicationFailure.retryable(
      `The database has no execution ${executionId}. The sweep recovers it from Temporal where it can`,
      'ExecutionUnknown',
    );
  noteExecutionIds(execution);
  return execution;
}

/** Adds the ids of an execution to the lines that the work at hand logs. */
export function noteExecutionIds({ id, run, provider, flow, healthOmics }: ExecutionContext): void {
  noteLogIds({
    executionId: id,
    runId: run.id,
    providerId: provider.id,
    flowId: flow.id,
    ...(healthOmics !== null && { healthOmicsRunId: healthOmics.runId }),
  });
}

/**
 * Ends a workflow whose execution has ended without a HealthOmics run. Somebody reset it: what the end decided stays.
 * @throws ApplicationFailure `ExecutionEnded` with the status, where it has ended
 */
export function throwIfEnded({ id, status, statusDescription, healthOmics }: ExecutionContext): void {
  if (!isFinalStatus(status) || healthOmics !== null) return;
  throw ApplicationFailure.create({
    type: 'ExecutionEnded',
    message:
      `Execution ${id} ended as ${status} before its workflow was reset: ${statusDescription.replace(/\.$/, '')}. ` +
      'A reset starts no HealthOmics run',
    nonRetryable: true,
    details: [status],
  });
}

/**
 * The account and region whose quotas the calls of an execution count against (HealthOmics quotas are per account and
 * region).
 */
export function quotaScope({ provider, compute }: ExecutionContext): string {
  return `${provider.account || provider.id}/${compute.region}`;
}

/** The execution as calls to its bucket see it: with the provider of the storage connection. */
export function viaStorageProvider(execution: ExecutionContext): ExecutionContext {
  return { ...execution, provider: { ...execution.provider, id: execution.storageProviderId } };
}

/** Writes to an execution what blocks it. */
export async function recordBlocked(db: Db, executionId: string, blocked: Blocked): Promise<void> {
  await updateExecution(db, executionId, {
    blocked,
    statusDescription: `Blocked: ${describeBlocked(blocked)}`,
  });
}

/**
 * Blocks an execution for a reason that polony found itself.
 * @throws always the failure on which the workflow waits.
 */
export async function block(db: Db, executionId: string, blocked: Blocked): Promise<never> {
  await recordBlocked(db, executionId, blocked);
  throw createBlockedFailure(blocked);
}
