import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { classifyAwsError } from '../../aws/errors.js';
import { listObjects, readText } from '../../aws/s3.js';
import {
  type EndRecord,
  type ExecutionRecord,
  parseEndRecord,
  parseMembers,
  parseRunRecord,
  parseStartRecord,
  type RecordedOrigin,
  type RunRecord,
  type StartRecord,
} from '../../domain/executions/record.js';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { isOwnId } from '../../store/database.js';
import { SecretError, type SealedSecret, type Secrets } from '../../store/secrets.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import type { KnownRun } from '../../store/executions/recover.js';
import { toOrigin } from '../../temporal/executions.js';
import { withAwsErrors } from './awsCalls.js';
import { type StepDependencies, viaStorageProvider } from './context.js';

/** The largest record, in bytes. A request of StartRun has at most 50 KB of parameters (HealthOmics quotas). */
const RECORD_BYTES = 512 * 1024;
/** How long the end of an execution waits for its record, which is worth nothing compared with the end itself. */
const END_MS = 15_000;

/** The part of a storage connection that says where its records are. */
interface Place {
  bucket: string;
  prefix: string;
}

const recordsPrefix = ({ prefix }: Place): string => `${joinKey(prefix, EXECUTIONS_FOLDER, 'records')}/`;
const recordKey = (place: Place, executionId: string, file: string): string =>
  `${recordsPrefix(place)}${executionId}/${file}`;
const startFile = (attempt: number): string => `${attempt}-start.json`;
const runFile = (attempt: number): string => `${attempt}-run.json`;
const END_FILE = 'end.json';

/** What an earlier StartRun of the same attempt left in the bucket. The database does not know of it. */
export interface EarlierStart {
  start: StartRecord;
  run: RunRecord | undefined;
}

/**
 * Records in the bucket that StartRun is about to be sent. The write succeeds once for each attempt of an execution (S3
 * User Guide, "Conditional writes"), also after the database forgot an earlier one. Without the permission to write, or
 * with a store that knows no conditional writes, the request id of StartRun is the only protection.
 * @param request that is about to be sent
 * @returns what an earlier StartRun of this attempt recorded that AWS may have carried out; undefined where there was
 * none. A record that cannot be read stays as it is.
 */
export async function recordStart(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  request: object,
): Promise<EarlierStart | 'unreadable' | undefined> {
  const { id, attempt, storage, storageProviderId } = execution;
  const s3 = dependencies.aws.s3(storageProviderId, storage.region);
  const key = recordKey(storage, id, startFile(attempt));
  const call = { action: 's3:PutObject', resource: objectArn(storage.bucket, key, storage.region) };
  const record = describeStart(execution, request);
  const text = await sealRecord(dependencies, storage.bucket, id, startFile(attempt), record);
  if (text === undefined) return undefined;
  return withAwsErrors(dependencies, asReader(execution), call, async () => {
    if (await putOnce(s3, storage.bucket, key, text)) return undefined;
    const earlier = await readEarlierStart(dependencies, s3, execution).catch(unreadableOrThrow);
    if (earlier === undefined) await put(s3, storage.bucket, key, text);
    return earlier;
  });
}

/**
 * What an earlier StartRun of this attempt recorded that AWS may have carried out; undefined where there was none, or
 * the bucket denies it.
 * @throws SecretError where the record cannot be decrypted, as an ApplicationFailure that blocks
 */
export async function findRecordedStart(
  dependencies: StepDependencies,
  execution: ExecutionContext,
): Promise<EarlierStart | undefined> {
  return readOrBlock(dependencies, execution, startFile(execution.attempt), (s3) =>
    readEarlierStart(dependencies, s3, execution),
  );
}

