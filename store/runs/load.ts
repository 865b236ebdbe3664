import type { Selectable } from 'kysely';
import type { Blocked } from '../../domain/executions/execution.js';
import type { UploadProgress } from '../../domain/runs/completeness.js';
import type { RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import type { RunParameters } from '../../domain/runs/runParameters.js';
import type { RunOutcome } from '../../domain/runs/runUploaded.js';
import { builtOnce, type DbOrTransaction } from '../database.js';
import type { RunsTable, UploadState } from '../schema.js';
import { runStatus, runType } from './columns.js';

/** A run with the storage connection that holds it. */
export interface RunContext {
  id: string;
  storageConnectionId: string;
  instrumentName: string;
  /** The id that RunParameters.json gives the instrument. */
  instrumentId: string | null;
  /** Path of the folder above the run folder, below the prefix of the storage connection. */
  parentPath: string;
  runFolder: string;
  runName: string;
  /** In the spelling of the API, without `RUN_STATUS_`; see `runStatus`. */
  status: string;
  type: 'sequencing' | 'multiomics';
  uploadState: UploadState;
  /** What polony waits for, or why it rejected the run. */
  description: string;
  blocked: Blocked | null;
  outcome: RunOutcome | null;
  /** Whether flows that accept stopped runs can analyse the run although it was refused. */
  usableIfStopped: boolean;
  /** `presence`: polony saw RunUploaded.json in a listing and could not read it. */
  checked: 'content' | 'presence';
  /** Since when polony may list the files and not read them. */
  timeDenied: Date | null;
  progress: UploadProgress | null;
  /** Whether polony found the run. A person registered the others, and no flow starts for them automatically. */
  discovered: boolean;
  /** How often the run was set back to uploading. */
  checkRound: number;
  parameters: RunParameters | null;
  /** Whether RunParameters.json and RunUploaded.json belong to different runs. */
  filesDisagree: boolean;
  hasManifest: boolean;
  /** What Bases2Fastq measured. */
  metrics: RunMetrics | null;
  instrumentMetrics: RunMetrics | null;
  timeCreated: Date;
  timeStarted: Date | null;
  timeCompleted: Date | null;
  timeUpdated: Date;
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

/** The query of every run that is loaded or listed. */
export const runQuery = builtOnce((db) =>
  db
    .selectFrom('runs as r')
    .innerJoin('storage_connections as s', 's.id', 'r.storage_connection_id')
    .selectAll('r')
    .select([runStatus.as('status'), runType.as('type')])
    .select([
      's.name as storage_name',
      's.provider_id',
      's.bucket',
      's.prefix',
      's.region',
      's.time_deleted',
      's.use_for_run_upload',
    ]),
);

/** A row of {@link runQuery} as a run. */
export function toRunContext(
  row: Awaited<ReturnType<ReturnType<typeof runQuery>['executeTakeFirstOrThrow']>>,
): RunContext {
  return {
    id: row.id,
    storageConnectionId: row.storage_connection_id,
    instrumentName: row.instrument_name,
    instrumentId: row.instrument_id,
    parentPath: row.parent_path,
    runFolder: row.run_folder,
    runName: row.run_name,
    status: row.status,
    type: row.type,
    uploadState: row.upload_state,
    description: row.upload_description,
    blocked: row.blocked,
    outcome: row.outcome,
    usableIfStopped: row.usable_if_stopped,
    checked: row.checked,
    timeDenied: row.time_denied,
    progress: row.progress,
    discovered: row.discovered,
    checkRound: row.check_round,
    parameters: row.run_parameters,
    filesDisagree: row.files_disagree,
    hasManifest: row.has_manifest,
    metrics: row.metrics,
    instrumentMetrics: row.instrument_metrics,
    timeCreated: row.time_created,
    timeStarted: row.time_started,
    timeCompleted: row.time_completed,
    timeUpdated: row.time_updated,
    storage: {
      name: row.storage_name,
      providerId: row.provider_id,
      bucket: row.bucket,
      prefix: row.prefix,
      region: row.region,
      deleted: row.time_deleted !== null,
      useForRunUpload: row.use_for_run_upload,
    },
  };
}

/** A run with its storage connection; undefined where there is no such run. */
export async function findRun(db: DbOrTransaction, id: string): Promise<RunContext | undefined> {
  const row = await runQuery(db).where('r.id', '=', id).executeTakeFirst();
  return row && toRunContext(row);
}

/**
 * The row of a run, locked until the transaction ends. Either the end of an upload sees what the caller writes, or
 * the caller sees the end of the upload.
 */
export async function lockRun(transaction: DbOrTransaction, id: string): Promise<Selectable<RunsTable> | undefined> {
  return transaction.selectFrom('runs').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}
