import { explainFailure } from '../../domain/executions/failures.js';
import { isFinalStatus } from '../../domain/executions/execution.js';
import type { listAttempts } from '../../store/executions/attempts.js';
import type { ExecutionRow } from '../../store/executions/list.js';
import { executionWorkflowId } from '../../workflows/messages.js';

/** The status description, and for a blocked execution also what to do where the description does not say it. */
function describeStatus(row: ExecutionRow): string {
  if (row.blocked === null || isFinalStatus(row.status) || row.status_description.includes(row.blocked.remedy))
    return row.status_description;
  return `Blocked: ${row.blocked.message} ${row.blocked.remedy}`;
}

/** An execution in the shape of the vendor's contract. */
export function presentExecution(row: ExecutionRow) {
  return {
    id: row.id,
    name: row.name,
    status: `EXECUTION_STATUS_${row.status}`,
    statusDescription: describeStatus(row),
    platform: 'aws_omics',
    workflow: { name: row.workflow_name ?? 'bases2fastq', version: row.summary?.analysisVersion ?? '' },
    flow: { id: row.flow_id, name: row.flow_name },
    inputs: [
      {
        run: {
          id: row.run_id,
          name: row.run_name,
          instrumentName: row.instrument_name,
          kitType: row.kit ?? '',
          runType: (row.run_type ?? 'Sequencing') === 'Sequencing' ? 'sequencing' : 'multiomics',
        },
      },
    ],
    output: {
      storageConnectionId: row.storage_connection_id,
      uri: row.run_output_uri === null ? '' : `${row.run_output_uri.replace(/\/+$/, '')}/`,
      kinds: row.status === 'COMPLETED' ? ['fastq'] : [],
    },
    startedBy: { id: row.started_by, email: '', name: row.started_by },
    timeCreated: row.time_created.toISOString(),
    timeStarted: row.time_started?.toISOString() ?? null,
    timeCompleted: row.time_completed?.toISOString() ?? null,
    errorMessage: row.status === 'FAILED' ? row.error_message : null,
  };
}

type Attempt = Awaited<ReturnType<typeof listAttempts>>[number];

/** What polony knows of an execution beyond the vendor's contract. */
export function presentDetails(row: ExecutionRow, earlierAttempts: readonly Attempt[]) {
  return {
    workflowId: executionWorkflowId(row.id),
    trigger: row.trigger,
    account: row.account_id ?? '',
    region: row.region,
    computeConnectionId: row.compute_connection_id,
    healthOmics: presentHealthOmicsRun(row),
    blocked: row.blocked,
    cancelRequested:
      row.cancel_requested_by === null
        ? null
        : {
            requestedBy: row.cancel_requested_by,
            reason: row.cancel_reason,
            time: row.time_cancel_requested?.toISOString() ?? null,
          },
    parameters: row.parameters,
    summary: row.summary,
    errorType: row.error_type,
    failure: row.status === 'FAILED' && row.error_type !== null ? explainFailure(row.error_type) : null,
    attempt: row.attempt,
    earlierAttempts: earlierAttempts.map(presentAttempt),
    manifest: {
      source: row.has_manifest_text ? 'text' : row.manifest_uri !== null ? 'uri' : 'run',
      uri: row.manifest_uri,
      report: row.manifest_report,
    },
    relaunchOf: row.relaunch_of,
  };
}

function presentHealthOmicsRun(row: ExecutionRow) {
  if (row.healthomics_run_id === null) return null;
  return {
    runId: row.healthomics_run_id,
    uuid: row.healthomics_run_uuid,
    arn: row.healthomics_run_arn,
    status: row.healthomics_status,
    runOutputUri: row.run_output_uri,
  };
}

function presentAttempt(row: Attempt) {
  return {
    attempt: row.attempt,
    runId: row.healthomics_run_id,
    uuid: row.healthomics_run_uuid,
    arn: row.healthomics_run_arn,
    runOutputUri: row.run_output_uri,
    failureReason: row.failure_reason,
    statusMessage: row.status_message,
    timeStarted: row.time_started?.toISOString() ?? null,
    timeEnded: row.time_ended.toISOString(),
  };
}
