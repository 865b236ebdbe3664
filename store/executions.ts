import { sql } from 'kysely';
import type { RunMetrics } from '../domain/runs/instrumentMetrics.js';
import type {
  Blocked,
  ExecutionStatus,
  ExecutionSummary,
  HealthOmicsStatus,
  ParameterNames,
  ParameterValue,
  ResultFile,
} from '../domain/executions/execution.js';
import type { ManifestReport } from '../domain/runs/manifestCheck.js';
import type { Cycles } from '../domain/runs/runParameters.js';
import type { RunOutcome } from '../domain/runs/runUploaded.js';
import type { RunSettings } from '../domain/connections/runSettings.js';
import { type Db, type DbOrTransaction, isId, sanitizeText, sanitizeJson } from './database.js';
import type { StartState, UploadState } from './schema.js';

/** All that starting and watching an execution needs, in one row. */
export interface ExecutionContext {
  id: string;
  name: string;
  status: ExecutionStatus;
  startState: StartState;
  /** What StartRun was sent with. */
  startRequest: Record<string, unknown> | null;
  workflowStarted: boolean;
  /** What it is known to wait for. */
  blocked: Blocked | null;
  trigger: 'auto' | 'api';
  startedBy: string;
  flow: {
    id: string;
    name: string;
    sharedWorkflowId: string;
    workflowOwnerId: string;
    parameterNames: ParameterNames;
    parameters: Record<string, ParameterValue>;
    settings: RunSettings;
    acceptFailedOutcome: boolean;
    acceptUnverified: boolean;
  };
  run: {
    id: string;
    name: string;
    instrumentName: string;
    parentPath: string;
    runFolder: string;
    uploadState: UploadState;
    outcome: RunOutcome | null;
    checked: 'content' | 'presence';
    discovered: boolean;
    cycles: Cycles | null;
    analysisLanes: string | null;
    platformVersion: string | null;
  };
  storage: { id: string; name: string; bucket: string; prefix: string; region: string };
  compute: { id: string; name: string; region: string; executionRoleArn: string };
  /** The provider of the compute connection: the account where HealthOmics runs. */
  provider: { id: string; name: string; account: string };
  /** The provider of the storage connection: usually the same. */
  storageProviderId: string;
  outputUri: string;
  parameters: Record<string, ParameterValue> | null;
  workflowName: string | null;
  healthOmics: {
    runId: string;
    uuid: string | null;
    status: HealthOmicsStatus | null;
    runOutputUri: string | null;
  } | null;
  cancel: { requestedBy: string; reason: string | null } | null;
  /** Which of its HealthOmics runs it is at, from 1. */
  attempt: number;
  /** Laid over those of the flow. */
  ownParameters: Record<string, ParameterValue>;
  /** A run manifest in place of the run's own. */
  manifest: { text: string } | { uri: string } | null;
  /** How often its workflow was started again after it had been closed from outside. */
  adoptions: number;
}

function contextQuery(db: DbOrTransaction) {
  return db
    .selectFrom('executions as e')
    .innerJoin('flows as f', 'f.id', 'e.flow_id')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .innerJoin('storage_connections as s', 's.id', 'e.storage_connection_id')
    .innerJoin('compute_connections as c', 'c.id', 'e.compute_connection_id')
    .innerJoin('providers as p', 'p.id', 'c.provider_id')
    .select([
      'e.id',
      'e.name',
      'e.status',
      'e.start_state',
      'e.start_request',
      'e.workflow_started',
      'e.blocked',
      'e.trigger',
      'e.started_by',
      'e.output_uri',
      'e.parameters',
      'e.workflow_name',
      'e.healthomics_run_id',
      'e.healthomics_run_uuid',
      'e.healthomics_status',
      'e.run_output_uri',
      'e.cancel_requested_by',
      'e.cancel_reason',
      'e.attempt',
      'e.own_parameters',
      'e.manifest_text',
      'e.manifest_uri',
      'e.adoptions',
      'f.id as flow_id',
      'f.name as flow_name',
      'f.shared_workflow_id',
      'f.workflow_owner_id',
      'f.parameter_names',
      'f.parameters as flow_parameters',
      'f.run_settings',
      'f.accept_failed_outcome',
      'f.accept_unverified',
      'r.checked',
      'r.id as run_id',
      'r.run_name',
      'r.instrument_name',
      'r.run_folder',
      'r.parent_path',
      'r.outcome',
      'r.discovered',
      'r.upload_state',
      // Not the whole: it names every tile.
      sql<Cycles | null>`r.run_parameters->'cycles'`.as('cycles'),
      sql<string | null>`r.run_parameters->>'analysisLanes'`.as('analysis_lanes'),
      sql<string | null>`r.run_parameters->>'platformVersion'`.as('platform_version'),
      's.id as storage_id',
      's.name as storage_name',
      's.bucket',
      's.prefix',
      's.region as storage_region',
      's.provider_id as storage_provider_id',
      'c.id as compute_id',
      'c.name as compute_name',
      'c.region as compute_region',
      'c.execution_role_arn',
      'p.id as provider_id',
      'p.name as provider_name',
      'p.account_id',
    ]);
}

