import { defineSearchAttributeKey } from '@temporalio/common';
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import { cutToBytes } from '../domain/names.js';
import type { Blocked, ExecutionStatus } from '../domain/executions/execution.js';
import type { GrantAgenda, GrantChange } from '../domain/grants/grant.js';
import type { VerifiedKind, VerifiedStatus } from '../domain/verification/report.js';

/** Names of the workflows, as the Temporal UI shows them. */
export const WORKFLOWS = {
  discoverRuns: 'discoverRuns',
  runUpload: 'runUpload',
  bases2fastq: 'bases2fastq',
  sweep: 'sweep',
  verifyAll: 'verifyAll',
  deliverWebhook: 'deliverWebhook',
  bucketAccess: 'bucketAccess',
} as const;

/** The workflow that verifies each kind of resource. */
export const VERIFY_WORKFLOWS: Record<VerifiedKind, string> = {
  provider: 'verifyProvider',
  storageConnection: 'verifyStorageConnection',
  computeConnection: 'verifyComputeConnection',
  flow: 'verifyFlow',
};

/**
 * The task queues of an installation: watching has one of its own, so that thousands of watched runs leave the rest its slots, and so
 * have webhooks, whose receivers may be slow.
 */
export function taskQueues(prefix: string): { main: string; watch: string; webhooks: string } {
  return { main: prefix, watch: `${prefix}-watch`, webhooks: `${prefix}-webhooks` };
}

export function executionWorkflowId(executionId: string): string {
  return `execution/${executionId}`;
}
/** @param parentPath of the folder above the run folder, below the storage connection's prefix: the instrument's name, mostly. */
export function runUploadWorkflowId(storageConnectionId: string, parentPath: string, runFolder: string): string {
  return `run-upload/${storageConnectionId}/${parentPath}/${runFolder}`;
}
/** @param round from 1; each replay has a workflow of its own. */
export function webhookWorkflowId(deliveryId: string, round: number): string {
  return round === 1 ? `webhook/${deliveryId}` : `webhook/${deliveryId}/${round}`;
}
/** Two storage connections in one bucket share its policy. */
export function bucketAccessWorkflowId(bucket: string): string {
  return `bucket-access/${bucket}`;
}
export function discoverScheduleId(storageConnectionId: string): string {
  return `discover/${storageConnectionId}`;
}
export const SWEEP_SCHEDULE_ID = 'sweep';
export const VERIFY_SCHEDULE_ID = 'verify-all';
/** `verify/<kind>/<id>`, the kind as the API's paths have it. */
export function verifyWorkflowId(kind: VerifiedKind, id: string): string {
  return `verify/${kind.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}/${id}`;
}

/** Who wants an execution cancelled, and why. Both may be left out, so that `temporal workflow signal --name cancel` works without input. */
export interface CancelRequest {
  reason?: string;
  requestedBy?: string;
}
export const cancelSignal = defineSignal<[CancelRequest?]>('cancel');
/** Tries a blocked step again at once instead of at its next probe. */
export const retrySignal = defineSignal('retry');

/** Has an upload looked at now instead of at its next poll; by events, and by people. */
export const lookSignal = defineSignal('look');

/** How the upload of an execution's run ended; sent to executions that were created before it had. */
export interface RunUploadEnded {
  usable: boolean;
  reason: string;
}
export const runUploadEndedSignal = defineSignal<[RunUploadEnded]>('runUploadEnded');

/** Where an execution stands, as its workflow sees it. */
export interface ExecutionState {
  status: ExecutionStatus;
  step: string;
  healthOmicsRunId?: string;
  blocked?: Blocked;
  cancelRequested?: CancelRequest;
}
export const stateQuery = defineQuery<ExecutionState>('state');

/** Input of `bases2fastq`. All else is in the store; names are here for whoever reads the history. */
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
  /** The run is still uploading: wait for {@link runUploadEndedSignal}. */
  waitForUpload: boolean;
  /** Task queue of the watching activities. */
  watchTaskQueue: string;
  /** How long a silent watcher counts as dead, in seconds; 30 by default. */
  heartbeatTimeoutSeconds?: number;
  /** How long a step may stay blocked before the execution fails; 14 by default. */
  giveUpDays?: number;
}

