import type { UploadProgress } from '../../domain/runs/completeness.js';
import type { Db } from '../../store/database.js';
import type { RunContext } from '../../store/runs/load.js';
import { updateUpload } from '../../store/runs/update.js';
import type { BaseCallsTally } from './runFolderReader.js';

/**
 * Records how far an upload is, where that has changed.
 * @param isWaitingForFiles RunUploaded.json is there, so that the files that are missing are worth naming.
 * @returns what to append to a message: the cycles that are there, and whether the upload has stalled.
 */
export async function recordProgress(
  db: Db,
  run: RunContext,
  tally: BaseCallsTally,
  stalledMinutes: number,
  isWaitingForFiles: boolean,
): Promise<string> {
  const { objects, bytes, completeness } = tally;
  const before = run.progress;
  const hasGrown = before === null || hasChanged(before, tally);
  const timeGrown = hasGrown ? new Date().toISOString() : before.timeGrown;
  const minutes = (Date.now() - Date.parse(timeGrown)) / 60_000;
  const stalled = minutes >= stalledMinutes;
  if (hasGrown || before.stalled !== stalled || isWaitingForFiles !== (before.missingCount !== undefined)) {
    await updateUpload(db, run.id, {
      progress: {
        objects,
        bytes,
        cycles: completeness.present,
        expectedCycles: completeness.expected,
        ...(isWaitingForFiles && { missing: completeness.missing, missingCount: completeness.missingCount }),
        timeGrown,
        stalled,
      },
    });
  }
  const { present, expected } = completeness;
  const cycles = expected === 0 ? '' : `; ${present} of ${expected} cycles are there`;
  return stalled ? `${cycles}; ${describeStall(minutes)}` : cycles;
}

function hasChanged(before: UploadProgress, { objects, bytes, completeness }: BaseCallsTally): boolean {
  return before.objects !== objects || before.bytes !== bytes || before.expectedCycles !== completeness.expected;
}

/** How messages about a stalled upload begin. */
export const STALLED = 'the upload has stalled';

function describeStall(minutes: number): string {
  const whole = Math.floor(minutes);
  return (
    `${STALLED}: no data has arrived for ${whole} minute${whole === 1 ? '' : 's'}. ` +
    'Check the instrument and its network connection'
  );
}