function toContext(
  row: Awaited<ReturnType<ReturnType<typeof contextQuery>['executeTakeFirstOrThrow']>>,
): ExecutionContext {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    startState: row.start_state,
    startRequest: row.start_request,
    workflowStarted: row.workflow_started,
    blocked: row.blocked,
    trigger: row.trigger,
    startedBy: row.started_by,
    flow: {
      id: row.flow_id,
      name: row.flow_name,
      sharedWorkflowId: row.shared_workflow_id,
      workflowOwnerId: row.workflow_owner_id,
      parameterNames: row.parameter_names,
      parameters: row.flow_parameters,
      settings: row.run_settings,
      acceptFailedOutcome: row.accept_failed_outcome,
      acceptUnverified: row.accept_unverified,
    },
    run: {
      id: row.run_id,
      name: row.run_name,
      instrumentName: row.instrument_name,
      parentPath: row.parent_path,
      runFolder: row.run_folder,
      outcome: row.outcome,
      checked: row.checked,
      discovered: row.discovered,
      uploadState: row.upload_state,
      cycles: row.cycles,
      analysisLanes: row.analysis_lanes,
      platformVersion: row.platform_version,
    },
    storage: {
      id: row.storage_id,
      name: row.storage_name,
      bucket: row.bucket,
      prefix: row.prefix,
      region: row.storage_region,
    },
    compute: {
      id: row.compute_id,
      name: row.compute_name,
      region: row.compute_region,
      executionRoleArn: row.execution_role_arn,
    },
    provider: { id: row.provider_id, name: row.provider_name, account: row.account_id ?? '' },
    storageProviderId: row.storage_provider_id,
    outputUri: row.output_uri,
    parameters: row.parameters,
    workflowName: row.workflow_name,
    healthOmics:
      row.healthomics_run_id === null
        ? null
        : {
            runId: row.healthomics_run_id,
            uuid: row.healthomics_run_uuid,
            status: row.healthomics_status,
            runOutputUri: row.run_output_uri,
          },
    cancel:
      row.cancel_requested_by === null ? null : { requestedBy: row.cancel_requested_by, reason: row.cancel_reason },
    attempt: row.attempt,
    ownParameters: row.own_parameters,
    manifest:
      row.manifest_text !== null
        ? { text: row.manifest_text }
        : row.manifest_uri !== null
          ? { uri: row.manifest_uri }
          : null,
    adoptions: row.adoptions,
  };
}

/** An execution with all that it refers to; undefined when there is none. */
export async function findExecution(db: DbOrTransaction, id: string): Promise<ExecutionContext | undefined> {
  const row = await contextQuery(db).where('e.id', '=', id).executeTakeFirst();
  return row && toContext(row);
}

/** Executions whose workflow is not known to exist: to be started (again) by whoever asks, which is safe since the workflow id is theirs. */
export async function listExecutionsToStart(
  db: DbOrTransaction,
  filter: { runId?: string; createdBefore?: Date },
): Promise<ExecutionContext[]> {
  let query = contextQuery(db)
    .where('e.workflow_started', '=', false)
    .where('e.status', 'in', ['UNTRIGGERED', 'INITIALIZED']);
  if (filter.runId !== undefined) query = query.where('e.run_id', '=', filter.runId);
  if (filter.createdBefore !== undefined) query = query.where('e.time_created', '<', filter.createdBefore);
  return (await query.orderBy('e.id').limit(500).execute()).map(toContext);
}

/** Executions that wait for the upload of their run. */
export async function listExecutionsWaitingForUpload(db: DbOrTransaction, runId: string): Promise<ExecutionContext[]> {
  return (
    await contextQuery(db).where('e.run_id', '=', runId).where('e.status', '=', 'UNTRIGGERED').orderBy('e.id').execute()
  ).map(toContext);
}

