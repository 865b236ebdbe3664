import { InputError } from '../../domain/errors.js';
import { listReadings } from '../../domain/executions/uriReadings.js';
import { EXECUTIONS_FOLDER, nameRunFolder } from '../../domain/runs/runFolder.js';
import { isInSearchedRunFolder } from '../../domain/runs/searchedFolder.js';
import { listStorageConnectionsInBucket, type StorageConnectionRow } from '../../store/connections/storage.js';
import type { DbOrTransaction, DbTransaction } from '../../store/database.js';
import { findKnownRuns, insertRuns, type KnownRun } from '../../store/runs/discovery.js';
import type { Caller } from '../plugins/auth.js';
import { maySeePath, pathBelow } from './access.js';

type NamedRunFolder = NonNullable<ReturnType<typeof nameRunFolder>>;

interface LocatedFolder {
  storage: StorageConnectionRow;
  named: NamedRunFolder;
}

/**
 * The run in a folder of S3. It is added where polony does not know it yet. Its files are shown when its folder has
 * turned out to be one of a run.
 * @param uri `s3://bucket/key` of the run folder
 * @returns the id of the run
 * @throws InputError when the folder is in no storage connection that the caller may browse, or holds output
 */
export async function registerRunFolder(transaction: DbTransaction, caller: Caller, uri: string): Promise<string> {
  const located = await locate(transaction, caller, uri);
  const known = await findKnown(transaction, located);
  if (known !== undefined) return known.id;
  const { storage, named } = located;
  const { parentPath, runFolder, instrumentName, runName } = named;
  const runs = [{ folder: runFolder, runName }];
  const isDiscovered = wouldBeDiscovered(storage, named);
  const inserted = await insertRuns(transaction, storage.id, parentPath, instrumentName, runs, isDiscovered);
  // Another request or the search for runs may have added it at the same moment.
  return (inserted.get(runFolder) ?? (await findKnown(transaction, located)))!.id;
}

/** The run in a folder of S3, if polony knows it. @throws as {@link registerRunFolder} */
export async function findRunInFolder(db: DbOrTransaction, caller: Caller, uri: string): Promise<KnownRun | undefined> {
  return findKnown(db, await locate(db, caller, uri));
}

async function findKnown(db: DbOrTransaction, { storage, named }: LocatedFolder): Promise<KnownRun | undefined> {
  return (await findKnownRuns(db, storage.id, named.parentPath, [named.runFolder])).get(named.runFolder);
}

/** The storage connection of a folder, and what its path says. With nested connections, the innermost one counts. */
async function locate(db: DbOrTransaction, caller: Caller, uri: string): Promise<LocatedFolder> {
  const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/(.+)$/.exec(uri) ?? [];
  const connections = await listStorageConnectionsInBucket(db, bucket);
  const around = connections
    .flatMap((storage) => {
      const path = pathBelow(storage, key);
      return path === undefined ? [] : [{ storage, path }];
    })
    .sort((one, other) => other.storage.prefix.length - one.storage.prefix.length);
  const isVisible = caller.access.ids('storage:download') === 'all' || maySeeEveryReading(caller, connections, uri);
  const [innermost] = around;
  const named = innermost && nameRunFolder(innermost.path);
  if (!isVisible || innermost === undefined || named === undefined)
    throw invalid(
      'NOT_IN_A_STORAGE_CONNECTION',
      'must be a folder below the prefix of a storage connection, in a part of it that this API key may browse ' +
        '(scope `storage:download`)',
    );
  if (key.split('/').includes(EXECUTIONS_FOLDER))
    throw invalid(
      'EXECUTIONS_FOLDER',
      `must not lie in ${EXECUTIONS_FOLDER}, because executions write their output there. Name the folder of a run`,
    );
  return { storage: innermost.storage, named };
}

/** polony reads the folder literally, but the workflow of an execution gets the URI, and may decode it. */
function maySeeEveryReading(caller: Caller, connections: readonly StorageConnectionRow[], uri: string): boolean {
  const maySee = (reading: string): boolean => {
    const key = reading.replace(/^s3:\/\/[^/]+\//, '');
    return connections.some((storage) => {
      const path = pathBelow(storage, key);
      return path !== undefined && maySeePath(caller, storage, path);
    });
  };
  const readings = listReadings(uri);
  return readings !== undefined && [...readings].every(maySee);
}

function invalid(rule: string, message: string): InputError {
  return new InputError([{ field: 'runFolderUri', rule, message }]);
}

/**
 * Whether the search for runs would find the folder too. Then flows start for it automatically, as for any other run.
 */
function wouldBeDiscovered(
  storage: Pick<StorageConnectionRow, 'use_for_run_upload' | 'run_depth'>,
  { parentPath, runFolder }: NamedRunFolder,
): boolean {
  const searched = { useForRunUpload: storage.use_for_run_upload, runDepth: storage.run_depth };
  return (
    parentPath.split('/').length === storage.run_depth + 1 &&
    isInSearchedRunFolder(searched, `${parentPath}/${runFolder}`)
  );
}
