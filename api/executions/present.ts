import { explainFailure } from '../../domain/executions/failures.js';
import { describeBlocked, isFinalStatus } from '../../domain/executions/execution.js';
import { listSteps, type RecordedStep } from '../../domain/executions/steps.js';
import { findPathWarnings } from '../../domain/runs/pathWarnings.js';
import type { listAttempts } from '../../store/executions/attempts.js';
import type { ListedExecution } from '../../store/executions/load.js';
import { executionWorkflowId } from '../../workflows/messages/executions.js';

/** The status description, and for a blocked execution also what to do where the description does not say it. */
function describeStatus(row: ListedExecution): string {
  if (row.blocked === null || isFinalStatus(row.status) || row.statusDescription.includes(row.blocked.remedy))
    return row.statusDescription;
  return `Blocked: ${describeBlocked(row.blocked)}`;
}

/** An execution in the shape of the vendor's contract. */
export function presentExecution(row: ListedExecution) {
  return {
    id: row.id,
    name: row.name,
    status: `EXECUTION_STATUS_${row.status}`,
    statusDescription: describeStatus(row),
    platform: 'aws_omics',
    workflow: { name: row.workflowName ?? 'bases2fastq', version: row.summary?.analysisVersion ?? '' },
    flow: { id: row.flow.id, name: row.flow.name },
    inputs: [
      {
        run: {
          id: row.run.id,
          name: row.run.name,
          instrumentName: row.run.instrumentName,
          kitType: row.run.kit ?? '',
          runType: (row.run.type ?? 'Sequencing') === 'Sequencing' ? 'sequencing' : 'multiomics',
        },
      },
    ],
    output: {
      storageConnectionId: row.storage.id,
      uri: row.healthOmics?.runOutputUri == null ? '' : `${row.healthOmics.runOutputUri.replace(/\/+$/, '')}/`,
      kinds: row.status === 'COMPLETED' ? ['fastq'] : [],
    },
    startedBy: { id: row.startedById ?? row.startedBy, email: '', name: row.startedBy },
    timeCreated: row.timeCreated.toISOString(),
    timeStarted: row.timeStarted?.toISOString() ?? null,
    timeCompleted: row.timeCompleted?.toISOString() ?? null,
    errorMessage: row.status === 'FAILED' ? (row.error?.message ?? null) : null,
  };
}

type Attempt = Awaited<ReturnType<typeof listAttempts>>[number];

/** What polony knows of an execution beyond the vendor's contract. */
export function presentExecutionDetails(row: ListedExecution, earlierAttempts: readonly Attempt[]) {
  return {
    workflowId: executionWorkflowId(row.id),
    trigger: row.trigger,
    account: row.provider.account,
    region: row.compute.region,
    computeConnectionId: row.compute.id,
    healthOmics: presentHealthOmicsRun(row),
    blocked: row.blocked,
    blockedSince: row.blocked?.since ?? null,
    cancelRequested:
      row.cancel === null
        ? null
        : {
            requestedBy: row.cancel.requestedBy,
            requestedById: row.cancel.requestedById,
            reason: row.cancel.reason,
            time: row.cancel.time?.toISOString() ?? null,
          },
    parameters: row.parameters,
    summary: row.summary,
    errorType: row.error?.type ?? null,
    failure: row.status === 'FAILED' && row.error !== null ? explainFailure(row.error.type) : null,
    attempt: row.attempt,
    earlierAttempts: earlierAttempts.map(presentAttempt),
    manifest: {
      source: row.manifestSource,
      uri: row.manifestUri,
      report: row.manifestReport,
    },
    warnings: findPathWarnings({ ...row.run, prefix: row.storage.prefix }),
    relaunchOf: row.relaunchOf,
  };
}

function presentHealthOmicsRun(row: ListedExecution) {
  if (row.healthOmics === null) return null;
  return {
    runId: row.healthOmics.runId,
    uuid: row.healthOmics.uuid,
    arn: row.healthOmics.arn,
    status: row.healthOmics.status,
    runOutputUri: row.healthOmics.runOutputUri,
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

/** The steps of an execution. What blocked one that has ended is over. */
export function presentSteps(row: ListedExecution, recorded: readonly RecordedStep[]) {
  const blocked = isFinalStatus(row.status) ? null : row.blocked;
  const steps = listSteps({ ...row, isCancelling: row.cancel !== null }, recorded);
  return {
    steps: steps.map((each) => ({
      ...each,
      timeStarted: each.timeStarted.toISOString(),
      timeEnded: each.timeEnded?.toISOString() ?? null,
    })),
    blocked,
    blockedSince: blocked?.since ?? null,
  };
}
