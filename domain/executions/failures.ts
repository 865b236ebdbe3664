import { isTransientFailure } from '../connections/runSettings.js';

/** Why an execution failed, for people. */
export interface FailureExplanation {
  /** failureReason of HealthOmics, or the type of polony's own failure. */
  reason: string;
  /** Who can mend it. */
  owner: 'customer' | 'vendor' | 'aws' | 'polony';
  what: string;
  toDo: string;
  /** Whether it passes by itself, so that polony starts another run. */
  transient: boolean;
}

type Entry = [owner: FailureExplanation['owner'], what: string, toDo: string];
const LOGS = "Read the run's engine log in CloudWatch (/aws/omics/WorkflowLog, stream run/<run id>/engine)";

/** Failure reasons of HealthOmics runs (HealthOmics User Guide, "Run failure reasons"), and polony's own. */
const REASONS: Record<string, Entry> = {
  ASSUME_ROLE_FAILED: [
    'customer',
    'HealthOmics may not assume the execution role',
    "Have the role's trust policy allow omics.amazonaws.com, then relaunch",
  ],
  CANNOT_START_CONTAINER_ERROR: [
    'vendor',
    'A container of the workflow could not be started',
    'Tell Element the workflow and the HealthOmics run; relaunch once they have mended it',
  ],
  CANNOT_START_CONTAINER_SIZE_ERROR: [
    'vendor',
    'A container image of the workflow is larger than HealthOmics takes',
    'Tell Element the workflow and the HealthOmics run',
  ],
  ECR_PERMISSION_ERROR: [
    'vendor',
    "HealthOmics may not read the workflow's container image",
    'Tell Element: the image has to be shared with your account and region',
  ],
  EXPORT_FAILED: [
    'customer',
    'The results could not be written to the bucket',
    "Allow the execution role s3:PutObject below the storage connection's prefix, and kms:GenerateDataKey where the bucket is encrypted with a key; then relaunch",
  ],
  FILE_SYSTEM_OUT_OF_SPACE: [
    'customer',
    "The run's file system was full",
    "Set the flow's storageType to DYNAMIC, or give a larger storageCapacity; then relaunch",
  ],
  IMAGE_VERIFICATION_FAILURE: [
    'vendor',
    "The workflow's container image could not be verified",
    'Tell Element the workflow and the HealthOmics run',
  ],
  IMPORT_FAILED: [
    'customer',
    "The run's data could not be read",
    'Allow the execution role s3:GetObject and s3:ListBucket for the run folder, and kms:Decrypt where the bucket is encrypted with a key; then relaunch',
  ],
  INACTIVE_OMICS_STORAGE_RESOURCE: [
    'customer',
    'A HealthOmics storage resource is not active',
    'Activate it, then relaunch',
  ],
  INPUT_URI_NOT_FOUND: [
    'customer',
    'A file that the run was given does not exist',
    "Check that the run folder is still there, and the flow's parameters; then relaunch",
  ],
  INSTANCE_RESERVATION_FAILED: ['aws', 'AWS had no machines free for the run', 'Nothing, or relaunch later'],
  INVALID_ECR_IMAGE_URI: [
    'vendor',
    'The address of a container image of the workflow is not valid',
    'Tell Element the workflow and the HealthOmics run',
  ],
  INVALID_TASK_RESOURCE_VALUE: [
    'vendor',
    'A task of the workflow asks for a machine that HealthOmics does not have',
    "Check the flow's parameters for CPUs and memory, else tell Element",
  ],
  INVALID_URI_INPUT: [
    'customer',
    'An address among the parameters is not valid',
    "Correct the flow's parameters, then relaunch",
  ],
  MODIFIED_INPUT_RESOURCE: [
    'customer',
    'A file of the run folder was changed while the run read it',
    'Leave the run folder alone while it is analysed',
  ],
  OUT_OF_MEMORY_ERROR: [
    'vendor',
    'A task of the workflow ran out of memory',
    "Raise the memory by the flow's parameters where the workflow has one for it, else tell Element",
  ],
  RUN_TASK_FAILED: [
    'customer',
    'A task of the workflow failed: Bases2Fastq stopped',
    `${LOGS}, and info/Bases2Fastq.log and info/RunManifestErrors.json of the results; a wrong run manifest is the usual reason. Relaunch with another`,
  ],
  RUN_TIMED_OUT: [
    'customer',
    'The run took longer than its run group allows',
    "Raise the run group's maximum duration, or take another run group; then relaunch",
  ],
  SERVICE_ERROR: ['aws', 'HealthOmics had a fault', 'Nothing, or relaunch later'],
  TASK_TIMED_OUT: [
    'vendor',
    'A task of the workflow took longer than it allows',
    'Tell Element the workflow and the HealthOmics run',
  ],
  UNSUPPORTED_GPU_INSTANCE_TYPE: [
    'vendor',
    'The workflow asks for a machine that this region does not have',
    'Tell Element, or use another region',
  ],
  UNSUPPORTED_INPUT_SIZE: [
    'customer',
    'The run folder is larger than HealthOmics takes',
    'Ask AWS to raise the limit, or analyse the run elsewhere',
  ],
  WORKFLOW_RUN_FAILED: [
    'customer',
    'The workflow stopped',
    `${LOGS}; a wrong run manifest is the usual reason. Relaunch with another`,
  ],
  WORKFLOW_VERSION_VALIDATION_FAILED: [
    'vendor',
    "HealthOmics does not support the workflow's Nextflow version",
    'Tell Element the workflow',
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
    'The run cannot be analysed',
    'See the upload of the run; what an instrument ended as failed is analysed only by flows that accept it',
  ],
  BlockedTooLong: [
    'customer',
    'It waited for something that nobody mended',
    'Mend what the message names, then relaunch',
  ],
  WorkflowClosed: [
    'polony',
    'Its Temporal workflow was terminated by hand, or failed',
    'Relaunch; cancel executions by the API or the signal instead of terminating workflows',
  ],
};

/** Explains why an execution failed. A reason that is not known says where to look. */
export function explainFailure(reason: string): FailureExplanation {
  const [owner, what, toDo] = Object.hasOwn(REASONS, reason)
    ? REASONS[reason]!
    : /^[A-Z][A-Z_]+$/.test(reason)
      ? ([
          'aws',
          'HealthOmics ended the run for a reason that polony does not know',
          `${LOGS}; the HealthOmics User Guide lists the reasons`,
        ] satisfies Entry)
      : (['polony', 'It failed outside HealthOmics', 'See the message, and the workflow in Temporal'] satisfies Entry);
  return { reason, owner, what, toDo, transient: isTransientFailure(reason) };
}
