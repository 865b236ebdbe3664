import type { S3Client } from '@aws-sdk/client-s3';
import { hasObjects, listFolder } from '../../../aws/s3.js';
import { isId } from '../../../store/database.js';
import { joinKey, storageUri } from '../../../domain/files/paths.js';
import { bucketArn } from '../../../domain/iam/permissions.js';
import { partitionOf } from '../../../domain/regions.js';
import {
  explainIgnored,
  type IgnoredBecause,
  isFoundAsRun,
  RUN_FILES,
  runFolderLevel,
} from '../../../domain/runs/ignoredFolders.js';
import { EXECUTIONS_FOLDER } from '../../../domain/runs/runFolder.js';
import type { StorageConnectionRow } from '../../../store/connections/storage.js';
import { awsApiError } from '../../aws.js';
import type { ApiDependencies } from '../../dependencies.js';
import { invalidPageTokenError, openPageToken, sealPageToken } from '../../files/pageTokens.js';
import type { RequestOf } from '../../requests.js';
import { requireUsedForRunUpload } from './discovery.js';
import { requireStorageConnection } from './rules.js';
import type { operations } from './schemas.js';

const DEFAULT_PAGE_SIZE = 100;
const MOST_PAGE_SIZE = 1000;
/** Requests to S3, and milliseconds, after which a page ends, whatever it has found. */
const MOST_REQUESTS = 50;
const MOST_MS = 5_000;
/** Run folders at this many levels below those that are searched are noticed too. */
const LEVELS_BELOW = 1;

/**
 * Lists the folders that look like runs and that the search for runs ignores. It lists the bucket now, with a limited
 * number of requests for each page, so that a page may be empty although more follow.
 */
export async function listIgnoredFolders(
  { db, aws }: ApiDependencies,
  request: RequestOf<typeof operations.listIgnored>,
) {
  const storage = await requireStorageConnection(db, request.params.id);
  requireUsedForRunUpload(storage);
  const { provider_id: providerId, region, bucket } = storage;
  const listing = `ignored-folders/${storage.id}/${storage.run_depth}`;
  const start = parsePosition(openPageToken(listing, request.query.pageToken));
  const size = Math.min(request.query.pageSize ?? DEFAULT_PAGE_SIZE, MOST_PAGE_SIZE);
  const allowed = request.caller.access.prefixes('storage:read', storage.id);
  const search = new IgnoredFolderSearch(aws.s3(providerId, region), storage, allowed, size);
  try {
    await aws.use(providerId, () => search.searchFrom(start));
  } catch (error) {
    throw awsApiError(request, error, {
      action: 's3:ListBucket',
      resource: bucketArn(bucket, partitionOf(region)),
    });
  }
  return {
    ignoredFolders: search.found.map(({ path, reason, message }) => ({
      folder: path.join('/'),
      uri: storageUri(bucket, storage.prefix, ...path),
      reason,
      message,
    })),
    nextPageToken: search.next === undefined ? '' : sealPageToken(listing, JSON.stringify(search.next)),
  };
}

/** The folder at which a page begins, as a path below the prefix. */
function parsePosition(token: string | undefined): string[] {
  if (token === undefined) return [];
  try {
    const path = JSON.parse(token) as unknown;
    if (Array.isArray(path) && path.length > 0 && path.every((each) => typeof each === 'string' && each !== ''))
      return path as string[];
  } catch {
    // Somebody made up the token.
  }
  throw invalidPageTokenError();
}

/** Searches folders in the order of S3 until a page is full or has cost enough. */
class IgnoredFolderSearch {
  readonly found: (IgnoredBecause & { path: string[] })[] = [];
  /** The folder at which the next page begins; undefined at the end. */
  next: string[] | undefined;
  readonly #deepest: number;
  readonly #deadline = Date.now() + MOST_MS;
  #requests = 0;
  #visits = 0;

  /** @param allowed folders that the caller may see, below the prefix, with a slash at the end */
  constructor(
    private readonly s3: S3Client,
    private readonly storage: StorageConnectionRow,
    private readonly allowed: 'all' | readonly string[],
    private readonly size: number,
  ) {
    this.#deepest = runFolderLevel(storage.run_depth) + LEVELS_BELOW;
  }

  /** @param start the first folder of the page; empty for all folders */
  async searchFrom(start: readonly string[]): Promise<void> {
    await this.#searchBelow([], start);
  }

