import { sql } from 'kysely';
import { type ExecutionStatus, FINAL_STATUSES } from '../../domain/executions/execution.js';
import type { ExecutionOrigin } from '../../domain/executions/origin.js';
import { joinKey, storageUri } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { isInSearchedRunFolder } from '../../domain/runs/searchedFolder.js';
import { appendAudit, type AuditCaller, TEMPORAL_CALLER } from '../audit.js';
import { type Db, type DbOrTransaction, isId, isOwnId, sanitizeJson, sanitizeText } from '../database.js';
import type { StartState, UploadState } from '../schema.js';

/** An execution that Temporal or the bucket knows and the database does not, for example after a restore. */
export interface ForgottenExecution {
  id: string;
  /** What the workflow says. Anybody with access to Temporal can start one that says anything. */
  origin: ExecutionOrigin;
  workflowId: string;
  status: ExecutionStatus;
  healthOmicsRunId: string | undefined;
  timeStarted: Date;
  /** What else is known of its StartRun, from its record in the bucket. */
  known?: KnownStart;
}

/** What an execution's record in the bucket says about its StartRun. */
export interface KnownStart {
  /** The number of the current HealthOmics run, from 1. */
  attempt: number;
  /** The request that was sent; null where AWS refused it for certain. */
  request: Record<string, unknown> | null;
  /** The current run; undefined where the answer to the request is not known. */
  run?: KnownRun;
  /** Whether the execution has ended, so that no StartRun may follow. */
  hasEnded?: boolean;
  /** The runs of earlier attempts. */
  earlier: readonly (KnownRun & { attempt: number })[];
}

/** A HealthOmics run as StartRun or GetRun described it. */
export interface KnownRun {
  runId: string;
  uuid: string | null;
  arn: string | null;
  runOutputUri: string;
}

/** `polony reconcile`, in the audit log. */
export const RECONCILE_CALLER: AuditCaller = { kind: 'system', id: 'polony-reconcile', name: 'polony reconcile' };

const FROM = {
  temporal: {
    caller: TEMPORAL_CALLER,
    startedById: TEMPORAL_CALLER.id,
    description: 'Recovered from Temporal, because the database did not know the execution',
    reason: 'The database did not know the execution of this workflow',
  },
  bucket: {
    caller: RECONCILE_CALLER,
    startedById: null,
    description: 'Recovered from its record in the bucket, because the database did not know the execution',
    reason: 'The database did not know the execution of this record in the bucket',
  },
};
/** Where a forgotten execution was found. */
type ForgottenSource = keyof typeof FROM;

/** Which of these executions the database does not know. */
export async function filterUnknownExecutions(db: DbOrTransaction, ids: readonly string[]): Promise<string[]> {
  const candidates = ids.filter(isOwnId);
  if (candidates.length === 0) return [];
  const rows = await db.selectFrom('executions').select('id').where('id', 'in', candidates).execute();
  const known = new Set(rows.map((row) => row.id));
  return candidates.filter((id) => !known.has(id));
}

/** Which of these flows the database does not know; deleted ones it knows. */
export async function filterUnknownFlows(db: DbOrTransaction, ids: readonly string[]): Promise<string[]> {
  const candidates = ids.filter(isId);
  if (candidates.length === 0) return [];
  const rows = await db.selectFrom('flows').select('id').where('id', 'in', candidates).execute();
  const known = new Set(rows.map((row) => row.id));
  return candidates.filter((id) => !known.has(id));
}

