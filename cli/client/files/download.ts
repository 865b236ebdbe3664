import { mkdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import pRetry from 'p-retry';
import { type PolonyClient, polonyClient } from '../../../client/index.js';
import { CliError, EXIT } from '../exit.js';
import { cell } from '../output.js';
import type { Profile } from '../profiles.js';
import { expectData } from '../requests.js';
import {
  FileDownload,
  FileError,
  isDownloaded,
  localPathFor,
  makeFolders,
  OldParts,
  type RemoteFile,
} from './downloadFile.js';
import type { TransferProgress } from './progress.js';
import { acquireLock, retryWhileUnavailable } from './resume.js';

/** What to download. */
export interface DownloadSource {
  kind: 'storage' | 'run' | 'execution';
  id: string;
  /** Relative to the resource. */
  prefix?: string;
}

export interface DownloadOptions {
  /** Target folder. Nothing is ever written outside it. */
  to: string;
  /** Largest number of files in transfer at once. */
  concurrency: number;
  onProgress?: (progress: TransferProgress) => void;
  signal?: AbortSignal;
}

export interface DownloadReport {
  files: number;
  bytes: number;
  /** Files that were already complete in the target folder. */
  skipped: number;
  failed: { path: string; reason: string }[];
}

interface FilesQuery {
  prefix?: string;
  pageToken?: string;
  pageSize: number;
  includeDownloadUrl: true;
  includeDownloadChecksum: true;
  downloadUrlExpirationSeconds: number;
}
interface FilesPage {
  files: RemoteFile[];
  /** Empty on the last page. */
  nextPageToken: string;
}

/** Files of a page: their URLs must last until the last of them has started. */
const PAGE_SIZE = 100;
/** Requested lifetime of URLs in seconds. A URL expires at the latest with the session that signed it. */
const URL_SECONDS = 43_200;
/** Most failures that the report lists. */
const MAX_LISTED_FAILURES = 1000;
/** Waits before another try, in milliseconds. */
const RETRY_WAIT_MS = { first: 400, most: 10_000 };

const LISTS = {
  storage: (client: PolonyClient, id: string, query: FilesQuery) =>
    client.GET('/v1/storage-connections/{storage_connection_id}/files', {
      params: { path: { storage_connection_id: id }, query },
    }),
  run: (client: PolonyClient, id: string, query: FilesQuery) =>
    client.GET('/v1/runs/{run_id}/files', { params: { path: { run_id: id }, query } }),
  execution: (client: PolonyClient, id: string, query: FilesQuery) =>
    client.GET('/v1/executions/{execution_id}/files', { params: { path: { execution_id: id }, query } }),
} as const;

/** Errors of a file system that concern one file: a name it does not take, a folder where a file should be. */
const FILE_SYSTEM_ERRORS = ['ENAMETOOLONG', 'EISDIR', 'ENOTDIR', 'EEXIST', 'EINVAL', 'EILSEQ', 'EACCES', 'EPERM'];

function isErrorOfOneFile(error: unknown): boolean {
  return error instanceof FileError || FILE_SYSTEM_ERRORS.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** A page of the listing, which can be renewed: its download URLs expire. */
class Page {
  #listedAt = Date.now();
  #renewal: Promise<void> | undefined;

  constructor(
    private content: FilesPage,
    private readonly list: () => Promise<FilesPage>,
  ) {}

  get files(): readonly RemoteFile[] {
    return this.content.files;
  }
  get nextPageToken(): string {
    return this.content.nextPageToken;
  }
  /** When the URLs of this page were signed, in milliseconds since 1970. */
  get listedAt(): number {
    return this.#listedAt;
  }

  /**
   * Lists the page again for new URLs; once for all files that ask.
   * @param since the `listedAt` that a file has used
   */
  async renew(since: number): Promise<void> {
    if (since !== this.#listedAt) return;
    this.#renewal ??= this.list().then((content) => {
      this.content = content;
      this.#listedAt = Date.now();
      this.#renewal = undefined;
    });
    await this.#renewal;
  }
}

/** Downloads all files of a source, page by page. */
class Downloader {
  readonly #client: PolonyClient;
  readonly #report: DownloadReport = { files: 0, bytes: 0, skipped: 0, failed: [] };
  readonly #progress: TransferProgress = { bytes: 0, totalBytes: 0, files: 0, totalFiles: 0 };
  readonly #oldParts = new OldParts();
  #failures = 0;
  /** The first failure that concerns more than one file: it keeps files that wait from starting. */
  #stopped: { error: unknown } | undefined;

  constructor(
    private readonly api: Profile,
    private readonly source: DownloadSource,
    private readonly options: DownloadOptions,
  ) {
    this.#client = polonyClient(api);
  }

  async run(): Promise<DownloadReport> {
    const files = this.#files();
    const downloadFiles = async (): Promise<void> => {
      try {
        for await (const { file, page } of files) {
          if (this.#stopped !== undefined) return;
          await this.#downloadAndRecord(file, page);
        }
      } catch (error) {
        this.#stopped ??= { error };
      }
    };
    await Promise.all(Array.from({ length: this.options.concurrency }, downloadFiles));
    if (this.#stopped !== undefined) throw this.#stopped.error;
    const unlisted = this.#failures - this.#report.failed.length;
    if (unlisted > 0) this.#report.failed.push({ path: '', reason: `and ${unlisted} more` });
    return this.#report;
  }

  async #openPage(pageToken: string | undefined): Promise<Page> {
    const list = (): Promise<FilesPage> => this.#list(pageToken);
    const retryList = (): Promise<FilesPage> => retryWhileUnavailable(list, this.options.signal);
    // An API that is unavailable at the start is reported at once.
    return new Page(await (pageToken === undefined ? list() : retryList()), retryList);
  }

  #list(pageToken: string | undefined): Promise<FilesPage> {
    const { kind, id, prefix } = this.source;
    const query: FilesQuery = {
      pageSize: PAGE_SIZE,
      includeDownloadUrl: true,
      includeDownloadChecksum: true,
      downloadUrlExpirationSeconds: URL_SECONDS,
      ...(prefix !== undefined && { prefix }),
      ...(pageToken !== undefined && { pageToken }),
    };
    return expectData<FilesPage>(this.api, LISTS[kind](this.#client, id, query));
  }

  /** The files of the source, one at a time. The next page is listed while the files of one are downloaded. */
  async *#files(): AsyncGenerator<{ file: RemoteFile; page: Page }> {
    let next: Promise<Page> | undefined = this.#openPage(undefined);
    while (next !== undefined) {
      const page: Page = await next;
      this.options.signal?.throwIfAborted();
      next = page.nextPageToken === '' ? undefined : this.#openPage(page.nextPageToken);
      // It is awaited above. A failure must not count as unhandled until then.
      next?.catch(() => undefined);
      // Renewing the page replaces its files; these stay the ones to download.
      const files = [...page.files];
      this.#progress.totalFiles += files.length;
      this.#progress.totalBytes += files.reduce((sum, { size }) => sum + Number(size), 0);
      this.#reportProgress();
      for (const file of files) yield { file, page };
    }
  }

  async #downloadAndRecord(file: RemoteFile, page: Page): Promise<void> {
    try {
      await this.#downloadFile(file, page);
    } catch (error) {
      if (!isErrorOfOneFile(error)) {
        this.#stopped ??= { error };
        return;
      }
      this.#failures++;
      if (this.#report.failed.length < MAX_LISTED_FAILURES)
        this.#report.failed.push({ path: file.path, reason: cell((error as Error).message) });
    }
    this.#progress.files++;
    this.#reportProgress();
  }

  async #downloadFile(file: RemoteFile, page: Page): Promise<void> {
    const target = localPathFor(this.options.to, file.path);
    if (file.downloadUrl === undefined) throw new FileError(whyWithoutUrl(file));
    await makeFolders(this.options.to, target);
    if (await isDownloaded(target, file)) {
      this.#report.skipped++;
      this.#progress.bytes += Number(file.size);
      return;
    }
    await this.#fetchWithRetries(file, target, page);
    await this.#oldParts.remove(target);
    this.#report.files++;
    this.#report.bytes += Number(file.size);
  }

  async #fetchWithRetries(file: RemoteFile, target: string, page: Page): Promise<void> {
    const count = (bytes: number): void => {
      this.#progress.bytes += bytes;
      this.#reportProgress();
    };
    const download = new FileDownload(file, target, this.options.signal, count);
    let url = file.downloadUrl!;
    let listedAt = page.listedAt;
    await pRetry(
      async (attempt) => {
        if (attempt > 1) {
          await page.renew(listedAt);
          url = newUrlOf(file, page);
        }
        listedAt = page.listedAt;
        await download.run(url);
      },
      {
        retries: 10,
        minTimeout: RETRY_WAIT_MS.first,
        maxTimeout: RETRY_WAIT_MS.most,
        factor: 2,
        shouldRetry: ({ error, attemptNumber }) => error instanceof FileError && attemptNumber <= error.retries,
      },
    );
  }

  #reportProgress(): void {
    this.options.onProgress?.({ ...this.#progress });
  }
}

function whyWithoutUrl({ storageClass }: RemoteFile): string {
  return /GLACIER|ARCHIVE/.test(storageClass ?? '')
    ? `it is archived (${storageClass}); restore it first`
    : 'it has no download URL; use polony credentials and the AWS CLI to read it';
}

/** The URL of a file on a renewed page. @throws FileError when the object is another one now */
function newUrlOf(file: RemoteFile, page: Page): string {
  const renewed = page.files.find(({ path }) => path === file.path);
  if (renewed?.downloadUrl === undefined || renewed.size !== file.size || renewed.lastModified !== file.lastModified)
    throw new FileError('the object changed during the download; run the command again');
  return renewed.downloadUrl;
}

/**
 * Makes a folder and those above it. `recursive` of Node.js tries for ever on file systems where a folder that is there
 * takes no other one, such as `/proc`.
 */
async function makeTarget(folder: string): Promise<void> {
  const make = (): Promise<void> =>
    mkdir(folder).catch(async (error: Error) => {
      const found = await stat(folder).catch(() => undefined);
      if (found?.isDirectory() !== true) throw error;
    });
  await make().catch(async (error: NodeJS.ErrnoException) => {
    const above = path.dirname(folder);
    if (error.code !== 'ENOENT' || above === folder) throw error;
    await makeTarget(above);
    await make();
  });
}

/**
 * Downloads all files below a prefix, several at once, page by page. Complete files are skipped and interrupted ones
 * resume. A file gets its name only after its content was verified against what S3 says of it.
 * @throws CliError when nothing can be downloaded; failures of single files are in the report
 */
export async function download(
  api: Profile,
  source: DownloadSource,
  options: DownloadOptions,
): Promise<DownloadReport> {
  await makeTarget(options.to).catch((error: Error) => {
    throw new CliError(`${options.to} cannot be the target folder: ${error.message}`, EXIT.usage);
  });
  const release = await acquireLock('downloads', await realpath(options.to), `downloads into ${options.to}`);
  try {
    return await new Downloader(api, source, options).run();
  } finally {
    release();
  }
}
