import type { VerifiedKind } from '../../domain/verification/report.js';

/** The workflow types, as the Temporal UI shows them. */
export const WORKFLOWS = {
  discoverRuns: 'discoverRuns',
  runUpload: 'runUpload',
  bases2fastq: 'bases2fastq',
  sweep: 'sweep',
  verifyAll: 'verifyAll',
  deliverWebhook: 'deliverWebhook',
  bucketAccess: 'bucketAccess',
} as const;

/** The workflow type that verifies each kind of resource. */
export const VERIFY_WORKFLOWS: Record<VerifiedKind, string> = {
  provider: 'verifyProvider',
  storageConnection: 'verifyStorageConnection',
  computeConnection: 'verifyComputeConnection',
  flow: 'verifyFlow',
};

/** All workflow types, those that verify resources too. */
export const WORKFLOW_TYPES: readonly string[] = [...Object.values(WORKFLOWS), ...Object.values(VERIFY_WORKFLOWS)];
