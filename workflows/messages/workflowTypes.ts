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