/** What `bases2fastq` returns. */
export interface Bases2FastqResult {
  status: 'COMPLETED' | 'CANCELED';
  healthOmicsRunId?: string;
  runOutputUri?: string;
  description: string;
}

/** Input of `discoverRuns`. */
export interface DiscoverRunsInput {
  storageConnectionId: string;
  storageConnectionName: string;
  giveUpDays?: number;
  /** Only this run folder, of which an event has told. */
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
  /** Of the folder above the run folder, below the prefix; the instrument's name where it is absent. */
  parentPath?: string;
  /** How long a step may stay blocked, in days; 14 by default. */
  giveUpDays?: number;
  /** Milliseconds since 1970; until then, where the workflow goes on from an earlier one. */
  deadline?: number;
  /** Longest time that a run may upload, in days; 14 by default. */
  maximumDays?: number;
}

/** Asks a verification that may be under way for one pass more; starts it where none is. */
export const verifyAgainSignal = defineSignal('verifyAgain');

/** Input of the verification workflows. */
export interface VerifyInput {
  id: string;
  name: string;
}
/** What they return; null when the resource was deleted meanwhile. */
export interface VerifyResult {
  status: VerifiedStatus;
  description: string;
}

/** Input of `deliverWebhook`. All else is in the store: neither secrets nor the whole URL, which may hold one, are for histories. */
export interface DeliverWebhookInput {
  deliveryId: string;
  round: number;
  eventType: string;
  /** Of the URL. */
  host: string;
  /** Of the delivering activities. */
  taskQueue: string;
}

/** A grant for which the store says what is wanted. `principal` is here for whoever reads the history. */
export interface GrantChangeRequest {
  bucket: string;
  grantId: string;
  principal: string;
}
/** Has the policy of the bucket changed for a grant; answers once that is done or refused. */
export const changeGrantUpdate = defineUpdate<GrantChange, [GrantChangeRequest]>('changeAccess');
/** Type of the failure by which an update is refused that is to be sent once more. */
export const DRAINING = 'Draining';

/** Input of `bucketAccess`. All but the bucket comes from the history that it goes on from. */
export interface BucketAccessInput {
  bucket: string;
  agenda?: GrantAgenda;
  tries?: number;
  changes?: number;
  status?: string;
  blocked?: boolean;
}

/** A summary as Temporal takes it: 400 bytes at most, or the command is refused (dynamic configuration limit.userMetadataSummarySize). */
export function toSummary(text: string): string {
  return cutToBytes(text, 400);
}

/** Search attributes: what executions and uploads can be found by in the Temporal UI. All of them must be registered in the namespace. */
export const attributes = {
  status: defineSearchAttributeKey('PolonyStatus', 'KEYWORD'),
  blocked: defineSearchAttributeKey('PolonyBlocked', 'BOOL'),
  flow: defineSearchAttributeKey('PolonyFlow', 'KEYWORD'),
  run: defineSearchAttributeKey('PolonyRun', 'KEYWORD'),
  instrument: defineSearchAttributeKey('PolonyInstrument', 'KEYWORD'),
  provider: defineSearchAttributeKey('PolonyProvider', 'KEYWORD'),
  account: defineSearchAttributeKey('PolonyAccount', 'KEYWORD'),
  region: defineSearchAttributeKey('PolonyRegion', 'KEYWORD'),
  storageConnection: defineSearchAttributeKey('PolonyStorageConnection', 'KEYWORD'),
  healthOmicsRunId: defineSearchAttributeKey('PolonyHealthOmicsRunId', 'KEYWORD'),
} as const;

/** The same as a namespace registers them. */
export const SEARCH_ATTRIBUTES: Record<string, 'Keyword' | 'Bool'> = Object.fromEntries(
  Object.values(attributes).map((key) => [key.name, key.type === 'BOOL' ? ('Bool' as const) : ('Keyword' as const)]),
);
