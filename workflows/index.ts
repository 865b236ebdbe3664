export { bases2fastq } from './bases2fastq.js';
export { bucketAccess } from './grants.js';
export { deliverWebhook } from './webhooks.js';
export { discoverRuns } from './discoverRuns.js';
export { runUpload } from './runUpload.js';
export { sweep } from './sweep.js';
export {
  verifyAll,
  verifyComputeConnection,
  verifyFlow,
  verifyProvider,
  verifyStorageConnection,
} from './verification.js';
