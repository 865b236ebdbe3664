import type { RunMetrics } from '../domain/runs/instrumentMetrics.js';
import type { UploadProgress } from '../domain/runs/completeness.js';
import type { Blocked } from '../domain/executions/execution.js';
import type { RunParameters } from '../domain/runs/runParameters.js';
import type { AutoStartFilter } from '../domain/connections/runSettings.js';
import type { RunOutcome } from '../domain/runs/runUploaded.js';
import { type DbOrTransaction, newId, sanitizeText, sanitizeJson } from './database.js';
import type { UploadState } from './schema.js';

/** A run with where it lies and how to get there. */
export interface RunContext {
  id: string;
  storageConnectionId: string;
  instrumentName: string;
  /** Below the prefix, of the folder above the run folder. */
  parentPath: string;
  runFolder: string;
  runName: string;
  uploadState: UploadState;
  description: string;
  outcome: RunOutcome | null;
  checked: 'content' | 'presence';
  /** Since when its files may be listed and not read. */
  timeDenied: Date | null;
  progress: UploadProgress | null;
  discovered: boolean;
  parameters: RunParameters | null;
  storage: {
    name: string;
    providerId: string;
    bucket: string;
    prefix: string;
    region: string;
    deleted: boolean;
    useForRunUpload: boolean;
  };
}

/** A run; undefined when there is none. */
export async function findRun(db: DbOrTransaction, id: string): Promise<RunContext | undefined> {
  const row = await db
    .selectFrom('runs as r')
    .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
    .select([
      'r.id',
      'r.storage_connection_id',
      'r.instrument_name',
      'r.run_folder',
      'r.run_name',
      'r.upload_state',
      'r.upload_description',
      'r.checked',
      'r.time_denied',
      'r.run_parameters',
      'r.parent_path',
      'r.outcome',
      'r.progress',
      'r.discovered',
      's.name as storage_name',
      's.provider_id',
      's.bucket',
      's.prefix',
      's.region',
      's.time_deleted',
      's.use_for_run_upload',
    ])
    .where('r.id', '=', id)
    .executeTakeFirst();
  return (
    row && {
      id: row.id,
      storageConnectionId: row.storage_connection_id,
      instrumentName: row.instrument_name,
      parentPath: row.parent_path,
      runFolder: row.run_folder,
      runName: row.run_name,
      uploadState: row.upload_state,
      description: row.upload_description,
      outcome: row.outcome,
      checked: row.checked,
      timeDenied: row.time_denied,
      progress: row.progress,
      discovered: row.discovered,
      parameters: row.run_parameters,
      storage: {
        name: row.storage_name,
        providerId: row.provider_id,
        bucket: row.bucket,
        prefix: row.prefix,
        region: row.region,
        deleted: row.time_deleted !== null,
        useForRunUpload: row.use_for_run_upload,
      },
    }
  );
}

/** A run as the search for runs knows it. */
export interface KnownRun {
  id: string;
  runName: string;
  uploadState: UploadState;
}

/** Which of these run folders are known, with the state of their uploads. */
export async function findKnownRuns(
  db: DbOrTransaction,
  storageConnectionId: string,
  parentPath: string,
  folders: readonly string[],
): Promise<Map<string, KnownRun>> {
  if (folders.length === 0) return new Map();
  const rows = await db
    .selectFrom('runs')
    .select(['id', 'run_folder', 'run_name', 'upload_state'])
    .where('storage_connection_id', '=', storageConnectionId)
    .where('parent_path', '=', parentPath)
    .where('run_folder', 'in', folders)
    .execute();
  return new Map(
    rows.map((row) => [row.run_folder, { id: row.id, runName: row.run_name, uploadState: row.upload_state }]),
  );
}

/** Writes newly seen runs. @returns those that were written now, not those that somebody else wrote meanwhile. */
export async function insertRuns(
  db: DbOrTransaction,
  storageConnectionId: string,
  parentPath: string,
  instrument: string,
  runs: readonly { folder: string; runName: string }[],
  discovered = true,
): Promise<Map<string, KnownRun>> {
  if (runs.length === 0) return new Map();
  const rows = await db
    .insertInto('runs')
    .values(
      runs.map((run) => ({
        id: newId(),
        storage_connection_id: storageConnectionId,
        instrument_name: instrument,
        parent_path: parentPath,
        discovered,
        run_folder: run.folder,
        run_name: run.runName,
        upload_description: 'Seen in the bucket; waiting for RunUploaded.json',
      })),
    )
    .onConflict((conflict) => conflict.columns(['storage_connection_id', 'parent_path', 'run_folder']).doNothing())
    .returning(['id', 'run_folder', 'run_name', 'upload_state'])
    .execute();
  return new Map(
    rows.map((row) => [row.run_folder, { id: row.id, runName: row.run_name, uploadState: row.upload_state }]),
  );
}

