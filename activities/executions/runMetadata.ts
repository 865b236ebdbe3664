import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { whyRunIsUnusable } from '../../domain/runs/usability.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { reopenChangedRun } from '../../store/runs/update.js';
import type { Dependencies } from '../dependencies.js';
import { withAwsErrors } from './awsCalls.js';
import { viaStorageProvider } from './context.js';

type MetadataDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator'>;

/**
 * Checks that the files that decided about a run are still those that polony checked: credentials for an upload, or
 * another program, may have replaced them since. A changed run is checked again, and the execution waits for that.
 * @throws ApplicationFailure `RunChanged`, which Temporal retries, or `RunNotUsable`.
 */
export async function checkRunUnchanged(
  dependencies: MetadataDependencies,
  execution: ExecutionContext,
): Promise<void> {
  const { run, flow, startState } = execution;
  if (startState !== 'none') return;
  const reason = whyRunIsUnusable(run, flow);
  if (reason !== undefined)
    throw ApplicationFailure.nonRetryable(`The run cannot be analysed: ${reason}`, 'RunNotUsable');
  if (run.uploadState === 'uploading') throw changed('polony checks its upload again');
  const file = await findChangedFile(dependencies, execution);
  if (file === undefined) return;
  await checkUploadAgain(dependencies, execution);
  throw changed(`${file} was replaced after polony had checked it, so polony checks the upload again`);
}

function changed(what: string): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'RunChanged',
    message: `The run has changed: ${what}. The execution continues when the upload is complete`,
    category: ApplicationFailureCategory.BENIGN,
  });
}

/** @returns the name of a file that is no longer what polony checked. */
async function findChangedFile(
  dependencies: MetadataDependencies,
  execution: ExecutionContext,
): Promise<string | undefined> {
  const { run, storage, storageProviderId } = execution;
  const s3 = dependencies.aws.s3(storageProviderId, storage.region);
  const folder = joinKey(storage.prefix, run.parentPath, run.runFolder);
  for (const [file, etag] of Object.entries(run.metadataEtags ?? {})) {
    const key = `${folder}/${file}`;
    const call = { action: 's3:GetObject', resource: objectArn(storage.bucket, key, storage.region) };
    const isSame = await withAwsErrors(dependencies, viaStorageProvider(execution), call, async () => {
      try {
        return (await s3.send(new HeadObjectCommand({ Bucket: storage.bucket, Key: key }))).ETag === etag;
      } catch (error) {
        const { kind } = classifyAwsError(error);
        if (kind === 'not-found') return false;
        // The permission is optional. HealthOmics reads the files with its own role.
        if (kind === 'denied') return true;
        throw error;
      }
    });
    if (!isSame) return file;
  }
  return undefined;
}

async function checkUploadAgain(
  { db, orchestrator }: MetadataDependencies,
  execution: ExecutionContext,
): Promise<void> {
  const { run, storage } = execution;
  await reopenChangedRun(db, run.id);
  await orchestrator.runs.checkUpload({
    runId: run.id,
    storageConnectionId: storage.id,
    storageConnectionName: storage.name,
    instrumentName: run.instrumentName,
    parentPath: run.parentPath,
    runFolder: run.runFolder,
    runName: run.name,
    bucket: storage,
  });
}
