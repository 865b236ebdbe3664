import { readTail } from '../../aws/files.js';
import { explainFailure } from '../../domain/executions/failures.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { isId } from '../../store/database.js';
import { type ListedExecution, findListedExecution } from '../../store/executions/load.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import type { RequestOf } from '../requests.js';
import { findOutputPlace, type Place } from './places.js';
import type { operations } from './schemas.js';

/** The end of a log that the response has, in bytes. */
const LOG_BYTES = 1024 * 1024;

type LogsRequest = RequestOf<typeof operations.getLogs>;

/** Why an execution failed, and the log of Bases2Fastq. */
export async function handleGetLogs(dependencies: ApiDependencies, request: LogsRequest) {
  const { execution_id: id } = request.params;
  const execution = isId(id) ? await findListedExecution(dependencies.db, id) : undefined;
  if (execution === undefined) throw notFoundError('execution', id);
  const place = await findPlaceOfLog(dependencies.db, execution);
  const log = place === undefined ? '' : await readLog(dependencies, request, place);
  return { error: describeFailure(execution), log };
}

function describeFailure(execution: ListedExecution): string {
  if (execution.status !== 'FAILED') return '';
  const { error } = execution;
  const failure = error === null ? undefined : explainFailure(error.type);
  return [error?.message ?? '', failure?.what ?? '', failure?.toDo ?? ''].filter((text) => text !== '').join('\n');
}

/**
 * @returns undefined also where polony may not show the files: the reason of a failure is worth showing without the
 * log
 */
async function findPlaceOfLog(db: ApiDependencies['db'], execution: ListedExecution): Promise<Place | undefined> {
  try {
    return await findOutputPlace(db, execution);
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}

async function readLog({ aws }: ApiDependencies, request: LogsRequest, { storage, bucket, root }: Place) {
  const key = `${root}info/Bases2Fastq.log`;
  try {
    const log = await aws.use(storage.provider_id, () =>
      readTail(aws.s3(storage.provider_id, storage.region), bucket, key, LOG_BYTES),
    );
    return log ?? '';
  } catch (error) {
    throw awsApiError(request, error, { action: 's3:GetObject', resource: objectArn(bucket, key, storage.region) });
  }
}