export async function markWorkflowStarted(db: DbOrTransaction, id: string): Promise<void> {
  await db
    .updateTable('executions')
    .set({ workflow_started: true })
    .where('id', '=', id)
    .where('workflow_started', '=', false)
    .execute();
}

/** Fields of an execution that change while it runs; what is absent stays. */
export interface ExecutionChange {
  status?: ExecutionStatus;
  statusDescription?: string;
  blocked?: Blocked | null;
  startState?: 'none' | 'sent' | 'started';
  startRequest?: Record<string, unknown> | null;
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
 * Writes what has changed of an execution. An execution that has ended stays as it ended, so that a late, repeated activity
 * cannot bring it back.
 * @returns whether a row was changed.
 */
export async function updateExecution(db: DbOrTransaction, id: string, change: ExecutionChange): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({
      time_updated: new Date(),
      ...(change.status !== undefined && { status: change.status }),
      ...(change.statusDescription !== undefined && { status_description: sanitizeText(change.statusDescription) }),
      ...(change.blocked !== undefined && { blocked: change.blocked === null ? null : json(change.blocked) }),
      ...(change.startState !== undefined && { start_state: change.startState }),
      ...(change.startRequest !== undefined && {
        start_request: change.startRequest === null ? null : json(change.startRequest),
      }),
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
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .executeTakeFirst();
  if (result.numUpdatedRows > 0n && change.summary !== undefined) await noteMetrics(db, id, change.summary);
  return result.numUpdatedRows > 0n;
}

/** What Bases2Fastq has measured is kept with the run. Its yields are in gigabases. */
async function noteMetrics(
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

/** Notes who asked for a cancel first; a later request changes nothing. */
export async function recordCancelRequest(
  db: Db,
  id: string,
  requestedBy: string,
  reason: string | undefined,
): Promise<void> {
  await db
    .updateTable('executions')
    .set({
      cancel_requested_by: sanitizeText(requestedBy),
      cancel_reason: reason === undefined ? null : sanitizeText(reason),
      time_cancel_requested: new Date(),
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .where('cancel_requested_by', 'is', null)
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .execute();
}

/** Notes when the flow and the compute connection of an execution were last used. */
export async function recordResourcesUsed(
  db: DbOrTransaction,
  { flow, compute }: Pick<ExecutionContext, 'flow' | 'compute'>,
): Promise<void> {
  await db.updateTable('flows').set({ time_used: new Date() }).where('id', '=', flow.id).execute();
  await db.updateTable('compute_connections').set({ time_used: new Date() }).where('id', '=', compute.id).execute();
}

/**
 * Notes that StartRun is about to be sent, with what.
 * @returns false where it must not be: the execution was closed against it, or has ended.
 */
export async function markStartSent(
  db: DbOrTransaction,
  { id, attempt }: { id: string; attempt: number },
  request: Record<string, unknown>,
): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({
      start_state: 'sent',
      start_request: sanitizeJson(request),
      status_description: 'Starting the HealthOmics run',
      time_updated: new Date(),
    })
    .where('id', '=', id)
    // Late work of an attempt that is over must not start anything.
    .where('attempt', '=', attempt)
    .where('start_state', 'in', ['none', 'sent'])
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Closes an execution against StartRun where none is known to have been sent. @returns whether it is closed. */
export async function closeStart(db: DbOrTransaction, id: string): Promise<boolean> {
  const result = await db
    .updateTable('executions')
    .set({ start_state: 'closed' })
    .where('id', '=', id)
    .where('start_state', 'in', ['none', 'closed'])
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Notes that the workflow has been told of the cancel. */
export async function markCancelSignalled(db: DbOrTransaction, id: string): Promise<void> {
  await db.updateTable('executions').set({ cancel_signalled: true }).where('id', '=', id).execute();
}

/** Executions whose cancel was accepted and of which the workflow has not been told, because a process died or Temporal was away. */
export async function listCancelsToSignal(db: DbOrTransaction, requestedBefore: Date): Promise<ExecutionContext[]> {
  const rows = await contextQuery(db)
    .where('e.cancel_requested_by', 'is not', null)
    .where('e.cancel_signalled', '=', false)
    .where('e.time_cancel_requested', '<', requestedBefore)
    .where('e.status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .orderBy('e.id')
    .limit(500)
    .execute();
  return rows.map(toContext);
}

/** How many executions are under way whose workflow is known to have been started before then. */
export async function countStartedExecutions(db: DbOrTransaction, before: Date): Promise<number> {
  const row = await handedOver(db, before)
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** Their ids, page by page. */
export async function listStartedExecutionIds(
  db: DbOrTransaction,
  before: Date,
  after: string | undefined,
): Promise<string[]> {
  let query = handedOver(db, before).select('id').orderBy('id').limit(1000);
  if (after !== undefined) query = query.where('id', '>', after);
  return (await query.execute()).map((row) => row.id);
}

function handedOver(db: DbOrTransaction, before: Date) {
  return db
    .selectFrom('executions')
    .where('workflow_started', '=', true)
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .where('time_created', '<', before);
}

/** Those of these executions that have not ended. */
export async function filterOpenExecutions(db: DbOrTransaction, ids: readonly string[]): Promise<string[]> {
  const known = ids.filter(isId);
  if (known.length === 0) return [];
  const rows = await db
    .selectFrom('executions')
    .select('id')
    .where('id', 'in', known)
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .execute();
  return rows.map((row) => row.id);
}

/** The requestId of an execution's StartRun: another for each attempt, the same however often that is asked for. */
export function startRunRequestId({ id, attempt }: { id: string; attempt: number }): string {
  return attempt === 1 ? id : `${id}-${attempt}`;
}

/**
 * Keeps a HealthOmics run that has failed, and makes the execution ready for its next.
 * @param attempt the one that failed; where the execution is beyond it already, nothing is changed.
 */
export async function beginNextAttempt(
  db: Db,
  id: string,
  attempt: number,
  failed: { failureReason: string; statusMessage?: string; description: string },
): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    const row = await transaction
      .selectFrom('executions')
      .selectAll()
      .where('id', '=', id)
      .where('attempt', '=', attempt)
      .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined || row.healthomics_run_id === null) return;
    await transaction
      .insertInto('execution_attempts')
      .values({
        execution_id: id,
        attempt,
        healthomics_run_id: row.healthomics_run_id,
        healthomics_run_uuid: row.healthomics_run_uuid,
        healthomics_run_arn: row.healthomics_run_arn,
        run_output_uri: row.run_output_uri,
        healthomics_status: 'FAILED',
        failure_reason: sanitizeText(failed.failureReason),
        status_message: failed.statusMessage === undefined ? null : sanitizeText(failed.statusMessage),
        time_started: row.time_started,
      })
      .execute();
    await transaction
      .updateTable('executions')
      .set({
        attempt: attempt + 1,
        status: 'INITIALIZED',
        status_description: sanitizeText(failed.description),
        start_state: 'none',
        start_request: null,
        healthomics_run_id: null,
        healthomics_run_uuid: null,
        healthomics_run_arn: null,
        run_output_uri: null,
        healthomics_status: null,
        time_started: null,
        time_updated: new Date(),
      })
      .where('id', '=', id)
      .execute();
  });
}

/** The HealthOmics runs of an execution before its last, oldest first. */
export async function listAttempts(db: DbOrTransaction, id: string) {
  return db.selectFrom('execution_attempts').selectAll().where('execution_id', '=', id).orderBy('attempt').execute();
}

/** Notes that the workflow of an execution is started again. @returns how often that has happened, undefined where it has ended. */
export async function recordAdoption(db: DbOrTransaction, id: string): Promise<number | undefined> {
  const row = await db
    .updateTable('executions')
    .set((eb) => ({ adoptions: eb('adoptions', '+', 1) }))
    .where('id', '=', id)
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .returning('adoptions')
    .executeTakeFirst();
  return row?.adoptions;
}

/** The run manifest that an execution was given, as the API takes it. */
export async function loadManifest(
  db: DbOrTransaction,
  id: string,
): Promise<{ content: string } | { uri: string } | undefined> {
  const row = await db
    .selectFrom('executions')
    .select(['manifest_text', 'manifest_uri'])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row?.manifest_text != null) return { content: row.manifest_text };
  return row?.manifest_uri == null ? undefined : { uri: row.manifest_uri };
}

/** Files of its results, as many as are kept. */
export async function loadResultFiles(db: DbOrTransaction, id: string): Promise<ResultFile[]> {
  return (await db.selectFrom('executions').select('files').where('id', '=', id).executeTakeFirst())?.files ?? [];
}
