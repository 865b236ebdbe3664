import { setWorkflowOptions } from '@temporalio/workflow';
import { bases2fastq } from './bases2fastq.js';
import { discoverRuns } from './discoverRuns.js';
import { bucketAccess } from './grants.js';
import { runUpload } from './runUpload.js';
import { versioningOf } from './sandbox.js';
import { sweep } from './sweep.js';
import {
  verifyAll,
  verifyComputeConnection,
  verifyFlow,
  verifyProvider,
  verifyStorageConnection,
} from './verification.js';
import { deliverWebhook } from './webhooks.js';

const workflows: Record<string, (input: never) => Promise<unknown>> = {
  bases2fastq,
  bucketAccess,
  deliverWebhook,
  discoverRuns,
  runUpload,
  sweep,
  verifyAll,
  verifyComputeConnection,
  verifyFlow,
  verifyProvider,
  verifyStorageConnection,
};
for (const [type, workflow] of Object.entries(workflows)) setWorkflowOptions(versioningOf(type), workflow);

export {
  bases2fastq,
  bucketAccess,
  deliverWebhook,
  discoverRuns,
  runUpload,
  sweep,
  verifyAll,
  verifyComputeConnection,
  verifyFlow,
  verifyProvider,
  verifyStorageConnection,
};