/** How many executions have not ended. */
export async function countOpenExecutions(db: DbOrTransaction): Promise<number> {
  const row = await db
    .selectFrom('executions')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('status', 'not in', ['COMPLETED', 'FAILED', 'CANCELED'])
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/**
 * Finds the run of a forgotten execution, or inserts it with its old id. The search for runs then follows its upload.
 * @returns undefined where the flow or a connection of the execution is unknown too, so that nothing can refer to it, or
 * where polony would have chosen another output URI.
 */
export async function ensureRunOf(
  db: DbOrTransaction,
  executionId: string,
  { flowId, computeConnectionId, storageConnectionId, run, outputUri }: ExecutionOrigin,
): Promise<{ id: string; uploadState: UploadState } | undefined> {
  const { storage, missing } = await findReferences(db, executionId, {
    flowId,
    computeConnectionId,
    storageConnectionId,
    outputUri,
  });
  if (storage === undefined || missing.length > 0) return undefined;
  const searched = { useForRunUpload: storage.use_for_run_upload, runDepth: storage.run_depth };
  await db
    .insertInto('runs')
    .values({
      id: run.id,
      storage_connection_id: storageConnectionId,
      instrument_name: run.instrumentName,
      parent_path: run.parentPath,
      run_folder: run.runFolder,
      run_name: run.runName,
      // The files of a discovered run are shown without a further check, so the memo does not decide.
      discovered: run.discovered && isInSearchedRunFolder(searched, `${run.parentPath}/${run.runFolder}`),
      upload_description: 'Recovered with an execution; polony checks the upload again',
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const row = await db
    .selectFrom('runs')
    .select(['id', 'upload_state'])
    .where('storage_connection_id', '=', storageConnectionId)
    .where('parent_path', '=', run.parentPath)
    .where('run_folder', '=', run.runFolder)
    .executeTakeFirst();
  return row && { id: row.id, uploadState: row.upload_state };
}

type References = Pick<ExecutionOrigin, 'flowId' | 'computeConnectionId' | 'storageConnectionId' | 'outputUri'>;

/** What prevents that a forgotten execution goes back into the database, in words; empty where nothing does. */
export async function listMissingReferences(
  db: DbOrTransaction,
  executionId: string,
  origin: References,
): Promise<string[]> {
  return (await findReferences(db, executionId, origin)).missing;
}

async function findReferences(db: DbOrTransaction, executionId: string, origin: References) {
  const { flowId, computeConnectionId, storageConnectionId, outputUri } = origin;
  // Anybody can write any text there.
  const [flow, compute, storage] = await Promise.all([
    isId(flowId) ? db.selectFrom('flows').select('id').where('id', '=', flowId).executeTakeFirst() : undefined,
    isId(computeConnectionId)
      ? db.selectFrom('compute_connections').select('id').where('id', '=', computeConnectionId).executeTakeFirst()
      : undefined,
    isId(storageConnectionId)
      ? db
          .selectFrom('storage_connections')
          .select(['bucket', 'prefix', 'run_depth', 'use_for_run_upload'])
          .where('id', '=', storageConnectionId)
          .executeTakeFirst()
      : undefined,
  ]);
  const missing: string[] = [];
  if (flow === undefined) missing.push(`its flow ${flowId} is not in the database`);
  if (compute === undefined) missing.push(`its compute connection ${computeConnectionId} is not in the database`);
  if (storage === undefined) missing.push(`its storage connection ${storageConnectionId} is not in the database`);
  else if (outputUri !== storageUri(storage.bucket, storage.prefix, EXECUTIONS_FOLDER, executionId))
    missing.push(`its output URI ${outputUri} is not the one that polony gives it`);
  return { storage, missing };
}

/**
 * Inserts a forgotten execution, and records in the audit log what says who started it. Nothing happens where another
 * process has done so.
 * @returns whether the database has the execution now. It has not where its flow has started for the run meanwhile.
 */
export async function insertForgottenExecution(
  db: Db,
  execution: ForgottenExecution,
  runId: string,
  source: ForgottenSource = 'temporal',
): Promise<boolean> {
  await db.transaction().execute(async (transaction) => {
    if (!(await insertUnlessKnown(transaction, execution, runId, source))) return;
    const { id, origin, workflowId } = execution;
    await appendAudit(transaction, {
      caller: FROM[source].caller,
      action: 'ExecutionService_CreateExecution',
      requestId: workflowId,
      resourceType: 'executions',
      resourceId: id,
      detail: {
        workflowId,
        reason: FROM[source].reason,
        claimedBy: origin.startedBy,
        flowId: origin.flowId,
        runId,
      },
    });
  });
  return isKnown(db, execution.id);
}

/** @returns whether the execution was inserted */
async function insertUnlessKnown(
  db: DbOrTransaction,
  execution: ForgottenExecution,
  runId: string,
  source: ForgottenSource,
): Promise<boolean> {
  const { id, origin, status, healthOmicsRunId, timeStarted, known } = execution;
  const { manifest, outputUri } = origin;
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('executions')
    .values({
      id,
      name: origin.name,
      flow_id: origin.flowId,
      run_id: runId,
      compute_connection_id: origin.computeConnectionId,
      storage_connection_id: origin.storageConnectionId,
      trigger: origin.trigger,
      started_by: origin.startedBy,
      started_by_id: FROM[source].startedById,
      status,
      status_description: FROM[source].description,
      output_uri: outputUri,
      own_parameters: sanitizeJson(origin.ownParameters),
      ...(manifest !== null && {
        manifest_uri: manifest === 'text' ? writtenManifestUri(outputUri) : manifest.uri,
      }),
      relaunch_of: (await isKnown(db, origin.relaunchOf)) ? origin.relaunchOf : null,
      workflow_started: true,
      time_created: timeStarted,
      ...(healthOmicsRunId !== undefined && healthOmicsColumns(healthOmicsRunId, outputUri)),
      ...(known !== undefined && knownColumns(known)),
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  const isInserted = (numInsertedOrUpdatedRows ?? 0n) > 0n;
  if (isInserted && known !== undefined) await insertEarlierRuns(db, id, known.earlier);
  return isInserted;
}

/**
 * Records the latest StartRun of an open execution whose row is older than it, and says so in the audit log. The run of
 * the attempt before stays known.
 * @param before the attempt that the row is at. Nothing changes where another process has moved it, or has recorded at
 * least as much since.
 */
export async function recordKnownStart(db: Db, id: string, before: number, known: KnownStart): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    const row = await transaction
      .selectFrom('executions')
      .selectAll()
      .where('id', '=', id)
      .where('attempt', '=', before)
      .where('start_state', '!=', 'closed')
      .where('status', 'not in', FINAL_STATUSES)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) return;
    const { attempt, start_state: startState, healthomics_run_id: runId } = row;
    if (!isLaterStart(known, { attempt, startState, hasRun: runId !== null })) return;
    await transaction
      .updateTable('executions')
      .set({ ...knownColumns(known), time_updated: new Date() })
      .where('id', '=', id)
      .execute();
    await insertEarlierRuns(transaction, id, known.earlier);
    if (known.attempt > before) await insertEarlierRuns(transaction, id, runOfRow(row));
    await appendAudit(transaction, {
      caller: RECONCILE_CALLER,
      action: 'execution.recallStart',
      requestId: executionRequestId(id),
      resourceType: 'executions',
      resourceId: id,
      detail: {
        reason: 'The database was older than the StartRun of this execution',
        attempt: known.attempt,
        ...(known.run !== undefined && { healthOmicsRunId: known.run.runId }),
      },
    });
  });
}

/** Ends an open execution whose end the database has forgotten, and says so in the audit log. */
export async function recordForgottenEnd(
  db: Db,
  id: string,
  end: { status: 'FAILED' | 'CANCELED'; description: string; errorType: string | null; time: Date },
): Promise<void> {
  const { status, description, errorType, time } = end;
  await db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable('executions')
      .set({
        status,
        status_description: sanitizeText(description),
        blocked: null,
        ...(status === 'FAILED' && { error_type: errorType ?? 'Failed', error_message: sanitizeText(description) }),
        // A late activity must not send StartRun.
        start_state: sql<StartState>`case when start_state in ('none', 'sent') then 'closed' else start_state end`,
        time_completed: time,
        time_updated: new Date(),
      })
      .where('id', '=', id)
      .where('status', 'not in', FINAL_STATUSES)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return;
    await appendAudit(transaction, {
      caller: RECONCILE_CALLER,
      action: 'execution.recallEnd',
      requestId: executionRequestId(id),
      resourceType: 'executions',
      resourceId: id,
      detail: { status, description, ...(errorType !== null && { errorType }) },
    });
  });
}

