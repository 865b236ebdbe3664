import { type PermissionScope, runArn, workflowArn } from '../../domain/iam/permissions.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import { type AwsCall, getBlocked, toActivityFailure } from '../failures.js';
import { recordBlocked, type StepDependencies } from './context.js';

/**
 * Makes AWS calls for an execution with the session of its provider. Writes to the execution what blocks the calls, and
 * clears that once they succeed.
 * @param call the call that a failure is about.
 * @param throwIfLost throws where another process watches the run by now, so that this one must write nothing
 * @throws ApplicationFailure that says whether the workflow retries, waits for a person or fails.
 */
export async function withAwsErrors<T>(
  { db, aws }: StepDependencies,
  execution: ExecutionContext,
  call: AwsCall,
  run: () => Promise<T>,
  throwIfLost: () => void = () => undefined,
): Promise<T> {
  try {
    const result = await aws.use(execution.provider.id, run);
    throwIfLost();
    if (execution.blocked) await updateExecution(db, execution.id, { blocked: null });
    return result;
  } catch (error) {
    const failure = toActivityFailure(error, { scope: permissionScope(execution), ...call });
    const blocked = getBlocked(failure);
    throwIfLost();
    if (blocked !== undefined) await recordBlocked(db, execution.id, blocked);
    throw failure;
  }
}

/** A HealthOmics call on a run; on all runs of the account where no id is given. */
export function runCall({ compute, provider }: ExecutionContext, action: string, runId = '*'): AwsCall {
  return {
    action,
    resource: runArn({ region: compute.region, accountId: provider.account || undefined }, runId),
  };
}

/** The ARN of the shared workflow that the flow of an execution runs. */
export function sharedWorkflowArn({ compute, flow }: ExecutionContext): string {
  return workflowArn({
    region: compute.region,
    workflowOwnerId: flow.workflowOwnerId,
    workflowId: flow.sharedWorkflowId,
  });
}

function permissionScope({ compute, flow, provider, storage }: ExecutionContext): PermissionScope {
  return {
    bucket: storage.bucket,
    prefix: storage.prefix,
    executionRoleArn: compute.executionRoleArn,
    accountId: provider.account || undefined,
    region: compute.region,
    workflowId: flow.sharedWorkflowId,
    workflowOwnerId: flow.workflowOwnerId,
  };
}
