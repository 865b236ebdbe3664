import { code, plain } from '../domain/markdown.js';
import { parseFolderUri, s3FolderUrl } from '../domain/console.js';
import { describePoints, link, time } from './details.js';
import type { RunUploadInput, UploadWait } from './messages/runs.js';

/** What an upload waits for before its first check has found anything else. */
export const FIRST_WAIT: UploadWait['for'] = 'end';

/** What the details of an upload show. */
export interface ShownUpload {
  /** What polony does: it follows the upload, starts flows, or has ended. */
  state: string;
  hasEnded: boolean;
  /** Whether it waits for a person. What blocks it is shown apart. */
  isBlocked: boolean;
  /** Since when, in milliseconds since 1970. */
  since: number;
  wait: UploadWait;
  /** Until when the run may upload, in milliseconds since 1970. */
  deadline: number;
}

/** The current details of an upload, as Markdown. */
export function describeUpload(input: RunUploadInput, shown: ShownUpload): string {
  const { state, hasEnded, since, wait, deadline } = shown;
  const isFollowing = state === FOLLOWING && !shown.isBlocked;
  const location =
    input.runFolderUri === undefined ? undefined : parseFolderUri(input.runFolderUri, input.storageRegion ?? '');
  return describePoints(`**Upload**: ${plain(state)}`, [
    [hasEnded ? 'Ended' : 'Since', time(since)],
    ['Waits for', isFollowing ? describeWait(wait) : undefined],
    [
      'Continues',
      isFollowing
        ? `by itself, when the upload is complete; polony checks it at once on the signal ${code('look')}. ` +
          'The pending activity has the answer of the last check'
        : hasEnded || shown.isBlocked
          ? undefined
          : 'by itself',
    ],
    ['Gives up', isFollowing ? `at ${time(deadline)}` : undefined],
    ['Run', `${code(input.runName)} of ${code(input.instrumentName)}`],
    ['Run folder', location === undefined ? code(input.runFolder) : link(input.runFolderUri!, s3FolderUrl(location))],
    ['Storage connection', code(input.storageConnectionName)],
    ['Run ID', code(input.runId)],
    ['Reset', 'safe at every event: a flow starts once for a run'],
    [
      'Terminate, cancel',
      hasEnded
        ? 'no effect, because the upload has ended'
        : 'safe: nobody follows the upload until the next search for runs, which starts this workflow again',
    ],
  ]);
}

/** The state while polony follows an upload. */
export const FOLLOWING = 'following the upload';

function describeWait(wait: UploadWait): string {
  if (wait.message === undefined)
    return `${code('RunUploaded.json')} in the run folder, which the instrument writes when its upload ends`;
  return `${plain(wait.message)} (seen at ${time(wait.since)})`;
}
