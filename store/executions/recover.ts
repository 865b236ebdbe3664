import type { ExecutionStatus } from '../../domain/executions/execution.js';
import type { ExecutionOrigin } from '../../domain/executions/origin.js';
import { joinKey } from '../../domain/files/paths.js';
import { type DbOrTransaction, isId, sanitizeJson } from '../database.js';
import type { UploadState } from '../schema.js';

/** An execution that Temporal knows and the database does not, for example after a restore of an older dump. */
export interface ForgottenExecution {
  id: string;
  origin: ExecutionOrigin;
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
 * @returns undefined where the flow or a connection of the execution is unknown too, so that nothing can refer to it.
 */
export async function ensureRunOf(
  db: DbOrTransaction,
  { flowId, computeConnectionId, storageConnectionId, run }: ExecutionOrigin,
): Promise<{ id: string; uploadState: UploadState } | undefined> {
  const references = await Promise.all([
    db.selectFrom('flows').select('id').where('id', '=', flowId).executeTakeFirst(),
    db.selectFrom('compute_connections').select('id').where('id', '=', computeConnectionId).executeTakeFirst(),
    db.selectFrom('storage_connections').select('id').where('id', '=', storageConnectionId).executeTakeFirst(),
  ]);
  if (references.includes(undefined)) return undefined;
  await db
    .insertInto('runs')
    .values({
      id: run.id,
      storage_connection_id: storageConnectionId,
      instrument_name: run.instrumentName,
      parent_path: run.parentPath,
      run_folder: run.runFolder,
      run_name: run.runName,
      discovered: run.discovered,
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

/** Inserts a forgotten execution. Nothing happens where another process has done so. */
export async function insertForgottenExecution(
  db: DbOrTransaction,
  { id, origin, status, healthOmicsRunId, timeStarted }: ForgottenExecution,
  runId: string,
): Promise<void> {
  const { manifest, outputUri } = origin;
  await db
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
    .execute();
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
