import type { S3Client } from '@aws-sdk/client-s3';
import { classifyAwsError } from '../../aws/errors.js';
import { parseS3Uri, readBytes, writeText } from '../../aws/s3.js';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { describeFindings, type ManifestedRun, type ManifestReport } from '../../domain/runs/manifestCheck.js';
import { findManifestOverrides } from '../../domain/runs/manifestOverrides.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { updateExecution } from '../../store/executions/update.js';
import { TaskTooLongError, threads } from '../../threads/pool.js';
import { withHeartbeat } from '../heartbeat.js';
import { withAwsErrors } from './awsCalls.js';
import { block, type StepDependencies, viaStorageProvider } from './context.js';

/** How long polony checks a manifest, in milliseconds. The largest that it reads takes some seconds. */
const CHECK_MS = 60_000;

type ManifestContent = { content: string | Uint8Array } | 'absent' | 'unreadable';

/**
 * Checks the run manifest that Bases2Fastq would read. Writes a manifest that was given as text to the execution's
 * folder.
 * @returns the manifest's `s3://` URI where it is not the run's own.
 * @throws ApplicationFailure `Blocked` where Bases2Fastq would stop at the manifest.
 */
export async function settleManifest(
  dependencies: StepDependencies,
  execution: ExecutionContext,
): Promise<string | undefined> {
  const { manifest } = execution;
  const location = locateManifest(execution);
  const found = await readManifest(dependencies, execution, location);
  const report = await checkFound(execution, found, location);
  await updateExecution(dependencies.db, execution.id, { manifestReport: report });
  const stops = found === 'absent' || execution.flow.settings.manifestErrors !== 'warn';
  if (report.errors.length > 0 && stops) await blockOnManifest(dependencies, execution, report, location);
  if (manifest === null) return undefined;
  return 'uri' in manifest ? manifest.uri : writeManifest(dependencies, execution, manifest.text);
}

interface ManifestLocation {
  bucket: string;
  key: string;
}

/** Where the manifest is; a manifest that was given as text takes the place of the run's own. */
function locateManifest({ storage, run, manifest }: ExecutionContext): ManifestLocation {
  if (manifest !== null && 'uri' in manifest) return parseS3Uri(manifest.uri);
  return {
    bucket: storage.bucket,
    key: joinKey(storage.prefix, run.parentPath, run.runFolder, 'RunManifest.csv'),
  };
}

async function readManifest(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  { bucket, key }: ManifestLocation,
): Promise<ManifestContent> {
  const { manifest } = execution;
  const read = async (): Promise<ManifestContent> => {
    if (manifest !== null && 'text' in manifest) return { content: manifest.text };
    try {
      const content = await readBytes(storageClient(dependencies, execution), bucket, key);
      return content === undefined ? 'absent' : { content };
    } catch (error) {
      // The vendor's table lists reading as optional. Without it HealthOmics still reads the file, with its own role.
      if (manifest === null && classifyAwsError(error).kind === 'denied') return 'unreadable';
      throw error;
    }
  };
  const call = { action: 's3:GetObject', resource: objectArn(bucket, key, execution.storage.region) };
  return withHeartbeat(() => withAwsErrors(dependencies, viaStorageProvider(execution), call, read));
}

async function checkFound(
  { run, manifest, flow, ownParameters }: ExecutionContext,
  found: ManifestContent,
  { bucket, key }: ManifestLocation,
): Promise<ManifestReport> {
  const unchecked: ManifestReport = { errors: [], warnings: [], samples: 0, more: 0 };
  const parameters = { ...flow.parameters, ...ownParameters };
  const manifestParameter = flow.parameterNames.runManifest;
  if (manifest === null && findManifestOverrides(parameters, manifestParameter).replaceManifest) {
    const message = 'polony did not check the run manifest: a parameter of the flow or the execution names another one';
    return { ...unchecked, warnings: [{ rule: 'not-checked', message }] };
  }
  if (found === 'unreadable') {
    const message = 'polony did not check RunManifest.csv: the provider may not read it (s3:GetObject)';
    return { ...unchecked, warnings: [{ rule: 'not-checked', message }] };
  }
  if (found !== 'absent') return checkContent(found.content, { ...run, parameters });
  if (manifest === null) {
    const message = 'The run has no RunManifest.csv. Bases2Fastq then assigns all reads to one sample.';
    return { ...unchecked, warnings: [{ rule: 'no-manifest', message }] };
  }
  return { ...unchecked, errors: [{ rule: 'no-manifest', message: `there is no object s3://${bucket}/${key}` }] };
}

/** Checks a manifest in a thread, because a worker has many activities and only one event loop. */
async function checkContent(content: string | Uint8Array, run: ManifestedRun): Promise<ManifestReport> {
  const { cycles, analysisLanes, parameters } = run;
  try {
    return await threads.run('checkRunManifest', [content, { cycles, analysisLanes, parameters }], CHECK_MS);
  } catch (error) {
    if (!(error instanceof TaskTooLongError)) throw error;
    const message = 'polony did not check the run manifest, because that takes too long';
    return { errors: [], warnings: [{ rule: 'not-checked', message }], samples: 0, more: 0 };
  }
}

async function blockOnManifest(
  { db }: StepDependencies,
  { id, manifest }: ExecutionContext,
  report: ManifestReport,
  { bucket, key }: ManifestLocation,
): Promise<never> {
  return block(db, id, {
    kind: 'MANIFEST_INVALID',
    resource: manifest !== null && 'text' in manifest ? undefined : `s3://${bucket}/${key}`,
    message: `Bases2Fastq would stop at the run manifest: ${describeFindings(report.errors)}`,
    remedy:
      manifest === null
        ? 'Replace RunManifest.csv in the run folder; polony then continues automatically. Or cancel the execution ' +
          'and relaunch it with another manifest. To leave the check to Bases2Fastq, set runSettings.manifestErrors ' +
          'of the flow to warn.'
        : 'Cancel the execution and relaunch it with another manifest.',
  });
}

/** @returns the `s3://` URI of the manifest that was written. */
async function writeManifest(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  text: string,
): Promise<string> {
  const { bucket } = execution.storage;
  const key = joinKey(parseS3Uri(execution.outputUri).key.replace(/\/$/, ''), 'input', 'RunManifest.csv');
  const call = { action: 's3:PutObject', resource: objectArn(bucket, key, execution.storage.region) };
  await withHeartbeat(() =>
    withAwsErrors(dependencies, viaStorageProvider(execution), call, () =>
      writeText(storageClient(dependencies, execution), bucket, key, text),
    ),
  );
  return `s3://${bucket}/${key}`;
}

function storageClient({ aws }: StepDependencies, { storageProviderId, storage }: ExecutionContext): S3Client {
  return aws.s3(storageProviderId, storage.region);
}
