import type { Blocked } from '../../domain/executions/execution.js';
import type { UploadProgress } from '../../domain/runs/completeness.js';
import type { RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import type { RunParameters } from '../../domain/runs/runParameters.js';
import type { RunOutcome } from '../../domain/runs/runUploaded.js';
import { blockedValue } from '../blocked.js';
import { type DbOrTransaction, sanitizeJson, sanitizeText } from '../database.js';
import type { UploadState } from '../schema.js';

/** Fields of a run that change while it uploads. Absent fields keep their values. */
export interface RunChange {
  uploadState?: UploadState;
  description?: string;
  blocked?: Blocked | null;
  outcome?: RunOutcome;
  usableIfStopped?: boolean;
  instrumentId?: string;
  parameters?: RunParameters;
  filesDisagree?: boolean;
  hasManifest?: boolean;
  progress?: UploadProgress | null;
  checked?: 'content' | 'presence';
  instrumentMetrics?: RunMetrics;
  /** ETags of the files that decided about the run, by name. */
  metadataEtags?: Record<string, string>;
  timeDenied?: Date | null;
  timeCompleted?: Date;
}

/** A time that an instrument wrote; null where the text is no time. */
function parseInstrumentTime(text: string | undefined): Date | null {
  const time = new Date(text ?? NaN);
  // PostgreSQL does not accept JavaScript's spelling of years with more than four digits.
  return Number.isNaN(time.getTime()) || time.getUTCFullYear() < 1 || time.getUTCFullYear() > 9999 ? null : time;
}

/** Updates a run. */
export async function updateRun(db: DbOrTransaction, id: string, change: RunChange): Promise<void> {
  await updateQuery(db, id, change).execute();
}

/**
 * Updates a run whose upload goes on. Nothing changes where the upload has ended meanwhile: a check that was cancelled,
 * or whose worker was taken for dead, may still be under way while another one records the end.
 */
export async function updateUpload(db: DbOrTransaction, id: string, change: RunChange): Promise<void> {
  await updateQuery(db, id, change).where('upload_state', '=', 'uploading').execute();
}

/**
 * Records how an upload ended. Checks may overlap: one that was cancelled, or whose worker was taken for dead, may still
 * be under way. The check that began last decides, and none from before the run was set back to uploading.
 * @param began when the check began, by one clock for all checks.
 * @returns whether this check decides.
 */
export async function endUpload(
  db: DbOrTransaction,
  { id, checkRound }: { id: string; checkRound: number },
  began: Date,
  change: RunChange,
): Promise<boolean> {
  const result = await updateQuery(db, id, change)
    .set({ time_checked: began })
    .where('check_round', '=', checkRound)
    .where((where) => where.or([where('upload_state', '=', 'uploading'), where('time_checked', '<', began)]))
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

function updateQuery(db: DbOrTransaction, id: string, change: RunChange) {
  return db
    .updateTable('runs')
    .set({
      time_updated: new Date(),
      ...(change.uploadState !== undefined && { upload_state: change.uploadState }),
      ...(change.description !== undefined && { upload_description: sanitizeText(change.description) }),
      ...(change.blocked !== undefined && { blocked: blockedValue(change.blocked) }),
      ...(change.outcome !== undefined && { outcome: change.outcome }),
      ...(change.usableIfStopped !== undefined && { usable_if_stopped: change.usableIfStopped }),
      ...(change.instrumentId !== undefined && { instrument_id: change.instrumentId }),
      ...(change.parameters !== undefined && {
        run_parameters: sanitizeJson(change.parameters),
        run_name: sanitizeText(change.parameters.runName),
        time_started: parseInstrumentTime(change.parameters.date),
      }),
      ...(change.filesDisagree !== undefined && { files_disagree: change.filesDisagree }),
      ...(change.hasManifest !== undefined && { has_manifest: change.hasManifest }),
      ...(change.progress !== undefined && {
        progress: change.progress === null ? null : sanitizeJson(change.progress),
      }),
      ...(change.checked !== undefined && { checked: change.checked }),
      ...(change.instrumentMetrics !== undefined && { instrument_metrics: sanitizeJson(change.instrumentMetrics) }),
      ...(change.metadataEtags !== undefined && { metadata_etags: sanitizeJson(change.metadataEtags) }),
      ...(change.timeDenied !== undefined && { time_denied: change.timeDenied }),
      ...(change.timeCompleted !== undefined && { time_completed: change.timeCompleted }),
    })
    .where('id', '=', id);
}

/** What a run has while its upload is checked again. */
const REOPENED = {
  upload_state: 'uploading',
  upload_description: 'Polony checks the run again',
  outcome: null,
  usable_if_stopped: false,
  time_completed: null,
  time_checked: null,
  time_denied: null,
  progress: null,
  blocked: null,
} as const;

/**
 * Sets a rejected or vanished run back to uploading, so that polony checks it again.
 * @param alsoComplete includes complete runs that may have been replaced since, or whose check was not whole: those that
 *   failed, and those whose outcome polony could not read
 * @returns whether the run was set back
 */
export async function reopenRun(db: DbOrTransaction, id: string, alsoComplete = false): Promise<boolean> {
  const result = await db
    .updateTable('runs')
    .set((eb) => ({ ...REOPENED, check_round: eb('check_round', '+', 1), time_updated: new Date() }))
    .where('id', '=', id)
    .where((where) =>
      where.or([
        where('upload_state', 'in', ['refused', 'vanished']),
        ...(alsoComplete
          ? [
              where.and([
                where('upload_state', '=', 'complete'),
                where.or([where('checked', '=', 'presence'), where('outcome', '=', 'failed')]),
              ]),
            ]
          : []),
      ]),
    )
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Sets a complete run back to uploading, because its files are no longer those that polony checked. */
export async function reopenChangedRun(db: DbOrTransaction, id: string): Promise<void> {
  await db
    .updateTable('runs')
    .set((eb) => ({
      ...REOPENED,
      metadata_etags: null,
      check_round: eb('check_round', '+', 1),
      time_updated: new Date(),
    }))
    .where('id', '=', id)
    .where('upload_state', '=', 'complete')
    .execute();
}
