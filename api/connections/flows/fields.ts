import { checkSharedWorkflow } from '../../../domain/connections/flow.js';
import type { AutoStartFilter } from '../../../domain/connections/runSettings.js';
import type { ParameterValue } from '../../../domain/executions/execution.js';
import { normalizeName } from '../../../domain/names.js';
import type { FlowFields, FlowRow } from '../../../store/connections/flows.js';
import type { FlowBody, FlowChange } from './schemas.js';

/** Names of the fields that identify the shared workflow. */
export const WORKFLOW_FIELDS = { workflow: 'sharedWorkflowId', owner: 'workflowOwnerId' };

type WorkflowFields = Pick<FlowFields, 'sharedWorkflowId' | 'workflowOwnerId' | 'sharedWorkflowRegion'>;

/** The fields of a new flow. Its body has been checked. */
export function newFlowFields(body: FlowBody): FlowFields {
  const { workflow } = checkSharedWorkflow(WORKFLOW_FIELDS, body.sharedWorkflowId, body.workflowOwnerId?.trim());
  return {
    name: normalizeName(body.name),
    computeConnectionId: body.computeConnectionId,
    sharedWorkflowId: workflow!.id,
    workflowOwnerId: workflow!.ownerId,
    sharedWorkflowRegion: workflow!.region ?? null,
    parameterNames: body.parameterNames ?? {},
    parameters: (body.parameters ?? {}) as Record<string, ParameterValue>,
    storageConnectionIds: normalizeIds(body.autoStart?.storageConnectionIds ?? []),
    autoStartFilter: autoStartFilter(body.autoStart),
    runSettings: body.runSettings ?? {},
    acceptFailedOutcome: body.acceptFailedOutcome ?? false,
    acceptStoppedOutcome: body.acceptStoppedOutcome ?? false,
    acceptUnverified: body.acceptUnverified ?? true,
  };
}

/** The fields of a flow after a change. The body has been checked. */
export function changedFlowFields(old: FlowRow, body: FlowChange): FlowFields {
  const { autoStart } = body;
  return {
    name: body.name === undefined ? old.name : normalizeName(body.name),
    computeConnectionId: body.computeConnectionId?.toLowerCase() ?? old.compute_connection_id,
    ...changedWorkflow(old, body),
    parameterNames: body.parameterNames ?? old.parameter_names,
    parameters: (body.parameters as Record<string, ParameterValue> | undefined) ?? old.parameters,
    storageConnectionIds:
      autoStart === undefined ? old.storage_connection_ids : normalizeIds(autoStart.storageConnectionIds),
    autoStartFilter: autoStart === undefined ? old.auto_start_filter : autoStartFilter(autoStart),
    runSettings: body.runSettings ?? old.run_settings,
    acceptFailedOutcome: body.acceptFailedOutcome ?? old.accept_failed_outcome,
    acceptStoppedOutcome: body.acceptStoppedOutcome ?? old.accept_stopped_outcome,
    acceptUnverified: body.acceptUnverified ?? old.accept_unverified,
  };
}

/** If the body holds no owner, the owner is the one in the ARN of the workflow, or else the old one. */
function changedWorkflow(old: FlowRow, body: FlowChange): WorkflowFields {
  const ownerId = body.workflowOwnerId?.trim();
  if (body.sharedWorkflowId === undefined)
    return {
      sharedWorkflowId: old.shared_workflow_id,
      workflowOwnerId: ownerId ?? old.workflow_owner_id,
      sharedWorkflowRegion: old.shared_workflow_region,
    };
  const { workflow } = checkSharedWorkflow(WORKFLOW_FIELDS, body.sharedWorkflowId, ownerId);
  return {
    sharedWorkflowId: workflow?.id ?? body.sharedWorkflowId.trim(),
    workflowOwnerId: workflow?.ownerId ?? ownerId ?? old.workflow_owner_id,
    sharedWorkflowRegion: workflow?.region ?? null,
  };
}

function autoStartFilter(autoStart: AutoStartFilter | undefined): AutoStartFilter {
  return {
    ...(autoStart?.instruments !== undefined && { instruments: autoStart.instruments }),
    ...(autoStart?.runNames !== undefined && { runNames: autoStart.runNames }),
  };
}

/** IDs as PostgreSQL writes them, without duplicates. */
function normalizeIds(ids: readonly string[]): string[] {
  return [...new Set(ids.map((id) => id.toLowerCase()))];
}
