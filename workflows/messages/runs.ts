import { defineSignal } from '@temporalio/workflow';

/**
 * @param parentPath path of the folder above the run folder, below the storage connection's prefix: mostly the
 * instrument's name.
 */
export function runUploadWorkflowId(storageConnectionId: string, parentPath: string, runFolder: string): string {
  return `run-upload/${storageConnectionId}/${parentPath}/${runFolder}`;
}

/** The workflow that searches a storage connection for new runs. */
export function searchWorkflowId(storageConnectionId: string): string {
  return `discover-runs/${storageConnectionId}`;
}

/** Searches once more. Where a search is under way, it may have passed what the sender knows of. */
export const searchAgainSignal = defineSignal('searchAgain');

/** Input of `discoverRuns`. */
export interface DiscoverRunsInput {
  storageConnectionId: string;
  storageConnectionName: string;
  giveUpDays?: number;
  /** Search only this run folder, which an event named. */
  only?: { parentPath: string; runFolder: string };
}

/** Input of `runUpload`. */
export interface RunUploadInput {
  runId: string;
  storageConnectionId: string;
  storageConnectionName: string;
  instrumentName: string;
  runFolder: string;
  runName: string;
  /** Path of the folder above the run folder, below the prefix; the instrument's name where it is absent. */
  parentPath?: string;
  /** How many days a step may stay blocked; 14 by default. */
  giveUpDays?: number;
  /** Milliseconds since 1970 until which the run may upload. Set when the workflow continues as new. */
  deadline?: number;
  /** How many days a run may upload at most; 14 by default. */
  maximumDays?: number;
  /** Somebody asked for a check before the workflow continued as new. */
  looked?: boolean;
  /** `s3://` URI of the run folder; absent in histories from before it was shown. */
  runFolderUri?: string;
  /** The region of its bucket. */
  storageRegion?: string;
  /** What the upload waited for when the workflow continued as new. */
  wait?: UploadWait;
}

/**
 * What an upload waits for. `end`: RunUploaded.json. `replacement`: another RunUploaded.json, because this one cannot be
 * read. `parameters`: RunParameters.json. `files`: files of BaseCalls. `permission`: leave to read files. `connection`:
 * the storage connection is not used for uploads. `stalled` stands behind one of these where no data arrives.
 */
export type UploadWaitKind = 'end' | 'replacement' | 'parameters' | 'files' | 'permission' | 'connection';
export interface UploadWait {
  for: UploadWaitKind | `${UploadWaitKind} stalled`;
  /** What the check said when it began to wait for that. */
  message?: string;
  /** In milliseconds since 1970. */
  since: number;
  /** How often the checks have reported another wait. */
  reports: number;
}
/** The failure type with which a check says that the upload waits for something else than the details show. */
export const WAITS_FOR_OTHER = 'WaitsForOther';

/** Checks an upload now instead of at its next poll. Events and people send it. */
export const lookSignal = defineSignal('look');

/** How the upload of a run ended. */
export interface RunUploadEnded {
  usable: boolean;
  reason: string;
}
/** Goes to the executions that were created before the upload of their run ended. */
export const runUploadEndedSignal = defineSignal<[RunUploadEnded]>('runUploadEnded');
