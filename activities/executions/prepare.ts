import { type GetWorkflowCommandOutput, GetWorkflowCommand } from '@aws-sdk/client-omics';
import { ApplicationFailure } from '@temporalio/common';
import { joinKey } from '../../domain/files/paths.js';
import { buildRunParameters } from '../../domain/executions/execution.js';
import { describeVersionConflict, findBases2FastqVersion } from '../../domain/executions/versionGate.js';
import { whyRunIsUnusable } from '../../domain/runs/usability.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import type { AwsCall } from '../failures.js';
import { withHeartbeat } from '../heartbeat.js';
import { sharedWorkflowArn, withAwsErrors } from './awsCalls.js';
import { block, loadExecution, type StepDependencies, throwIfEnded } from './context.js';
import { settleManifest } from './manifest.js';
import { recallLostStart } from './recallStart.js';

export function createPrepareActivities(dependencies: StepDependencies) {
  const { db } = dependencies;
  return {
    /** Asks HealthOmics for the shared workflow and settles the parameters of the execution's run. */
    async prepareExecution(executionId: string): Promise<void> {
      const execution = await loadExecution(db, executionId);
      if (execution.healthOmics !== null) return;
      throwIfEnded(execution);
      // A request that was sent is sent again as it was, whatever the flow and the run say now.
      if (execution.startState === 'sent') return;
      if (await recallLostStart(dependencies, execution)) return;
      const reason = whyRunIsUnusable(execution.run);
      if (reason !== undefined)
        throw ApplicationFailure.nonRetryable(`The run cannot be analysed: ${reason}`, 'RunNotUsable');
      await updateExecution(db, executionId, {
        status: 'INITIALIZED',
        statusDescription: 'Checking the shared workflow',
      });
      await prepare(dependencies, execution);
      if (execution.blocked !== null) await updateExecution(db, executionId, { blocked: null });
    },
  };
}

/**
 * Asks HealthOmics for the shared workflow, checks the run manifest and settles the parameters of the run.
 * @throws ApplicationFailure `Blocked` where a person must fix something first.
 */
export async function prepare(dependencies: StepDependencies, given: ExecutionContext): Promise<void> {
  // What blocks the execution stays visible until all of these steps have succeeded.
  const execution = { ...given, blocked: null };
  const call: AwsCall = {
    action: 'omics:GetWorkflow',
    resource: sharedWorkflowArn(execution),
    whenNotFound:
      `Accept the share in the HealthOmics console of ${execution.compute.region}, and check the flow's shared ` +
      'workflow ID and owner. A share is available only in its own region.',
  };
  const workflow = await getSharedWorkflow(dependencies, execution, call);
  await blockOnOldVersion(dependencies, execution, workflow);
  const runManifest = await settleManifest(dependencies, execution);
  const { flow, storage, run } = execution;
  const runDir = `s3://${storage.bucket}/${joinKey(storage.prefix, run.parentPath, run.runFolder)}`;
  // No AWS call: parameters that the template does not take block the execution in the same way.
  const parameters = await withAwsErrors(dependencies, execution, call, async () =>
    buildRunParameters(
      workflow.parameterTemplate ?? {},
      flow.parameterNames,
      { ...flow.parameters, ...execution.ownParameters },
      { runDir, runManifest },
    ),
  );
  await updateExecution(dependencies.db, execution.id, {
    parameters,
    workflowName: workflow.name ?? `workflow ${flow.sharedWorkflowId}`,
  });
}

async function getSharedWorkflow(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  call: AwsCall,
): Promise<GetWorkflowCommandOutput> {
  const { flow, compute, provider } = execution;
  const omics = dependencies.aws.omics(provider.id, compute.region);
  const command = new GetWorkflowCommand({
    id: flow.sharedWorkflowId,
    type: 'PRIVATE',
    workflowOwnerId: flow.workflowOwnerId,
  });
  return withHeartbeat(() => withAwsErrors(dependencies, execution, call, () => omics.send(command)));
}

/** Blocks an execution whose Bases2Fastq version cannot read runs of this instrument software. */
async function blockOnOldVersion(
  { db }: StepDependencies,
  execution: ExecutionContext,
  workflow: GetWorkflowCommandOutput,
): Promise<void> {
  const { flow, run } = execution;
  const version = findBases2FastqVersion(
    `${workflow.name ?? ''} ${flow.settings.workflowVersionName ?? ''}`,
    workflow.description,
    workflow.definition,
  );
  const conflict = describeVersionConflict(run.platformVersion, version);
  if (conflict === undefined) return;
  await block(db, execution.id, {
    kind: 'VERSION_TOO_OLD',
    resource: sharedWorkflowArn(execution),
    message: conflict,
    remedy:
      "Ask Element for a share of a later version and change the flow's sharedWorkflowId; polony then continues " +
      'automatically.',
  });
}
