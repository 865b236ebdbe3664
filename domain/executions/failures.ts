import { isTransientFailure } from '../connections/runSettings.js';

/** Why an execution failed, for people. */
export interface FailureExplanation {
  /** failureReason of HealthOmics, or the type of polony's own failure. */
  reason: string;
  /** Who can fix it. */
  owner: 'customer' | 'vendor' | 'aws' | 'polony';
  what: string;
  toDo: string;
  /** Whether it is temporary, so that polony starts another run. */
  transient: boolean;
}

type FailureEntry = [owner: FailureExplanation['owner'], what: string, toDo: string];
const LOGS = "Read the run's engine log in CloudWatch (/aws/omics/WorkflowLog, stream run/<run id>/engine)";

/** Failure reasons of HealthOmics runs (HealthOmics User Guide, "Run failure reasons"), and polony's own. */
const REASONS: Record<string, FailureEntry> = {
  ASSUME_ROLE_FAILED: [
    'customer',
    'HealthOmics is not allowed to assume the execution role',
    "Allow omics.amazonaws.com in the role's trust policy, then relaunch",
  ],
  CANNOT_START_CONTAINER_ERROR: [
    'vendor',
    'HealthOmics could not start a container of the workflow',
    'Report the workflow and the HealthOmics run to Element. Relaunch after they fix it.',
  ],
  CANNOT_START_CONTAINER_SIZE_ERROR: [
    'vendor',
    'A container image of the workflow is larger than HealthOmics allows',
    'Report the workflow and the HealthOmics run to Element',
  ],
  ECR_PERMISSION_ERROR: [
    'vendor',
    "HealthOmics is not allowed to read the workflow's container image",
    'Ask Element to share the image with your account and region',
  ],
  EXPORT_FAILED: [
    'customer',
    'HealthOmics could not write the results to the bucket',
    "Allow the execution role s3:PutObject below the storage connection's prefix, " +
      'and kms:GenerateDataKey if a KMS key encrypts the bucket. Then relaunch.',
  ],
  FILE_SYSTEM_OUT_OF_SPACE: [
    'customer',
    "The run's file system was full",
    "Set the flow's storageType to DYNAMIC, or set a larger storageCapacity. Then relaunch.",
  ],
  IMAGE_VERIFICATION_FAILURE: [
    'vendor',
    "HealthOmics could not verify the workflow's container image",
    'Report the workflow and the HealthOmics run to Element',
  ],
  IMPORT_FAILED: [
    'customer',
    "HealthOmics could not read the run's data",
    'Allow the execution role s3:GetObject and s3:ListBucket for the run folder, ' +
      'and kms:Decrypt if a KMS key encrypts the bucket. Then relaunch.',
  ],
  INACTIVE_OMICS_STORAGE_RESOURCE: [
    'customer',
    'A HealthOmics storage resource is not active',
    'Activate it, then relaunch',
  ],
  INPUT_URI_NOT_FOUND: [
    'customer',
    'An input file of the run does not exist',
    "Check that the run folder still exists, and check the flow's parameters. Then relaunch.",
  ],
  INSTANCE_RESERVATION_FAILED: [
    'aws',
    'AWS had no free machines for the run',
    'Wait for the next attempt, or relaunch later',
  ],
  INVALID_ECR_IMAGE_URI: [
    'vendor',
    'The address of a container image of the workflow is not valid',
    'Report the workflow and the HealthOmics run to Element',
  ],
  INVALID_TASK_RESOURCE_VALUE: [
    'vendor',
    'A task of the workflow needs a machine that HealthOmics does not have',
    "Check the flow's parameters for CPUs and memory. If they are correct, report it to Element.",
  ],
  INVALID_URI_INPUT: [
    'customer',
    'An address in the parameters is not valid',
    "Correct the flow's parameters, then relaunch",
  ],
  MODIFIED_INPUT_RESOURCE: [
    'customer',
    'Somebody changed a file of the run folder while the run read it',
    'Do not change the run folder while a run analyses it',
  ],
  OUT_OF_MEMORY_ERROR: [
    'vendor',
    'A task of the workflow ran out of memory',
    "Raise the memory in the flow's parameters, if the workflow has one for it. Else report it to Element.",
  ],
  RUN_TASK_FAILED: [
    'customer',
    'A task of the workflow failed: Bases2Fastq stopped',
    `${LOGS}, and info/Bases2Fastq.log and info/RunManifestErrors.json in the results. ` +
      'The usual reason is a wrong run manifest. Relaunch with a corrected one.',
  ],
  RUN_TIMED_OUT: [
    'customer',
    'The run took longer than its run group allows',
    "Raise the run group's maximum duration, or use another run group. Then relaunch.",
  ],
  SERVICE_ERROR: ['aws', 'HealthOmics had an internal error', 'Wait for the next attempt, or relaunch later'],
  TASK_TIMED_OUT: [
    'vendor',
    'A task of the workflow took longer than the workflow allows',
    'Report the workflow and the HealthOmics run to Element',
  ],
  UNSUPPORTED_GPU_INSTANCE_TYPE: [
    'vendor',
    'The workflow needs a machine that this region does not have',
    'Report it to Element, or use another region',
  ],
  UNSUPPORTED_INPUT_SIZE: [
    'customer',
    'The run folder is larger than HealthOmics allows',
    'Ask AWS to raise the limit, or analyse the run elsewhere',
  ],
  WORKFLOW_RUN_FAILED: [
    'customer',
    'The workflow stopped',
    `${LOGS}. The usual reason is a wrong run manifest. Relaunch with a corrected one.`,
  ],
  WORKFLOW_VERSION_VALIDATION_FAILED: [
    'vendor',
    "HealthOmics does not support the workflow's Nextflow version",
    'Report the workflow to Element',
  ],
  RUN_DELETED: [
    'customer',
    'Somebody deleted the HealthOmics run before polony saw its end',
    'Look for its results in the bucket, or relaunch',
  ],
  RunReplaced: [
    'customer',
    'Somebody deleted the HealthOmics run, and its number now belongs to another',
    'Look for its results in the bucket, or relaunch',
  ],
  RunNotUsable: [
    'customer',
    'Bases2Fastq cannot analyse the run',
    'See the upload of the run. Only flows that accept failed runs analyse a run that the instrument ended as failed.',
  ],
  BlockedTooLong: [
    'customer',
    'It was blocked too long, because nobody fixed the reason',
    'Fix what the message names, then relaunch',
  ],
  StartedBefore: [
    'polony',
    'The flow was started for this run before, by an execution that the database does not have',
    'Look for the results of the execution that the message names. To analyse the run again, start an execution yourself.',
  ],
  StartClosed: [
    'polony',
    'The execution was cancelled before its HealthOmics run was started',
    'Nothing runs. To analyse the run, start another execution',
  ],
  ExecutionEnded: [
    'polony',
    'Somebody reset the workflow of an execution that had ended',
    'Relaunch the execution to analyse the run again',
  ],
  WorkflowClosed: [
    'polony',
    'Somebody terminated its Temporal workflow, or the workflow failed',
    'Relaunch. To cancel an execution, use the API or the signal instead of terminating the workflow.',
  ],
};

/** Explains why an execution failed. For an unknown reason it says where to look. */
export function explainFailure(reason: string): FailureExplanation {
  const [owner, what, toDo] = Object.hasOwn(REASONS, reason)
    ? REASONS[reason]!
    : /^[A-Z][A-Z_]+$/.test(reason)
      ? ([
          'aws',
          'HealthOmics ended the run for a reason that polony does not know',
          `${LOGS}. The HealthOmics User Guide lists the reasons.`,
        ] satisfies FailureEntry)
      : ([
          'polony',
          'It failed outside HealthOmics',
          'See the message, and the workflow in Temporal',
        ] satisfies FailureEntry);
  return { reason, owner, what, toDo, transient: isTransientFailure(reason) };
}