/** Whether a StartRun is later than what the row of an execution has of it. */
export function isLaterStart(
  { attempt, request, run }: KnownStart,
  row: { attempt: number; startState: StartState; hasRun: boolean },
): boolean {
  if (attempt !== row.attempt) return attempt > row.attempt;
  if (row.hasRun || row.startState === 'closed') return false;
  return run !== undefined || (row.startState === 'none' && request !== null);
}

function runOfRow(row: {
  attempt: number;
  healthomics_run_id: string | null;
  healthomics_run_uuid: string | null;
  healthomics_run_arn: string | null;
  run_output_uri: string | null;
}): KnownStart['earlier'] {
  const { attempt, healthomics_run_id: runId } = row;
  if (runId === null) return [];
  const { healthomics_run_uuid: uuid, healthomics_run_arn: arn, run_output_uri: runOutputUri } = row;
  return [{ attempt, runId, uuid, arn, runOutputUri: runOutputUri ?? '' }];
}

/**
 * Records that the HealthOmics run of an open execution had completed. Its results can be read although somebody has
 * deleted the run since.
 */
export async function recordCompletedRun(
  db: Db,
  id: string,
  healthOmicsRunId: string,
  caller: AuditCaller,
): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable('executions')
      .set({ healthomics_status: 'COMPLETED', time_updated: new Date() })
      .where('id', '=', id)
      .where('healthomics_run_id', '=', healthOmicsRunId)
      .where('status', 'not in', FINAL_STATUSES)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return;
    await appendAudit(transaction, {
      caller,
      action: 'execution.recallEnd',
      requestId: executionRequestId(id),
      resourceType: 'executions',
      resourceId: id,
      detail: { status: 'COMPLETED', healthOmicsRunId },
    });
  });
}

const executionRequestId = (id: string): string => `reconcile/${id}`;

