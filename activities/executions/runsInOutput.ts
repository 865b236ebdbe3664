import { GetRunCommand, type GetRunCommandOutput } from '@aws-sdk/client-omics';
import type { S3Client } from '@aws-sdk/client-s3';
import { undefinedIf } from '../../aws/errors.js';
import { listFolders } from '../../aws/s3.js';
import { joinKey } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { listAttempts } from '../../store/executions/attempts.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import type { StepDependencies } from './context.js';

/** The ids of the HealthOmics runs that wrote to the output folder of an execution. */
export async function listRunsInOutput(
  s3: S3Client,
  { bucket, prefix }: { bucket: string; prefix: string },
  executionId: string,
): Promise<string[]> {
  const ids: string[] = [];
  const output = `${joinKey(prefix, EXECUTIONS_FOLDER, executionId)}/`;
  for await (const folders of listFolders(s3, bucket, output))
    ids.push(...folders.filter((folder) => /^\d{1,32}$/.test(folder)));
  return ids;
}

/** Whether a run writes to the output folder of an execution. */
export function isRunOfOutput({ outputUri }: GetRunCommandOutput, expected: string): boolean {
  return outputUri?.replace(/\/$/, '') === expected.replace(/\/$/, '');
}

/**
 * The newest run of an execution that has written to its output folder and belongs to none of its earlier attempts;
 * undefined where there is none, or the folder may not be read.
 */
export async function findRunInOutput(
  { db, aws }: StepDependencies,
  { id, outputUri, storage, storageProviderId, provider, compute }: ExecutionContext,
): Promise<GetRunCommandOutput | undefined> {
  const s3 = aws.s3(storageProviderId, storage.region);
  const listed = await aws.use(storageProviderId, () => listRunsInOutput(s3, storage, id)).catch(undefinedIf('denied'));
  const earlier = (await listAttempts(db, id)).map((attempt) => attempt.healthomics_run_id);
  const omics = aws.omics(provider.id, compute.region);
  let newest: GetRunCommandOutput | undefined;
  for (const runId of listed ?? []) {
    if (earlier.includes(runId)) continue;
    const run = await aws
      .use(provider.id, () => omics.send(new GetRunCommand({ id: runId })))
      .catch(undefinedIf('not-found'));
    if (run === undefined || !isRunOfOutput(run, outputUri)) continue;
    if (newest === undefined || createdAt(run) > createdAt(newest)) newest = { ...run, id: runId };
  }
  return newest;
}

const createdAt = ({ creationTime }: GetRunCommandOutput): number => creationTime?.getTime() ?? 0;