/** As {@link findRecordedStart}, but it blocks nothing. */
export async function peekRecordedStart(
  dependencies: StepDependencies,
  execution: ExecutionContext,
): Promise<EarlierStart | 'unreadable' | undefined> {
  const { storage, storageProviderId } = execution;
  const { aws } = dependencies;
  const s3 = aws.s3(storageProviderId, storage.region);
  return aws
    .use(storageProviderId, () => readEarlierStart(dependencies, s3, execution))
    .catch(() => 'unreadable' as const);
}

/**
 * What the bucket says about the end of an execution; undefined where it says nothing, or denies it.
 * @throws SecretError where the record cannot be decrypted, as an ApplicationFailure that blocks
 */
export async function findRecordedEnd(
  dependencies: StepDependencies,
  execution: ExecutionContext,
): Promise<EndRecord | undefined> {
  const { id, storage } = execution;
  return readOrBlock(dependencies, execution, END_FILE, (s3) =>
    readSealed(dependencies.secrets, s3, storage, id, END_FILE, parseEndRecord),
  );
}

/** Reads a record; undefined where the bucket denies it. An error is about the file. */
async function readOrBlock<T>(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  file: string,
  read: (s3: S3Client) => Promise<T | undefined>,
): Promise<T | undefined> {
  const { id, storage, storageProviderId } = execution;
  const s3 = dependencies.aws.s3(storageProviderId, storage.region);
  const resource = objectArn(storage.bucket, recordKey(storage, id, file), storage.region);
  const call = { action: 's3:GetObject', resource };
  return withAwsErrors(dependencies, asReader(execution), call, () => read(s3).catch(undefinedIfDenied));
}

function undefinedIfDenied(error: unknown): undefined {
  if (error instanceof SecretError || classifyAwsError(error).kind !== 'denied') throw error;
}

function unreadableOrThrow(error: unknown): 'unreadable' {
  if (error instanceof SecretError || classifyAwsError(error).kind === 'denied') return 'unreadable';
  throw error;
}

/** What blocks the execution stays visible: a record that was written says nothing about StartRun. */
const asReader = (execution: ExecutionContext): ExecutionContext => ({
  ...viaStorageProvider(execution),
  blocked: null,
});

async function readEarlierStart(
  { secrets }: StepDependencies,
  s3: S3Client,
  execution: ExecutionContext,
): Promise<EarlierStart | undefined> {
  const { id, attempt, storage } = execution;
  const read = <T>(file: string, parse: (text: string) => T | undefined): Promise<T | undefined> =>
    readSealed(secrets, s3, storage, id, file, parse);
  const start = await read(startFile(attempt), parseStartRecord);
  if (start?.executionId !== id || start.attempt !== attempt || start.refused === true) return undefined;
  const run = await read(runFile(attempt), parseRunRecord);
  return { start, run: isRunOf(execution, run) ? run : undefined };
}

/** Records that AWS refused StartRun for certain, so that a changed request can follow. Never throws. */
export async function recordStartRefused(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  request: object,
): Promise<void> {
  const record = { ...describeStart(execution, request), refused: true };
  await write(dependencies, execution, startFile(execution.attempt), record);
}

/** Records the HealthOmics run that StartRun answered with. Never throws: StartRun can be repeated without it. */
export async function recordRunInBucket(
  dependencies: StepDependencies,
  execution: ExecutionContext,
  run: KnownRun,
): Promise<void> {
  const { id: executionId, attempt } = execution;
  const record: RunRecord = { ...run, executionId, attempt, time: new Date().toISOString() };
  await write(dependencies, execution, runFile(attempt), record);
}

/** Records how an execution ended, as the database has it. Never throws, and takes {@link END_MS} at most. */
export async function recordEndInBucket(dependencies: StepDependencies, executionId: string): Promise<void> {
  const execution = await findExecution(dependencies.db, executionId).catch(() => undefined);
  if (execution === undefined) return;
  const { status, statusDescription, error, timeCompleted } = execution;
  if (status !== 'COMPLETED' && status !== 'FAILED' && status !== 'CANCELED') return;
  const record: EndRecord = {
    executionId,
    ...describeOrigin(execution),
    status,
    description: error?.message ?? statusDescription,
    errorType: error?.type ?? null,
    time: (timeCompleted ?? new Date()).toISOString(),
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, END_MS)));
  await Promise.race([write(dependencies, execution, END_FILE, record), late]);
  clearTimeout(timer);
}

