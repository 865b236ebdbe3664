import type { ExecutionStatus } from '../../domain/executions/execution.js';
import type { ExecutionOrigin } from '../../domain/executions/origin.js';
import { joinKey, storageUri } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { isInSearchedRunFolder } from '../../domain/runs/searchedFolder.js';
import { appendAudit, TEMPORAL_CALLER } from '../audit.js';
import { type Db, type DbOrTransaction, isId, sanitizeJson } from '../database.js';
import type { UploadState } from '../schema.js';

/** An execution that Temporal knows and the database does not, for example after a restore of an older dump. */
export interface ForgottenExecution {
  id: string;
  /** What the workflow says. Anybody with access to Temporal can start one that says anything. */
  origin: ExecutionOrigin;
  workflowId: string;
  status: ExecutionStatus;
  healthOmicsRunId: string | undefined;
  timeStarted: Date;
}

/** Which of these executions the database does not know. */
export async function filterUnknownExecutions(db: DbOrTransaction, ids: readonly string[]): Promise<string[]> {
  const candidates = ids.filter(isId);
  if (candidates.length === 0) return [];
  const rows = await db.selectFrom('executions').select('id').where('id', 'in', candidates).execute();
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
  const [flow, compute, storage] = await Promise.all([
    db.selectFrom('flows').select('id').where('id', '=', flowId).executeTakeFirst(),
    db.selectFrom('compute_connections').select('id').where('id', '=', computeConnectionId).executeTakeFirst(),
    db
      .selectFrom('storage_connections')
      .select(['bucket', 'prefix', 'run_depth', 'use_for_run_upload'])
      .where('id', '=', storageConnectionId)
      .executeTakeFirst(),
  ]);
  if (flow === undefined || compute === undefined || storage === undefined) return undefined;
  if (outputUri !== storageUri(storage.bucket, storage.prefix, EXECUTIONS_FOLDER, executionId)) return undefined;
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
      upload_description: 'Recovered from Temporal; polony checks the upload again',
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

/**
 * Inserts a forgotten execution, and records in the audit log that its workflow says who started it. Nothing happens
 * where another process has done so.
 */
export async function insertForgottenExecution(db: Db, execution: ForgottenExecution, runId: string): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    if (!(await insertUnlessKnown(transaction, execution, runId))) return;
    const { id, origin, workflowId } = execution;
    await appendAudit(transaction, {
      caller: TEMPORAL_CALLER,
      action: 'ExecutionService_CreateExecution',
      requestId: workflowId,
      resourceType: 'executions',
      resourceId: id,
      detail: {
        workflowId,
        reason: 'The database did not know the execution of this workflow',
        claimedBy: origin.startedBy,
        flowId: origin.flowId,
        runId,
      },
    });
  });
}

/** @returns whether the execution was inserted */
async function insertUnlessKnown(
  db: DbOrTransaction,
  { id, origin, status, healthOmicsRunId, timeStarted }: ForgottenExecution,
  runId: string,
): Promise<boolean> {
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
      started_by_id: TEMPORAL_CALLER.id,
      status,
      status_description: 'Recovered from Temporal, because the database did not know the execution',
      output_uri: outputUri,
      own_parameters: sanitizeJson(origin.ownParameters),
      ...(manifest !== null && {
        manifest_uri: manifest === 'text' ? writtenManifestUri(outputUri) : manifest.uri,
      }),
      relaunch_of: (await isKnown(db, origin.relaunchOf)) ? origin.relaunchOf : null,
      workflow_started: true,
      time_created: timeStarted,
      ...(healthOmicsRunId !== undefined && healthOmicsColumns(healthOmicsRunId, outputUri)),
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (numInsertedOrUpdatedRows ?? 0n) > 0n;
}

/** Records the HealthOmics run of an execution that the database has without it. */
export async function recordForgottenRun(db: DbOrTransaction, id: string, healthOmicsRunId: string): Promise<void> {
  const row = await db.selectFrom('executions').select('output_uri').where('id', '=', id).executeTakeFirstOrThrow();
  await db
    .updateTable('executions')
    .set(healthOmicsColumns(healthOmicsRunId, row.output_uri))
    .where('id', '=', id)
    .where('healthomics_run_id', 'is', null)
    .execute();
}

/** HealthOmics adds a folder for each of its runs below the output URI. */
function healthOmicsColumns(runId: string, outputUri: string) {
  return {
    start_state: 'started' as const,
    healthomics_run_id: runId,
    run_output_uri: `${outputUri.replace(/\/$/, '')}/${runId}`,
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
