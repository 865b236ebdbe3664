import { sql } from 'kysely';
import {
  FINAL_STATUSES,
  type Blocked,
  type ExecutionStatus,
  type ExecutionSummary,
  type HealthOmicsStatus,
  type ParameterValue,
  type ResultFile,
} from '../../domain/executions/execution.js';
import type { RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import type { ManifestReport } from '../../domain/runs/manifestCheck.js';
import { blockedValue } from '../blocked.js';
import { type DbOrTransaction, sanitizeJson, sanitizeText } from '../database.js';
import type { ResourceToVerify } from '../verification/resources.js';
import type { ExecutionContext } from './load.js';

/** Fields of an execution that change while it runs. Absent fields keep their values. */
export interface ExecutionChange {
  status?: ExecutionStatus;
  statusDescription?: string;
  blocked?: Blocked | null;
  workflowName?: string;
  parameters?: Record<string, ParameterValue>;
  healthOmics?: { runId: string; uuid?: string; arn?: string; runOutputUri?: string };
  healthOmicsStatus?: HealthOmicsStatus;
  summary?: ExecutionSummary;
  files?: ResultFile[];
  manifestReport?: ManifestReport;
  error?: { type: string; message: string };
  timeStarted?: Date;
  timeCompleted?: Date;
}

const json = sanitizeJson;

/**
 * Updates an execution. One that has ended stays as it is, so that a late or repeated activity cannot reopen it.
 * @returns whether the execution was updated
 */
export async function updateExecution(db: DbOrTransaction, id: string, change: ExecutionChange): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({
      time_updated: new Date(),
      ...(change.status !== undefined && { status: change.status }),
      ...(change.statusDescription !== undefined && { status_description: sanitizeText(change.statusDescription) }),
      ...(change.blocked !== undefined && { blocked: blockedValue(change.blocked) }),
      ...(change.workflowName !== undefined && { workflow_name: change.workflowName }),
      ...(change.parameters !== undefined && { parameters: json(change.parameters) }),
      ...(change.healthOmics !== undefined && {
        healthomics_run_id: change.healthOmics.runId,
        healthomics_run_uuid: change.healthOmics.uuid ?? null,
        healthomics_run_arn: change.healthOmics.arn ?? null,
        run_output_uri: change.healthOmics.runOutputUri ?? null,
      }),
      ...(change.healthOmicsStatus !== undefined && { healthomics_status: change.healthOmicsStatus }),
      ...(change.summary !== undefined && { summary: json(change.summary) }),
      ...(change.files !== undefined && { files: json(change.files) }),
      ...(change.manifestReport !== undefined && { manifest_report: json(change.manifestReport) }),
      ...(change.error !== undefined && {
        error_type: change.error.type,
        error_message: sanitizeText(change.error.message),
      }),
      ...(change.timeStarted !== undefined && {
        time_started: sql<Date>`coalesce(time_started, ${change.timeStarted})`,
      }),
      ...(change.timeCompleted !== undefined && { time_completed: change.timeCompleted }),
    })
    .where('id', '=', id)
    .where('status', 'not in', FINAL_STATUSES)
    .executeTakeFirst();
  if (result.numUpdatedRows > 0n && change.summary !== undefined)
    await recordBases2FastqMetrics(db, id, change.summary);
  return result.numUpdatedRows > 0n;
}

/** Stores the metrics of Bases2Fastq with the run. Their yields are in gigabases, those of the run in bases. */
async function recordBases2FastqMetrics(
  db: DbOrTransaction,
  executionId: string,
  { numPolonies, totalYield, percentQ30, percentQ40, percentQ50, qualityScoreMean }: ExecutionSummary,
): Promise<void> {
  const metrics: RunMetrics = {
    totalReads: numPolonies,
    totalYield: totalYield === undefined ? undefined : Math.round(totalYield * 1e9),
    q30: percentQ30,
    q40: percentQ40,
    q50: percentQ50,
    avgQ: qualityScoreMean,
  };
  await db
    .updateTable('runs')
    .set({ metrics: json(metrics) })
    .where('id', '=', db.selectFrom('executions').select('run_id').where('id', '=', executionId))
    .execute();
}

/**
 * Records that the flow and the compute connection of an execution were used now.
 * @returns those whose last verification failed, which their use contradicts.
 */
export async function recordResourcesUsed(
  db: DbOrTransaction,
  { flow, compute }: Pick<ExecutionContext, 'flow' | 'compute'>,
): Promise<ResourceToVerify[]> {
  const { rows } = await sql<ResourceToVerify>`
    with flow as (
      update flows set time_used = now() where id = ${flow.id} returning id, name, status
    ), compute as (
      update compute_connections set time_used = now() where id = ${compute.id} returning id, name, status
    )
    select 'flow' as kind, id, name from flow where status = 'FAILED'
    union all
    select 'computeConnection', id, name from compute where status = 'FAILED'`.execute(db);
  return rows;
}
