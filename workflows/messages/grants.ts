import { defineUpdate } from '@temporalio/workflow';
import type { GrantAgenda, GrantChange } from '../../domain/grants/grant.js';

/** One workflow for each bucket, because two storage connections in one bucket share its policy. */
export function bucketAccessWorkflowId(bucket: string): string {
  return `bucket-access/${bucket}`;
}

/** Names a grant whose wanted state the store holds. `principal` is here for people who read the history. */
export interface GrantChangeRequest {
  bucket: string;
  grantId: string;
  principal: string;
}
/** Changes the bucket policy for a grant. The update completes once AWS has accepted or refused the change. */
export const changeGrantUpdate = defineUpdate<GrantChange, [GrantChangeRequest]>('changeAccess');
/** The failure type with which the workflow rejects an update while it continues as new. Send the update again. */
export const DRAINING = 'Draining';

/** Input of `bucketAccess`. All but the bucket comes from the previous run when the workflow continues as new. */
export interface BucketAccessInput {
  bucket: string;
  agenda?: GrantAgenda;
  tries?: number;
  /** In milliseconds since 1970. */
  retryAt?: number;
  changes?: number;
  status?: string;
  blocked?: boolean;
  causes?: string;
  /** In milliseconds since 1970. */
  since?: number;
}