/** The ids of the executions that have a record, page by page. */
export async function* listRecords(s3: S3Client, place: Place): AsyncGenerator<string[]> {
  const prefix = recordsPrefix(place);
  for await (const page of listObjects(s3, place.bucket, prefix)) {
    const ids = page.map(({ key }) => key.slice(prefix.length).split('/')[0]!).filter(isOwnId);
    yield [...new Set(ids)];
  }
}

/** What a bucket says about an execution. */
export interface ReadRecord {
  /** Absent where it says nothing. */
  record?: ExecutionRecord;
  /** Why something that it says cannot be read. */
  unreadable?: string;
}

/**
 * Everything that the bucket says about an execution.
 * @param secrets with the keys that sealed the records
 * @throws errors of S3, where its files cannot be listed
 */
export async function readExecutionRecord(
  secrets: Secrets | undefined,
  s3: S3Client,
  place: Place,
  executionId: string,
): Promise<ReadRecord> {
  const prefix = recordKey(place, executionId, '');
  const record: ExecutionRecord = { starts: [], runs: [], end: undefined };
  let unreadable: string | undefined;
  for await (const page of listObjects(s3, place.bucket, prefix))
    for (const { key } of page)
      await addTo(record, secrets, s3, place, executionId, key.slice(prefix.length)).catch((error: unknown) => {
        unreadable = error instanceof SecretError ? error.message : classifyAwsError(error).message;
      });
  record.starts.sort((one, other) => one.attempt - other.attempt);
  record.runs.sort((one, other) => one.attempt - other.attempt);
  const isEmpty = record.starts.length === 0 && record.end === undefined;
  return { ...(!isEmpty && { record }), ...(unreadable !== undefined && { unreadable }) };
}

/** Adds what one file says to the record of an execution. */
async function addTo(
  record: ExecutionRecord,
  secrets: Secrets | undefined,
  s3: S3Client,
  place: Place,
  executionId: string,
  file: string,
): Promise<void> {
  const read = async <T extends { executionId: string }>(parse: (text: string) => T | undefined) => {
    const found = await readSealed(secrets, s3, place, executionId, file, parse);
    return found?.executionId === executionId ? found : undefined;
  };
  if (file === END_FILE) record.end = await read(parseEndRecord);
  else if (/^\d{1,4}-start\.json$/.test(file)) {
    const start = await read(parseStartRecord);
    if (start !== undefined && file === startFile(start.attempt)) record.starts.push(start);
  } else if (/^\d{1,4}-run\.json$/.test(file)) {
    const run = await read(parseRunRecord);
    if (run !== undefined && file === runFile(run.attempt)) record.runs.push(run);
  }
}

function describeOrigin(execution: ExecutionContext): RecordedOrigin {
  const { flow, compute } = execution;
  return {
    origin: toOrigin(execution),
    flow: { name: flow.name, sharedWorkflowId: flow.sharedWorkflowId, workflowOwnerId: flow.workflowOwnerId },
    compute: { region: compute.region, executionRoleArn: compute.executionRoleArn },
  };
}

function describeStart(execution: ExecutionContext, request: object): StartRecord {
  const { id, attempt } = execution;
  return {
    executionId: id,
    attempt,
    ...describeOrigin(execution),
    request: { ...request },
    time: new Date().toISOString(),
  };
}

/** HealthOmics writes the results of a run below the output URI of its execution. */
function isRunOf({ id, outputUri }: ExecutionContext, run: RunRecord | undefined): boolean {
  return run?.executionId === id && run.runOutputUri.startsWith(outputUri.replace(/\/?$/, '/'));
}