/** Fields of a run that change while it uploads; what is absent stays. */
export interface RunChange {
  uploadState?: UploadState;
  description?: string;
  blocked?: Blocked | null;
  outcome?: RunOutcome;
  instrumentId?: string;
  parameters?: RunParameters;
  hasManifest?: boolean;
  progress?: UploadProgress | null;
  checked?: 'content' | 'presence';
  instrumentMetrics?: RunMetrics;
  timeDenied?: Date | null;
  timeCompleted?: Date;
}

/** A time that an instrument wrote; null where it is none. */
function timeOf(text: string | undefined): Date | null {
  const time = new Date(text ?? NaN);
  // PostgreSQL has no years of more than four digits as JavaScript writes them.
  return Number.isNaN(time.getTime()) || time.getUTCFullYear() < 1 || time.getUTCFullYear() > 9999 ? null : time;
}

/** Writes what has changed of a run. */
export async function updateRun(db: DbOrTransaction, id: string, change: RunChange): Promise<void> {
  await db
    .updateTable('runs')
    .set({
      time_updated: new Date(),
      ...(change.uploadState !== undefined && { upload_state: change.uploadState }),
      ...(change.description !== undefined && { upload_description: sanitizeText(change.description) }),
      ...(change.blocked !== undefined && { blocked: change.blocked === null ? null : sanitizeJson(change.blocked) }),
      ...(change.outcome !== undefined && { outcome: change.outcome }),
      ...(change.instrumentId !== undefined && { instrument_id: change.instrumentId }),
      ...(change.parameters !== undefined && {
        run_parameters: sanitizeJson(change.parameters),
        run_name: sanitizeText(change.parameters.runName),
        time_started: timeOf(change.parameters.date),
      }),
      ...(change.hasManifest !== undefined && { has_manifest: change.hasManifest }),
      ...(change.progress !== undefined && {
        progress: change.progress === null ? null : sanitizeJson(change.progress),
      }),
      ...(change.checked !== undefined && { checked: change.checked }),
      ...(change.instrumentMetrics !== undefined && { instrument_metrics: sanitizeJson(change.instrumentMetrics) }),
      ...(change.timeDenied !== undefined && { time_denied: change.timeDenied }),
      ...(change.timeCompleted !== undefined && { time_completed: change.timeCompleted }),
    })
    .where('id', '=', id)
    .execute();
}

/** The flows that start by themselves for runs of a storage connection, where their filter lets them. */
export async function listAutoStartFlows(
  db: DbOrTransaction,
  storageConnectionId: string,
): Promise<
  {
    id: string;
    name: string;
    computeConnectionId: string;
    filter: AutoStartFilter;
    acceptFailedOutcome: boolean;
    acceptUnverified: boolean;
  }[]
> {
  const rows = await db
    .selectFrom('flow_storage_connections as a')
    .innerJoin('flows as f', 'f.id', 'a.flow_id')
    .select([
      'f.id',
      'f.name',
      'f.compute_connection_id',
      'f.auto_start_filter',
      'f.accept_failed_outcome',
      'f.accept_unverified',
    ])
    .where('a.storage_connection_id', '=', storageConnectionId)
    .where('f.time_deleted', 'is', null)
    .orderBy('f.id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    computeConnectionId: row.compute_connection_id,
    filter: row.auto_start_filter,
    acceptFailedOutcome: row.accept_failed_outcome,
    acceptUnverified: row.accept_unverified,
  }));
}

/** Follows a run anew that was refused, had vanished, or could not be verified where `unverified` says so too. @returns whether it was one. */
export async function reopenRun(db: DbOrTransaction, id: string, unverified = false): Promise<boolean> {
  const result = await db
    .updateTable('runs')
    .set({
      upload_state: 'uploading',
      upload_description: 'It is looked at anew',
      outcome: null,
      time_completed: null,
      time_denied: null,
      progress: null,
      blocked: null,
      time_updated: new Date(),
    })
    .where('id', '=', id)
    .where((where) =>
      where.or([
        where('upload_state', 'in', ['refused', 'vanished']),
        ...(unverified ? [where.and([where('upload_state', '=', 'complete'), where('checked', '=', 'presence')])] : []),
      ]),
    )
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Runs that somebody registered and whose upload goes on: the search does not find them. As what follows them takes them. */
export async function listRegisteredRuns(db: DbOrTransaction, createdBefore: Date) {
  const rows = await db
    .selectFrom('runs as r')
    .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
    .select([
      'r.id',
      'r.storage_connection_id',
      's.name',
      'r.instrument_name',
      'r.parent_path',
      'r.run_folder',
      'r.run_name',
    ])
    .where('r.discovered', '=', false)
    .where('r.upload_state', '=', 'uploading')
    .where('r.time_created', '<', createdBefore)
    .limit(500)
    .execute();
  return rows.map((row) => ({
    runId: row.id,
    storageConnectionId: row.storage_connection_id,
    storageConnectionName: row.name,
    instrumentName: row.instrument_name,
    parentPath: row.parent_path,
    runFolder: row.run_folder,
    runName: row.run_name,
  }));
}
