import { EXECUTIONS_FOLDER, parseRunFolderName } from './runFolder.js';

/** What of a storage connection decides where polony searches for runs. */
export interface SearchedStorage {
  useForRunUpload: boolean;
  /** Number of folders between the prefix and the instruments' folders. */
  runDepth: number;
}

/**
 * Whether the search for runs finds the run folder that a path leads to, or into.
 * @param path below the prefix of the storage connection
 */
export function isInSearchedRunFolder({ useForRunUpload, runDepth }: SearchedStorage, path: string): boolean {
  const folders = path.split('/');
  const [instrument, runFolder] = folders.slice(runDepth);
  return (
    useForRunUpload &&
    folders[0] !== EXECUTIONS_FOLDER &&
    folders.slice(0, runDepth).every((folder) => folder !== '') &&
    instrument !== undefined &&
    instrument !== '' &&
    runFolder !== undefined &&
    parseRunFolderName(runFolder, instrument) !== undefined
  );
}
