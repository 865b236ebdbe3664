import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { UploadWait } from '../../workflows/messages/runs.js';

/** The longest time between two checks of an upload whose bucket sends events. */
const LONGEST_POLL_MS = 600_000;

/**
 * What `watchUpload` fails with while the upload goes on. Temporal then runs the activity again, which adds nothing to
 * the history.
 * @param pollSeconds until the next check
 * @param waitsFor what the upload waits for; the workflow shows it.
 * @param isRare checks ten times less often, since an event will say when the upload ends.
 */
export function notYet(
  message: string,
  pollSeconds: number,
  waitsFor: UploadWait['for'],
  isRare = false,
): ApplicationFailure {
  const usual = pollSeconds * 1000;
  return ApplicationFailure.create({
    type: 'NotYet',
    message,
    details: [waitsFor],
    nextRetryDelay: isRare ? Math.max(usual, Math.min(10 * usual, LONGEST_POLL_MS)) : usual,
    category: ApplicationFailureCategory.BENIGN,
  });
}
