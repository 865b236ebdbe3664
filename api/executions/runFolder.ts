import { InputError } from '../../domain/errors.js';
import { EXECUTIONS_FOLDER, nameRunFolder, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { listStorageConnectionsInBucket, type StorageConnectionRow } from '../../store/connections/storage.js';
import type { DbTransaction } from '../../store/database.js';
import { findKnownRuns, insertRuns } from '../../store/runs/discovery.js';

type NamedRunFolder = NonNullable<ReturnType<typeof nameRunFolder>>;

/**
 * The run in a folder of S3. It is added where polony does not know it yet.
 * @param uri `s3://bucket/key` of the run folder
 * @returns the id of the run
 * @throws InputError when the folder is in no storage connection
 */
export async function registerRunFolder(transaction: DbTransaction, uri: string): Promise<string> {
  const { storage, named } = await locate(transaction, uri);
  const { parentPath, runFolder, instrumentName, runName } = named;
  const find = async () => (await findKnownRuns(transaction, storage.id, parentPath, [runFolder])).get(runFolder);
  const known = await find();
  if (known !== undefined) return known.id;
  const runs = [{ folder: runFolder, runName }];
  const isDiscovered = wouldBeDiscovered(storage, named);
  const inserted = await insertRuns(transaction, storage.id, parentPath, instrumentName, runs, isDiscovered);
  // Another request or the search for runs may have added it at the same moment.
  return (inserted.get(runFolder) ?? (await find()))!.id;
}

/** The storage connection of a folder, and what its path says. With nested connections, the innermost one counts. */
async function locate(
  transaction: DbTransaction,
  uri: string,
): Promise<{ storage: StorageConnectionRow; named: NamedRunFolder }> {
  const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/(.+)$/.exec(uri) ?? [];
  const [storage] = (await listStorageConnectionsInBucket(transaction, bucket))
    .filter(({ prefix }) => prefix === '' || key.startsWith(`${prefix}/`))
    .sort((one, other) => other.prefix.length - one.prefix.length);
  const named = storage && nameRunFolder(storage.prefix === '' ? key : key.slice(storage.prefix.length + 1));
  if (storage === undefined || named === undefined)
    throw new InputError([
      {
        field: 'runFolderUri',
        rule: 'NOT_IN_A_STORAGE_CONNECTION',
        message: 'must be a folder below the prefix of a storage connection',
      },
    ]);
  return { storage, named };
}

/**
 * Whether the search for runs would find the folder too. Then flows start for it automatically, as for any other run.
 */
function wouldBeDiscovered(
  storage: Pick<StorageConnectionRow, 'use_for_run_upload' | 'run_depth'>,
  { parentPath, runFolder, instrumentName }: NamedRunFolder,
): boolean {
  const folders = parentPath.split('/');
  return (
    storage.use_for_run_upload &&
    folders.length === storage.run_depth + 1 &&
    folders[0] !== EXECUTIONS_FOLDER &&
    folders.at(-1) === instrumentName &&
    parseRunFolderName(runFolder, instrumentName) !== undefined
  );
}