  /**
   * Visits the folders below a folder.
   * @param start where to begin, as a path below the folder; empty for all folders
   * @returns whether there is room for more.
   */
  async #searchBelow(parent: readonly string[], start: readonly string[]): Promise<boolean> {
    const [first, ...below] = start;
    if (first !== undefined && below.length > 0 && !(await this.#searchBelow([...parent, first], below))) return false;
    // S3 lists keys after this one. "0" is the character after "/", so that the folder itself is left out.
    const after = first === undefined || below.length === 0 ? first : `${first}0`;
    for await (const { folders } of this.#list(parent, after))
      for (const folder of folders) if (!(await this.#visit([...parent, folder]))) return false;
    return true;
  }

  /** Looks at a folder and the folders below it. @returns whether there is room for more. */
  async #visit(path: string[]): Promise<boolean> {
    if (this.#isFull()) {
      this.next = path;
      return false;
    }
    this.#visits++;
    if (isFoundAsRun(path, this.storage.run_depth) || isOutputOfExecution(path)) return true;
    // The name may suffice, which costs no request.
    if (this.#report(path, false) || path.length > this.#deepest) return true;
    let isFirst = true;
    for await (const { folders, files } of this.#list(path)) {
      if (isFirst && files.some((file) => RUN_FILES.includes(file)) && this.#report(path, true)) return true;
      isFirst = false;
      for (const folder of folders) if (!(await this.#visit([...path, folder]))) return false;
    }
    return true;
  }

  /** Remembers a folder if it looks like a run. @returns whether it does. */
  #report(path: string[], hasRunFiles: boolean): boolean {
    const because = explainIgnored(path, this.storage.run_depth, hasRunFiles);
    if (because !== undefined && this.#isVisible(path)) this.found.push({ path, ...because });
    return because !== undefined;
  }

  async *#list(path: readonly string[], after?: string): AsyncGenerator<{ folders: string[]; files: string[] }> {
    if (!this.#isVisible(path)) {
      yield* this.#listOnWay(path, after);
      return;
    }
    const key = joinKey(this.storage.prefix, ...path);
    const prefix = key === '' ? '' : `${key}/`;
    for await (const page of listFolder(this.s3, this.storage.bucket, prefix, after && `${prefix}${after}`)) {
      this.#requests++;
      yield page;
    }
  }

  /**
   * Of a folder that the caller may not see, the folders that lead to those that it may see, in the order of S3. polony
   * does not list the others: the token of the next page would tell their names.
   */
  async *#listOnWay(path: readonly string[], after = ''): AsyncGenerator<{ folders: string[]; files: string[] }> {
    const parent = toFolder(path);
    const allowed = this.allowed === 'all' ? [] : this.allowed;
    const names = allowed
      .filter((each) => each.startsWith(parent))
      .map((each) => each.slice(parent.length).split('/')[0]!);
    const ordered = [...new Set(names)].sort((one, other) => compareKeys(`${one}/`, `${other}/`));
    for (const name of ordered) {
      if (compareKeys(`${name}/`, after) <= 0) continue;
      if (allowed.includes(`${parent}${name}/`) && !(await this.#exists([...path, name]))) continue;
      yield { folders: [name], files: [] };
    }
  }

  #exists(path: readonly string[]): Promise<boolean> {
    this.#requests++;
    return hasObjects(this.s3, this.storage.bucket, `${joinKey(this.storage.prefix, ...path)}/`);
  }

  /** Each page visits a folder at least, so that the pages come to an end. */
  #isFull(): boolean {
    if (this.found.length >= this.size) return true;
    return this.#visits > 0 && (this.#requests > MOST_REQUESTS || Date.now() > this.#deadline);
  }

  #isVisible(path: readonly string[]): boolean {
    return this.allowed === 'all' || this.allowed.some((each) => toFolder(path).startsWith(each));
  }
}

/** A path as scopes spell it: with a slash at its end, or empty for the prefix itself. */
function toFolder(path: readonly string[]): string {
  return path.map((name) => `${name}/`).join('');
}

/** The order of S3, which lists keys by their bytes in UTF-8. */
function compareKeys(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

/** Where polony itself keeps small files of many executions. */
const OWN_FOLDERS: readonly string[] = ['records', 'started'];

function isOutputOfExecution(path: readonly string[]): boolean {
  return path.length === 2 && path[0] === EXECUTIONS_FOLDER && (isId(path[1]!) || OWN_FOLDERS.includes(path[1]!));
}
