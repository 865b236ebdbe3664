import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { Blocked, ExecutionStatus } from '../../domain/executions/execution.js';

export function executionWorkflowId(executionId: string): string {
  return `execution/${executionId}`;
}

/** Input of `bases2fastq`. The store holds all else; the names are here for people who read the history. */
export interface Bases2FastqInput {
  executionId: string;
  executionName: string;
  flowName: string;
  runName: string;
  instrumentName: string;
  runFolder: string;
  providerName: string;
  account: string;
  region: string;
  storageConnectionName: string;
  /** `s3://` URI of the run folder; absent in histories from before it was shown. */
  runFolderUri?: string;
  /** `s3://` URI below which HealthOmics writes the results. */
  outputUri?: string;
  /** The region of the bucket of both. */
  storageRegion?: string;
  /** The run is still uploading: wait for `runUploadEndedSignal`. */
  waitForUpload: boolean;
  /** Task queue of the activities that watch HealthOmics runs. */
  watchTaskQueue: string;
  /** How many days a step may stay blocked before the execution fails; 14 by default. */
  giveUpDays?: number;
}

/** What `bases2fastq` returns. */
export interface Bases2FastqResult {
  status: 'COMPLETED' | 'CANCELED';
  healthOmicsRunId?: string;
  runOutputUri?: string;
  description: string;
  /** Who cancelled it and why, where it was cancelled; for people who read the result. */
  cancelled?: { who: string; why: string; at: string };
}

/** What a failed execution has in the details of its failure, for people and programs that read only Temporal. */
export interface ExecutionFailure {
  /** How it ended, without what to do. */
  description: string;
  /** Who can fix it. */
  owner: string;
  what: string;
  toDo: string;
  healthOmicsRunId?: string;
}

/**
 * Why an execution is to be cancelled. All is optional, so that `temporal workflow signal --name cancel` works without
 * input.
 */
export interface CancelRequest {
  reason?: string;
  /**
   * Who the sender says that they are. Anybody with access to Temporal can write anything here, so polony never shows
   * it as a fact: the store has the requests that the API has authenticated.
   */
  requestedBy?: string;
}
export const cancelSignal = defineSignal<[CancelRequest?]>('cancel');

/** Where an execution stands, as its workflow sees it. */
export interface ExecutionState {
  status: ExecutionStatus;
  step: string;
  /** Since when it is at this step; ISO 8601. */
  since: string;
  healthOmicsRunId?: string;
  blocked?: Blocked;
  cancelRequested?: CancelRequest;
}
export const stateQuery = defineQuery<ExecutionState>('state');