function knownColumns({ attempt, request, run, hasEnded = false }: KnownStart) {
  const withoutRun: StartState = hasEnded ? 'closed' : request === null ? 'none' : 'sent';
  const state: StartState = run !== undefined ? 'started' : withoutRun;
  return {
    attempt,
    start_state: state,
    start_request: request === null ? null : sanitizeJson(request),
    healthomics_run_id: run?.runId ?? null,
    healthomics_run_uuid: run?.uuid ?? null,
    healthomics_run_arn: run?.arn ?? null,
    run_output_uri: run?.runOutputUri ?? null,
    healthomics_status: null,
  };
}

async function insertEarlierRuns(db: DbOrTransaction, id: string, runs: KnownStart['earlier']): Promise<void> {
  if (runs.length === 0) return;
  await db
    .insertInto('execution_attempts')
    .values(
      runs.map(({ attempt, runId, uuid, arn, runOutputUri }) => ({
        execution_id: id,
        attempt,
        healthomics_run_id: runId,
        healthomics_run_uuid: uuid,
        healthomics_run_arn: arn,
        run_output_uri: runOutputUri,
        healthomics_status: 'FAILED' as const,
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** The ids in this database of what an execution of another database referred to. */
interface MatchedOrigin {
  flowId: string;
  computeConnectionId: string;
}

/**
 * Finds the flow of a forgotten execution: by its id or, in a database where the flow was created again, by its name and
 * shared workflow, or by its shared workflow alone where one flow has it.
 */
export async function matchFlow(
  db: DbOrTransaction,
  { flowId, computeConnectionId }: MatchedOrigin,
  flow: { name: string; sharedWorkflowId: string; workflowOwnerId: string },
  compute: { region: string; executionRoleArn: string },
): Promise<MatchedOrigin | undefined> {
  const [sameFlow, sameCompute] = await Promise.all([
    isId(flowId) ? db.selectFrom('flows').select('id').where('id', '=', flowId).executeTakeFirst() : undefined,
    isId(computeConnectionId)
      ? db.selectFrom('compute_connections').select('id').where('id', '=', computeConnectionId).executeTakeFirst()
      : undefined,
  ]);
  if (sameFlow !== undefined && sameCompute !== undefined) return { flowId, computeConnectionId };
  const candidates = await db
    .selectFrom('flows as f')
    .innerJoin('compute_connections as c', 'c.id', 'f.compute_connection_id')
    .select(['f.id', 'f.name', 'c.id as compute_id'])
    .where('f.shared_workflow_id', '=', flow.sharedWorkflowId)
    .where('f.workflow_owner_id', '=', flow.workflowOwnerId)
    .where('c.region', '=', compute.region)
    .where('c.execution_role_arn', '=', compute.executionRoleArn)
    .where('f.time_deleted', 'is', null)
    .execute();
  const named = candidates.filter(({ name }) => name === flow.name);
  const [found, other] = named.length > 0 ? named : candidates;
  return found === undefined || other !== undefined
    ? undefined
    : { flowId: found.id, computeConnectionId: found.compute_id };
}

/** Records the HealthOmics run of an execution that the database has without it. */
export async function recordForgottenRun(db: DbOrTransaction, id: string, healthOmicsRunId: string): Promise<void> {
  const row = await db.selectFrom('executions').select('output_uri').where('id', '=', id).executeTakeFirstOrThrow();
  await db
    .updateTable('executions')
    .set(healthOmicsColumns(healthOmicsRunId, row.output_uri))
    .where('id', '=', id)
    .where('healthomics_run_id', 'is', null)
    // A workflow that was reset to an earlier attempt names the run of that attempt, which has ended.
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('execution_attempts')
            .select('attempt')
            .where('execution_id', '=', id)
            .where('healthomics_run_id', '=', healthOmicsRunId),
        ),
      ),
    )
    .execute();
}

/** Where HealthOmics writes the results of a run: it adds a folder for each of its runs below the output URI. */
export function runOutputUriOf(outputUri: string, runId: string): string {
  return `${outputUri.replace(/\/$/, '')}/${runId}`;
}

function healthOmicsColumns(runId: string, outputUri: string) {
  return {
    start_state: 'started' as const,
    healthomics_run_id: runId,
    run_output_uri: runOutputUriOf(outputUri, runId),
  };
}

/** Where polony writes a manifest that was given as text. */
function writtenManifestUri(outputUri: string): string {
  return joinKey(outputUri.replace(/\/$/, ''), 'input', 'RunManifest.csv');
}

async function isKnown(db: DbOrTransaction, id: string | null): Promise<boolean> {
  if (id === null) return false;
  return (await db.selectFrom('executions').select('id').where('id', '=', id).executeTakeFirst()) !== undefined;
}
