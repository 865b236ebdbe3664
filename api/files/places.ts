import type { FastifyRequest } from 'fastify';
import { parseS3Uri } from '../../aws/s3.js';
import type { ScopeAction } from '../../domain/auth/scopes.js';
import { joinKey } from '../../domain/files/paths.js';
import { throwIfInvalid } from '../../domain/errors.js';
import { checkRelativePath, checkRelativePrefix, toFolderPrefix } from '../../domain/files/paths.js';
import { whyFolderIsUnverified } from '../../domain/runs/verifiedFolder.js';
import { findStorageConnection, type StorageConnectionRow } from '../../store/connections/storage.js';
import { type Db, isId } from '../../store/database.js';
import { type ListedExecution, findListedExecution } from '../../store/executions/load.js';
import { findRun } from '../../store/runs/load.js';
import { requireStorageConnection } from '../connections/storage/rules.js';
import { ApiError, notFoundError } from '../errors.js';
import { type Caller, recordDenial } from '../plugins/auth.js';

/** The folder in a bucket that a resource shows. */
export interface Place {
  storage: StorageConnectionRow;
  bucket: string;
  /** The key of the folder: with a slash at its end, or empty for the whole bucket. */
  root: string;
  /** The prefixes of the root that the caller may see. */
  allowed: 'all' | string[];
  /** Whether a prefix names a folder, so that it ends with a slash. Otherwise it is the beginning of a path. */
  hasFolderPrefixes: boolean;
  permission: ScopeAction;
}

/** @throws ApiError 404; 403 when the storage connection is not used for data exploration */
export async function findStoragePlace(db: Db, id: string, { access }: Caller): Promise<Place> {
  const storage = requireExplorable(await requireStorageConnection(db, id));
  return {
    storage,
    bucket: storage.bucket,
    root: toFolderPrefix(storage.prefix),
    allowed: access.prefixes('storage:download', storage.id),
    hasFolderPrefixes: true,
    permission: 'storage:download',
  };
}

/**
 * @throws ApiError 404; 403 when the storage connection is not used for data exploration, or when a person named the
 * folder and nothing shows that it is one of a run
 */
export async function findRunPlace(db: Db, id: string): Promise<Place> {
  const run = isId(id) ? await findRun(db, id) : undefined;
  if (run === undefined) throw notFoundError('run', id);
  const storage = await requireStorageOf(db, 'run', run.storageConnectionId);
  const why = whyFolderIsUnverified(run);
  if (why !== undefined)
    throw new ApiError(
      403,
      'RUN_NOT_VERIFIED',
      `polony cannot tell whether the folder of the run is one of a run, so it does not show its files: ${why}. ` +
        'Upload the files of the instrument, or have the folder checked again (polony runs retry, or POST …/retry)',
    );
  return {
    storage,
    bucket: storage.bucket,
    root: `${joinKey(storage.prefix, run.parentPath, run.runFolder)}/`,
    allowed: 'all',
    hasFolderPrefixes: false,
    permission: 'runs:download',
  };
}

/**
 * Where the output of an execution is.
 * @returns undefined as long as there is no output
 * @throws ApiError 404; 403 when the storage connection is not used for data exploration
 */
export async function findExecutionPlace(db: Db, id: string): Promise<Place | undefined> {
  const execution = isId(id) ? await findListedExecution(db, id) : undefined;
  if (execution === undefined) throw notFoundError('execution', id);
  return findOutputPlace(db, execution);
}

/** {@link findExecutionPlace} of an execution that is loaded. */
export async function findOutputPlace(
  db: Db,
  execution: Pick<ListedExecution, 'storage' | 'healthOmics'>,
): Promise<Place | undefined> {
  const storage = await requireStorageOf(db, 'execution', execution.storage.id);
  const runOutputUri = execution.healthOmics?.runOutputUri ?? null;
  if (runOutputUri === null) return undefined;
  const { bucket, key } = parseS3Uri(runOutputUri);
  const root = toFolderPrefix(key);
  // HealthOmics reports this URI. polony shows it only where the storage connection may show it.
  const isInside = bucket === storage.bucket && root !== '' && root.startsWith(toFolderPrefix(storage.prefix));
  if (!isInside)
    throw new ApiError(
      404,
      'OUTPUT_ELSEWHERE',
      `The output of the execution is outside the storage connection ${storage.name}, so polony cannot show it. ` +
        `HealthOmics reports ${runOutputUri}`,
    );
  return {
    storage,
    bucket,
    root,
    allowed: 'all',
    hasFolderPrefixes: false,
    permission: 'executions:download',
  };
}

async function requireStorageOf(db: Db, resource: 'run' | 'execution', id: string): Promise<StorageConnectionRow> {
  const storage = await findStorageConnection(db, id);
  if (storage === undefined)
    throw new ApiError(
      404,
      'STORAGE_CONNECTION_NOT_FOUND',
      `The storage connection of the ${resource} was deleted, so polony cannot access its files. ` +
        'Create a storage connection for the bucket again',
    );
  return requireExplorable(storage);
}

/** As in the vendor's product: where the setting is off, no file of the storage connection is displayed. */
function requireExplorable(storage: StorageConnectionRow): StorageConnectionRow {
  if (storage.use_for_data_exploration) return storage;
  throw new ApiError(
    403,
    'DATA_EXPLORATION_OFF',
    `The storage connection ${storage.name} is not used for data exploration. ` +
      'Set useForDataExploration of the storage connection to true',
  );
}

/**
 * The prefix of a request, relative to the root of the place.
 * @throws InputError when it is invalid; ApiError 403 when the caller may not see it
 */
export async function resolvePrefix(db: Db, request: FastifyRequest, place: Place, given = ''): Promise<string> {
  throwIfInvalid(checkRelativePrefix('prefix', given, place.root));
  const prefix = place.hasFolderPrefixes ? toFolderPrefix(given) : given;
  return requireAllowed(db, request, place, prefix);
}

/**
 * The path of a file in a request, relative to the root of the place.
 * @throws InputError when it is invalid; ApiError 403 when the caller may not see it
 */
export async function resolvePath(db: Db, request: FastifyRequest, place: Place, given: string): Promise<string> {
  throwIfInvalid(checkRelativePath('path', given, place.root));
  return requireAllowed(db, request, place, given);
}

/** The error of an execution without output. */
export function noOutputError(): ApiError {
  return new ApiError(
    404,
    'NO_OUTPUT_YET',
    'The execution has no output yet because its HealthOmics run has not started. Try again when it is running',
  );
}

async function requireAllowed(db: Db, request: FastifyRequest, place: Place, path: string): Promise<string> {
  const { allowed } = place;
  if (allowed === 'all' || allowed.some((each) => path.startsWith(each))) return path;
  const error = new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `This API key may only see some prefixes of the storage connection. Send one of them, or a path below it: ` +
      allowed.join(', '),
    { required_scope: place.permission, allowed_prefixes: allowed },
  );
  if (request.audited === null) await recordDenial(db, request, error);
  throw error;
}
