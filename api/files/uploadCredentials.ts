import type { FastifyReply } from 'fastify';
import { InputError, throwIfInvalid } from '../../domain/errors.js';
import { checkRelativePrefix, isAddressable, toFolderPrefix } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER, parseRunFolderName } from '../../domain/runs/runFolder.js';
import type { StorageConnectionRow } from '../../store/connections/storage.js';
import { findKnownRuns } from '../../store/runs/discovery.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import type { Caller } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { issueCredentials } from './credentials.js';
import { requireStorageConnection } from '../connections/storage/rules.js';
import type { operations } from './schemas.js';

type UploadRequest = RequestOf<typeof operations.uploadCredentials>;

/** Issues credentials to upload one run. */
export async function handleUploadCredentials(
  dependencies: ApiDependencies,
  request: UploadRequest,
  reply: FastifyReply,
) {
  const { runFolder, expirationSeconds } = request.body;
  const storage = await requireStorageConnection(dependencies.db, request.params.id);
  if (!storage.use_for_run_upload)
    throw new ApiError(
      403,
      'RUN_UPLOAD_OFF',
      `The storage connection ${storage.name} is not used for run upload. ` +
        'Set useForRunUpload of the storage connection to true',
    );
  const parent = checkRunFolderPlace(request.body, storage);
  const folder = `${parent}/${runFolder}/`;
  checkUploadAccess(request.caller, storage, folder);
  await checkNotComplete(dependencies.db, storage, parent, runFolder);
  request.auditDetail = { runFolder };
  const credentials = await issueCredentials(dependencies, request, {
    purpose: 'upload',
    storage,
    keyPrefix: toFolderPrefix(storage.prefix) + folder,
    expirationSeconds,
  });
  void reply.code(201);
  return credentials;
}

/**
 * Checks that the search for runs will find the run folder, as instruments name and place it.
 * @returns the path of the instrument's folder below the prefix of the storage connection
 */
function checkRunFolderPlace(
  { runFolder, instrumentName, parentPath = '' }: UploadRequest['body'],
  storage: StorageConnectionRow,
): string {
  if (/[/\\*?]|\$\{|\p{Cc}|\p{Cs}/u.test(runFolder + (instrumentName ?? '')))
    throw invalid(
      'runFolder',
      'RUN_FOLDER',
      'must be the name of a folder, and so must instrumentName: without slashes, wildcards and control characters',
    );
  const named = parseRunFolderName(runFolder, instrumentName);
  // Many clients resolve `..`, and would write elsewhere.
  if (named === undefined || !isAddressable(named.instrumentName))
    throw invalid(
      'runFolder',
      'RUN_FOLDER',
      'must be named <YYYYMMDD>_<instrument>_<run name>, as instruments do, because polony finds runs by this name',
    );
  throwIfInvalid(checkRelativePrefix('parentPath', parentPath, toFolderPrefix(storage.prefix)));
  const folders = parentPath === '' ? [] : parentPath.replace(/\/$/, '').split('/');
  const isSearched =
    folders.length === storage.run_depth &&
    folders.every((name) => name !== '') &&
    [...folders, named.instrumentName][0] !== EXECUTIONS_FOLDER;
  if (!isSearched)
    throw invalid(
      'parentPath',
      'RUN_DEPTH',
      `must have ${storage.run_depth} folders, the runDepth of the storage connection, because polony searches there`,
    );
  return [...folders, named.instrumentName].join('/');
}

function invalid(field: string, rule: string, message: string): InputError {
  return new InputError([{ field, rule, message }]);
}

function checkUploadAccess({ access }: Caller, storage: StorageConnectionRow, folder: string): void {
  const allowed = access.prefixes('storage:upload', storage.id);
  if (allowed === 'all' || allowed.some((each) => folder.startsWith(each))) return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `This API key may only upload below ${allowed.join(', ')}. Choose a run folder there, or use another API key`,
    { required_scope: 'storage:upload', allowed_prefixes: allowed },
  );
}

/** Analyses may be reading a complete run, so it must not be overwritten. */
async function checkNotComplete(
  db: ApiDependencies['db'],
  storage: StorageConnectionRow,
  parent: string,
  runFolder: string,
): Promise<void> {
  const run = (await findKnownRuns(db, storage.id, parent, [runFolder])).get(runFolder);
  if (run?.uploadState !== 'complete') return;
  throw new ApiError(
    409,
    'RUN_COMPLETE',
    `The upload of the run ${run.runName} (${run.id}) is complete. Analyses may be reading it, so it cannot be ` +
      'overwritten. Upload to another run folder',
    { field: 'runFolder', runId: run.id },
  );
}
