import { createHash } from 'node:crypto';
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { ApplicationFailure } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import { listFolders, listObjects, readText } from '../../aws/s3.js';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { isStartClaimed, markStartClaimed } from '../../store/executions/start.js';
import { withAwsErrors } from './awsCalls.js';
import { block, type StepDependencies, viaStorageProvider } from './context.js';

/**
 * An object in the bucket that says which execution a flow started automatically for a run folder. It survives the
 * database and Temporal's retention, so that a restored backup starts nothing twice.
 */
export interface StartMarker {
  executionId: string;
  flow: string;
  run: string;
  time: string;
}

/**
 * The key of a marker. The name of the run folder is hashed, so that the key never exceeds the limit of S3.
 * @param prefix of the storage connection
 */
export function startMarkerKey(
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

/** The markers of all flows below a storage connection whose keys are not known, with the id of their flow. */
export async function* listStartMarkers(
  s3: S3Client,
  { bucket, prefix }: { bucket: string; prefix: string },
  knownKeys: ReadonlySet<string>,
): AsyncGenerator<StartMarker & { flowId: string }> {
  const folder = `${joinKey(prefix, EXECUTIONS_FOLDER, 'started')}/`;
  for await (const page of listObjects(s3, bucket, folder))
    for (const { key } of page) {
      if (knownKeys.has(key)) continue;
      const text = await readText(s3, bucket, key, MARKER_BYTES).catch(undefinedIfTooLarge);
      const marker = text === undefined ? undefined : parseStartMarker(text);
      if (marker !== undefined) yield { ...marker, flowId: key.slice(folder.length).split('/')[0]! };
    }
}

/** polony writes no marker that is so large. Others may write to the bucket. */
function undefinedIfTooLarge(error: unknown): undefined {
  if (!(error instanceof RangeError)) throw error;
}

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
 * Reads which execution a flow of this name started for a run folder before the database was lost and the flow was
 * created again, with another id; undefined where there is no such marker, or it may not be read.
 * @param filterLost which of these ids of flows the database does not know
 */
export async function readMarkerOfLostFlow(
  s3: S3Client,
  storage: { bucket: string; prefix: string },
  flowName: string,
  run: { parentPath: string; runFolder: string },
  filterLost: (flowIds: readonly string[]) => Promise<string[]>,
): Promise<StartMarker | undefined> {
  try {
    const folder = `${joinKey(storage.prefix, EXECUTIONS_FOLDER, 'started')}/`;
    for await (const page of listFolders(s3, storage.bucket, folder))
      for (const flowId of await filterLost(page)) {
        const marker = await readStartMarker(s3, storage, flowId, run);
        if (marker?.flow === flowName) return marker;
      }
    return undefined;
  } catch (error) {
    if (classifyAwsError(error).kind === 'denied') return undefined;
    throw error;
  }
}

/**
 * Writes the marker of an automatic execution before its first StartRun. The write succeeds for one execution only (S3
 * User Guide, "Conditional writes"), even if the database forgot an earlier one.
 * @throws ApplicationFailure `StartedBefore` where another execution was started for the run folder; `Blocked` where a
 * marker exists, and nothing says whose it is.
 */
export async function claimStart(dependencies: StepDependencies, execution: ExecutionContext): Promise<void> {
  const { id, trigger, attempt, startState, flow, run, storage, storageProviderId } = execution;
  if (trigger !== 'auto' || attempt > 1 || startState !== 'none') return;
  const s3 = dependencies.aws.s3(storageProviderId, storage.region);
  const key = startMarkerKey(storage.prefix, flow.id, run);
  const marker: StartMarker = { executionId: id, flow: flow.name, run: run.name, time: new Date().toISOString() };
  const call = { action: 's3:PutObject', resource: objectArn(storage.bucket, key, storage.region) };
  const claim = await withAwsErrors(dependencies, viaStorageProvider(execution), call, async () => {
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
      return 'made';
    } catch (error) {
      const { code, kind, httpStatus } = classifyAwsError(error);
      if (httpStatus === 412 || code === 'PreconditionFailed') return 'taken';
      // Without the permission, or with a store that knows no conditional writes, the database alone prevents a repeat.
      if (kind === 'denied' || httpStatus === 501) return 'impossible';
      throw error;
    }
  });
  if (claim === 'made') return markStartClaimed(dependencies.db, id);
  if (claim === 'impossible') return;
  const earlier = await readClaim(dependencies, execution, key);
  if (earlier === 'own' || earlier.executionId === id) return;
  throw ApplicationFailure.nonRetryable(
    `The flow ${flow.name} was started for this run before, by execution ${earlier.executionId} at ${earlier.time} ` +
      `(s3://${storage.bucket}/${key}). polony starts a flow for a run once. To analyse the run again, start an ` +
      'execution yourself.',
    'StartedBefore',
  );
}

/**
 * Reads the marker that prevented the claim of an execution. A marker that cannot be read counts as its own only where
 * the database knows that it wrote one.
 */
async function readClaim(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  key: string,
): Promise<StartMarker | 'own'> {
  const { db, aws } = dependencies;
  const { id, flow, run, storage, storageProviderId } = execution;
  const isClaimed = await isStartClaimed(db, id);
  const call = { action: 's3:GetObject', resource: objectArn(storage.bucket, key, storage.region) };
  const text = await withAwsErrors(dependencies, viaStorageProvider(execution), call, () =>
    readText(aws.s3(storageProviderId, storage.region), storage.bucket, key, MARKER_BYTES).catch((error: unknown) => {
      if (error instanceof RangeError || (isClaimed && classifyAwsError(error).kind === 'denied')) return '';
      throw error;
    }),
  );
  if (text === undefined)
    throw ApplicationFailure.retryable(`s3://${storage.bucket}/${key} was deleted meanwhile`, 'Conflict');
  const marker = parseStartMarker(text);
  if (marker !== undefined) return marker;
  if (isClaimed) return 'own';
  return block(db, id, {
    kind: 'MARKER_DAMAGED',
    ...call,
    message:
      `s3://${storage.bucket}/${key} says that the flow ${flow.name} was started for the run ${run.name} before, and is ` +
      'damaged, so nothing says by which execution.',
    remedy:
      `Look in HealthOmics whether a run "${flow.name} ${run.name}" exists. If none does, delete this object; polony ` +
      'then continues automatically. Otherwise cancel this execution.',
  });
}
