import { createHash } from 'node:crypto';
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { ApplicationFailure } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import { readText } from '../../aws/s3.js';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { withAwsErrors } from './awsCalls.js';
import { type StepDependencies, viaStorageProvider } from './context.js';

/**
 * An object in the bucket that says which execution a flow started automatically for a run folder. It survives the
 * database and Temporal's retention, so that a restored backup starts nothing twice.
 */
interface StartMarker {
  executionId: string;
  flow: string;
  run: string;
  time: string;
}

/**
 * The key of a marker. The name of the run folder is hashed, so that the key never exceeds the limit of S3.
 * @param prefix of the storage connection
 */
function startMarkerKey(
  prefix: string,
  flowId: string,
  { parentPath, runFolder }: { parentPath: string; runFolder: string },
): string {
  const folder = createHash('sha256').update(`${parentPath}/${runFolder}`).digest('hex').slice(0, 32);
  return joinKey(prefix, EXECUTIONS_FOLDER, 'started', flowId, `${folder}.json`);
}

/** Reads a marker; undefined where the text is none. */
function parseStartMarker(text: string): StartMarker | undefined {
  try {
    const value = JSON.parse(text) as Partial<StartMarker> | null;
    return typeof value?.executionId === 'string' ? (value as StartMarker) : undefined;
  } catch {
    return undefined;
  }
}

/** The largest marker, in bytes. */
const MARKER_BYTES = 64 * 1024;

/** Reads which execution a flow started for a run folder; undefined where there is no marker, or it may not be read. */
export async function readStartMarker(
  s3: S3Client,
  storage: { bucket: string; prefix: string },
  flowId: string,
  run: { parentPath: string; runFolder: string },
): Promise<StartMarker | undefined> {
  try {
    const text = await readText(s3, storage.bucket, startMarkerKey(storage.prefix, flowId, run), MARKER_BYTES);
    return text === undefined ? undefined : parseStartMarker(text);
  } catch (error) {
    if (error instanceof RangeError || classifyAwsError(error).kind === 'denied') return undefined;
    throw error;
  }
}

/**
 * Writes the marker of an automatic execution before its first StartRun. The write succeeds for one execution only (S3
 * User Guide, "Conditional writes"), even if the database forgot an earlier one.
 * @throws ApplicationFailure `StartedBefore` where another execution was started for the run folder.
 */
export async function claimStart(dependencies: StepDependencies, execution: ExecutionContext): Promise<void> {
  const { id, trigger, attempt, startState, flow, run, storage, storageProviderId } = execution;
  if (trigger !== 'auto' || attempt > 1 || startState !== 'none') return;
  const s3 = dependencies.aws.s3(storageProviderId, storage.region);
  const key = startMarkerKey(storage.prefix, flow.id, run);
  const marker: StartMarker = { executionId: id, flow: flow.name, run: run.name, time: new Date().toISOString() };
  const call = { action: 's3:PutObject', resource: objectArn(storage.bucket, key, storage.region) };
  const isOurs = await withAwsErrors(dependencies, viaStorageProvider(execution), call, async () => {
    try {
      await s3.send(
        new PutObjectCommand({
          Bucket: storage.bucket,
          Key: key,
          Body: JSON.stringify(marker),
          ContentType: 'application/json',
          IfNoneMatch: '*',
        }),
      );
      return true;
    } catch (error) {
      const { code, kind, httpStatus } = classifyAwsError(error);
      if (httpStatus === 412 || code === 'PreconditionFailed') return false;
      // Without the permission, or with a store that knows no conditional writes, the database alone prevents a repeat.
      if (kind === 'denied' || httpStatus === 501) return true;
      throw error;
    }
  });
  if (isOurs) return;
  const earlier = await withAwsErrors(dependencies, viaStorageProvider(execution), call, () =>
    readStartMarker(s3, storage, flow.id, run),
  );
  if (earlier === undefined || earlier.executionId === id) return;
  throw ApplicationFailure.nonRetryable(
    `The flow ${flow.name} was started for this run before, by execution ${earlier.executionId} at ${earlier.time} ` +
      `(s3://${storage.bucket}/${key}). polony starts a flow for a run once. To analyse the run again, start an ` +
      'execution yourself.',
    'StartedBefore',
  );
}
