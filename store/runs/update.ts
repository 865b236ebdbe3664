import type { Blocked } from '../../domain/executions/execution.js';
import type { UploadProgress } from '../../domain/runs/completeness.js';
import type { RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import type { RunParameters } from '../../domain/runs/runParameters.js';
import type { RunOutcome } from '../../domain/runs/runUploaded.js';
import { type DbOrTransaction, sanitizeJson, sanitizeText } from '../database.js';
import type { UploadState } from '../schema.js';

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
function parseInstrumentTime(text: string | undefined): Date | null {
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
        time_started: parseInstrumentTime(change.parameters.date),
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
