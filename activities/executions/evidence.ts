import type { PermissionAction } from '../../domain/iam/permissions.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { recordEvidence } from '../../store/verification/evidence.js';
import type { Dependencies } from '../dependencies.js';
import { sharedWorkflowArn } from './awsCalls.js';

/**
 * Records what starting a run showed about a permission that verification cannot try. Verifies the resources at once
 * where that is new.
 * @param action what AWS allowed or denied; actions other than iam:PassRole and omics:StartRun tell nothing new.
 * @param error how AWS denied it; absent where AWS allowed it.
 */
export async function recordPermissionUse(
  { db, orchestrator }: Pick<Dependencies, 'db' | 'orchestrator'>,
  execution: ExecutionContext,
  action: string | undefined,
  error?: { code: string; message: string },
): Promise<void> {
  const { compute, flow, provider } = execution;
  const used = findUsedPermission(execution, action);
  if (used === undefined) return;
  const isNew = await recordEvidence(db, provider.id, used.action, used.resource, error);
  if (!isNew) return;
  await orchestrator.verification.verify({ kind: 'computeConnection', id: compute.id, name: compute.name });
  await orchestrator.verification.verify({ kind: 'flow', id: flow.id, name: flow.name });
}

function findUsedPermission(
  execution: ExecutionContext,
  action: string | undefined,
): { action: PermissionAction; resource: string } | undefined {
  switch (action) {
    case 'iam:PassRole':
      return { action, resource: execution.compute.executionRoleArn };
    case 'omics:StartRun':
      return { action, resource: sharedWorkflowArn(execution) };
    default:
      return undefined;
  }
}
