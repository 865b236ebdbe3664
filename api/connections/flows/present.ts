import type { FlowRow } from '../../../store/connections/flows.js';
import { presentState } from '../present.js';

/** A flow as the API shows it. */
export function presentFlow(row: FlowRow) {
  return {
    id: row.id,
    name: row.name,
    computeConnectionId: row.compute_connection_id,
    sharedWorkflowId: row.shared_workflow_id,
    workflowOwnerId: row.workflow_owner_id,
    sharedWorkflowRegion: row.shared_workflow_region,
    autoStart: { storageConnectionIds: row.storage_connection_ids, ...row.auto_start_filter },
    runSettings: row.run_settings,
    acceptFailedOutcome: row.accept_failed_outcome,
    acceptStoppedOutcome: row.accept_stopped_outcome,
    acceptUnverified: row.accept_unverified,
    parameterNames: row.parameter_names,
    parameters: row.parameters,
    ...presentState('FLOW_STATUS', row),
  };
}
