import type { S3Client } from '@aws-sdk/client-s3';
import { listFolders } from '../../aws/s3.js';
import { joinKey } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER, parseRunFolderName } from '../../domain/runs/runFolder.js';
import type { SearchedStorage } from '../../store/connections/storageSearch.js';

/** Run folders of one parent folder: up to 1,000, which one request has listed. */
export interface FoundFolders {
  parentPath: string;
  instrument: string;
  runs: { folder: string; runName: string }[];
}

/** What a search does with what it lists. */
export interface FolderVisitor {
  /** The folders of instruments to list; all where they are absent. */
  parents?: readonly string[];
  /** Called for each page of run folders. */
  visit: (found: FoundFolders) => Promise<void>;
  /** Called for each page of any folders. */
  onPage?: () => void;
  /** Ends the search. */
  stopping: AbortSignal;
}

/**
 * Lists the run folders of a storage connection, with one request for each 1,000 folders.
 * @returns the number of instruments with run folders
 * @throws the first error, after all folders that can be listed were searched; at once where `visitor.parents` says what
 * to list
 */
export async function walkRunFolders(s3: S3Client, storage: SearchedStorage, visitor: FolderVisitor): Promise<number> {
  const walk = new Walk(s3, storage, visitor);
  if (visitor.parents === undefined) await walk.search('', storage.run_depth);
  else for (const parent of visitor.parents) await walk.search(parent, -1);
  if (walk.errors.length > 0) throw walk.errors[0] as Error;
  return walk.instruments;
}

class Walk {
  readonly errors: unknown[] = [];
  instruments = 0;

  constructor(
    private readonly s3: S3Client,
    private readonly storage: SearchedStorage,
    private readonly visitor: FolderVisitor,
  ) {}

  /** @param levels of folders between this one and those of the instruments; -1 for the folder of an instrument. */
  async search(parentPath: string, levels: number): Promise<void> {
    let runs = 0;
    try {
      const key = joinKey(this.storage.prefix, parentPath);
      for await (const folders of listFolders(this.s3, this.storage.bucket, key === '' ? '' : `${key}/`)) {
        this.visitor.stopping.throwIfAborted();
        this.visitor.onPage?.();
        if (levels < 0) runs += await this.#visit(parentPath, folders);
        else await this.#searchBelow(parentPath, folders, levels - 1);
      }
    } catch (error) {
      const isPartial = this.visitor.parents !== undefined;
      if (parentPath === '' || isPartial || this.visitor.stopping.aborted) throw error;
      // A folder that cannot be listed must not hide the runs of the others.
      this.errors.push(error);
    }
    if (runs > 0) this.instruments++;
  }

  async #searchBelow(parentPath: string, folders: readonly string[], levels: number): Promise<void> {
    for (const folder of folders) {
      if (parentPath === '' && folder === EXECUTIONS_FOLDER) continue;
      await this.search(parentPath === '' ? folder : `${parentPath}/${folder}`, levels);
    }
  }

  /** @returns how many of the folders are run folders */
  async #visit(parentPath: string, folders: readonly string[]): Promise<number> {
    const instrument = instrumentOf(parentPath);
    const runs = folders.flatMap((folder) => {
      const name = parseRunFolderName(folder, instrument);
      return name === undefined ? [] : [{ folder, runName: name.runName }];
    });
    if (runs.length > 0) await this.visitor.visit({ parentPath, instrument, runs });
    return runs.length;
  }
}

/** The name of the instrument whose folder this is. */
export function instrumentOf(parentPath: string): string {
  return parentPath.slice(parentPath.lastIndexOf('/') + 1);
}