/** @returns whether the object did not exist. Counts as written where it may not be written. */
async function putOnce(s3: S3Client, bucket: string, key: string, text: string): Promise<boolean> {
  try {
    await put(s3, bucket, key, text, '*');
    return true;
  } catch (error) {
    const { code, kind, httpStatus } = classifyAwsError(error);
    if (httpStatus === 412 || code === 'PreconditionFailed') return false;
    if (kind === 'denied' || httpStatus === 501) return true;
    throw error;
  }
}

async function put(s3: S3Client, bucket: string, key: string, text: string, ifNoneMatch?: '*'): Promise<void> {
  await s3.send(
    new PutObjectCommand({
      Bucket: bucket,
      Key: key,
      Body: text,
      ContentType: 'application/json',
      IfNoneMatch: ifNoneMatch,
    }),
  );
}

/** What a sealed record belongs to. Copied to another execution, attempt or bucket, it does not open. */
const contextOf = (bucket: string, executionId: string, file: string): string =>
  `record/${bucket}/${executionId}/${file}`;

/**
 * Encrypts a record with the first key of POLONY_ENCRYPTION_KEYS. Others may write to the bucket: a record that they
 * could forge would let them choose which HealthOmics run polony shows, cancels or starts.
 * @returns undefined where no key is configured, or AWS KMS does not answer: then there is no record
 */
async function sealRecord(
  { secrets }: StepDependencies,
  bucket: string,
  executionId: string,
  file: string,
  record: object,
): Promise<string | undefined> {
  if (secrets?.currentKeyId === undefined) return undefined;
  const sealed = await secrets
    .seal(JSON.stringify(record), contextOf(bucket, executionId, file))
    .catch(() => undefined);
  return sealed && JSON.stringify(sealed);
}

/**
 * Reads one record; undefined where there is none, or what is there was never sealed.
 * @throws SecretError where its key is not configured, or it was moved or changed; errors of S3
 */
async function readSealed<T>(
  secrets: Secrets | undefined,
  s3: S3Client,
  place: Place,
  executionId: string,
  file: string,
  parse: (text: string) => T | undefined,
): Promise<T | undefined> {
  const text = await readText(s3, place.bucket, recordKey(place, executionId, file), RECORD_BYTES).catch(
    (error: unknown) => {
      // polony writes none that is so large.
      if (error instanceof RangeError) return undefined;
      throw error;
    },
  );
  const { keyId, sealed } = (parseMembers(text ?? '') ?? {}) as Partial<SealedSecret>;
  if (typeof keyId !== 'string' || typeof sealed !== 'string') return undefined;
  if (secrets === undefined) throw new SecretError('No encryption key is configured. Set POLONY_ENCRYPTION_KEYS.');
  const context = contextOf(place.bucket, executionId, file);
  const opened = await secrets.open({ keyId, sealed }, context).catch((error: unknown) => {
    if (!(error instanceof SecretError) || error.cause === undefined) throw error;
    throw new SecretError(
      `The record ${file} cannot be decrypted with the key ${keyId}: AWS KMS refuses or does not answer, ` +
        'POLONY_ENCRYPTION_KEYS gives this id to another key, or somebody changed the record.',
      { cause: error.cause },
    );
  });
  return parse(opened);
}

/** Writes a record that only helps a restore. An error must not stop the execution. */
async function write(
  dependencies: StepDependencies,
  { id, storage, storageProviderId }: ExecutionContext,
  file: string,
  record: object,
): Promise<void> {
  const { aws } = dependencies;
  const text = await sealRecord(dependencies, storage.bucket, id, file, record);
  if (text === undefined) return;
  const s3 = aws.s3(storageProviderId, storage.region);
  await aws
    .use(storageProviderId, () => put(s3, storage.bucket, recordKey(storage, id, file), text))
    .catch(() => undefined);
}
