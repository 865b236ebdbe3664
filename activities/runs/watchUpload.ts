import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { describeRetry, judgeEndedUpload } from '../../domain/runs/usability.js';
import { recordGenuineEvent } from '../../store/events.js';
import type { RunContext } from '../../store/runs/load.js';
import { reopenRun, updateUpload } from '../../store/runs/update.js';
import { type RunUploadEnded, type UploadWait, WAITS_FOR_OTHER } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';
import { withAccount } from '../blockedAccount.js';
import { getBlocked, toActivityFailure } from '../failures.js';
import { withHeartbeat } from '../heartbeat.js';
import { loadRun } from './loadRun.js';
import { notYet } from './notYet.js';
import { RunFolderReader } from './runFolderReader.js';
import { UploadCheck } from './uploadCheck.js';

/** The activities of `runUpload` that follow an upload. */
export function createUploadActivities({ db, aws, settings }: Pick<Dependencies, 'db' | 'aws' | 'settings'>) {
  return {
    /**
     * Checks once whether the upload of a run has ended. While it goes on, the activity fails as `NotYet` with the time
     * of the next check, which adds nothing to the history.
     * @param probing the workflow is blocked: report when nothing blocks it any more.
     * @param byEvent an event asked for this check.
     * @param shown what the workflow says that the upload waits for; where that is no longer true, the activity ends as
     * `WaitsForOther`. Absent where it must not.
     */
    async watchUpload(
      runId: string,
      probing: boolean,
      byEvent = false,
      shown?: UploadWait['for'] | null,
    ): Promise<RunUploadEnded> {
      const run = await loadRunToCheck(runId, byEvent);
      const known = await findKnownEnd(run, shown);
      if (known !== undefined) return known;
      try {
        const ended = await withHeartbeat(() => aws.use(run.storage.providerId, () => checkUpload(run)));
        if (byEvent && ended.usable && activityInfo().attempt === 1)
          await recordGenuineEvent(db, `s3/${run.storage.bucket}`).catch(() => undefined);
        return ended;
      } catch (error) {
        const failure = await recordUploadFailure(run, error);
        throw probing && failure.type === 'NotYet'
          ? ApplicationFailure.nonRetryable('No longer blocked', 'Unblocked')
          : reportOtherWait(failure, shown);
      }
    },

    /** Gives up an upload that did not end in time. */
    async giveUpUpload(runId: string, reason: string): Promise<void> {
      const { progress } = await loadRun(db, runId);
      const missing =
        progress?.missing === undefined
          ? ''
          : `; ${progress.missingCount} files are missing or empty: ${progress.missing.join(', ')}`;
      await updateUpload(db, runId, {
        uploadState: 'refused',
        description: `${reason}${missing}. ${describeRetry(runId)}`,
        blocked: null,
        timeCompleted: new Date(),
      });
    },
  };

  /**
   * Loads the run. An event or a person may have asked for the check between the read and the write of an earlier check,
   * which then found the run unusable. Such a run is checked again.
   */
  async function loadRunToCheck(runId: string, byEvent: boolean): Promise<RunContext> {
    const run = await loadRun(db, runId);
    const isUnusable = run.uploadState === 'refused' || run.uploadState === 'vanished';
    if (!byEvent || !isUnusable || run.storage.deleted) return run;
    await reopenRun(db, runId);
    return loadRun(db, runId);
  }

  /**
   * How the upload ended, where the store says it.
   * @throws ApplicationFailure `NotYet` while uploads are not followed.
   */
  async function findKnownEnd(
    run: RunContext,
    shown: UploadWait['for'] | null | undefined,
  ): Promise<RunUploadEnded | undefined> {
    if (run.uploadState !== 'uploading')
      return judgeEndedUpload({ uploadState: run.uploadState, uploadDescription: run.description });
    if (run.storage.deleted) {
      const reason = 'The storage connection was deleted';
      await updateUpload(db, run.id, { uploadState: 'vanished', description: reason, timeCompleted: new Date() });
      return { usable: false, reason };
    }
    if (run.storage.useForRunUpload || !run.discovered) return undefined;
    const paused =
      'The storage connection is no longer used for run upload. To have polony check the run again, set ' +
      'useForRunUpload to true';
    await updateUpload(db, run.id, { description: paused });
    throw reportOtherWait(notYet(paused, settings.uploadPollSeconds, 'connection'), shown);
  }

  async function checkUpload(run: RunContext): Promise<RunUploadEnded> {
    const { bucket, prefix, region, providerId } = run.storage;
    const s3 = aws.s3(providerId, region);
    const folder = new RunFolderReader(s3, bucket, joinKey(prefix, run.parentPath, run.runFolder));
    const { attempt, currentAttemptScheduledTimestampMs: began } = activityInfo();
    return new UploadCheck(db, settings, folder, run, attempt, new Date(began)).check();
  }

  /** Writes what went wrong to the run. @returns what the activity fails with. */
  async function recordUploadFailure(run: RunContext, error: unknown): Promise<ApplicationFailure> {
    const { bucket, prefix, region } = run.storage;
    const failure = toActivityFailure(error, {
      action: 's3:GetObject',
      resource: objectArn(bucket, joinKey(prefix, '*'), region),
      scope: { bucket, prefix, region },
    });
    await updateUpload(db, run.id, { blocked: getBlocked(failure) ?? null, description: failure.message });
    return withAccount(db, run.storage.providerId, failure);
  }
}

/** @returns the failure of a check, or the one that tells the workflow what the upload waits for now. */
function reportOtherWait(failure: ApplicationFailure, shown: UploadWait['for'] | null | undefined): ApplicationFailure {
  const waitsFor = failure.details?.[0];
  const isSame = shown == null || failure.type !== 'NotYet' || waitsFor === shown;
  return isSame ? failure : ApplicationFailure.nonRetryable(failure.message, WAITS_FOR_OTHER, waitsFor);
}
