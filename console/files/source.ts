import type { ScopeAction } from '../../domain/auth/scopes.js';
import { BASE_PATH } from '../app/base.js';
import { api, ask, type Schema } from '../app/client.js';

/** What has files. */
export interface FileSource {
  kind: 'storage' | 'run' | 'execution';
  id: string;
}

/** The scope that lists files, gives download addresses and credentials, and shows previews. */
export const SCOPE_OF_FILES: Readonly<Record<FileSource['kind'], ScopeAction>> = {
  storage: 'storage:download',
  run: 'runs:download',
  execution: 'executions:download',
};

/** How many files and folders a page has. */
const PAGE_SIZE = 100;
/** How long a download may wait before it begins. A download that has begun goes on. */
const URL_SECONDS = 900;

interface FilesQuery {
  prefix?: string;
  recursive?: boolean;
  pageSize?: number;
  pageToken?: string;
}

export interface FilesPage {
  files: Schema<'File'>[];
  subdirectories: string[];
  nextPageToken: string;
}

function askFiles({ kind, id }: FileSource, query: FilesQuery): Promise<FilesPage> {
  if (kind === 'storage')
    return ask(
      api.GET('/v1/storage-connections/{storage_connection_id}/files', {
        params: { path: { storage_connection_id: id }, query },
      }),
    );
  if (kind === 'run') return ask(api.GET('/v1/runs/{run_id}/files', { params: { path: { run_id: id }, query } }));
  return ask(api.GET('/v1/executions/{execution_id}/files', { params: { path: { execution_id: id }, query } }));
}

/** The files and folders of a folder. @param pageToken of the page before; undefined for the first one */
export const listFolder = (source: FileSource, prefix: string, pageToken: string | undefined): Promise<FilesPage> =>
  askFiles(source, {
    prefix,
    recursive: false,
    pageSize: PAGE_SIZE,
    ...(pageToken !== undefined && { pageToken }),
  });

/** An address that downloads one file for some minutes, without a key. @throws ApiFailure */
export async function askDownloadUrl({ kind, id }: FileSource, path: string): Promise<string> {
  const query = { path, expirationSeconds: URL_SECONDS };
  const { url } = await ask(
    kind === 'storage'
      ? api.GET('/v1/storage-connections/{storage_connection_id}/files/download-url', {
          params: { path: { storage_connection_id: id }, query },
        })
      : kind === 'run'
        ? api.GET('/v1/runs/{run_id}/files/download-url', { params: { path: { run_id: id }, query } })
        : api.GET('/v1/executions/{execution_id}/files/download-url', {
            params: { path: { execution_id: id }, query },
          }),
  );
  return url;
}

export type S3Credentials = Schema<'S3Credentials'>;

/** Credentials that can read a folder. @throws ApiFailure */
export async function askCredentials(
  { kind, id }: FileSource,
  prefix: string,
  expirationSeconds: number,
): Promise<S3Credentials> {
  const query = { prefix, expirationSeconds };
  const { s3 } = await ask(
    kind === 'storage'
      ? api.GET('/v1/storage-connections/{storage_connection_id}/credentials', {
          params: { path: { storage_connection_id: id }, query },
        })
      : kind === 'run'
        ? api.GET('/v1/runs/{run_id}/credentials', { params: { path: { run_id: id }, query } })
        : api.GET('/v1/executions/{execution_id}/credentials', { params: { path: { execution_id: id }, query } }),
  );
  return s3;
}

export type FilePreview = Schema<'FilePreview'>;

/** The beginning of a text, or an image. @throws ApiFailure */
export async function askPreview({ kind, id }: FileSource, path: string): Promise<FilePreview> {
  const query = { path };
  const { preview } = await ask(
    kind === 'storage'
      ? api.GET('/v1/storage-connections/{storage_connection_id}/files/preview', {
          params: { path: { storage_connection_id: id }, query },
        })
      : kind === 'run'
        ? api.GET('/v1/runs/{run_id}/files/preview', { params: { path: { run_id: id }, query } })
        : api.GET('/v1/executions/{execution_id}/files/preview', { params: { path: { execution_id: id }, query } }),
  );
  return preview;
}

const COLLECTIONS: Readonly<Record<FileSource['kind'], string>> = {
  storage: 'storage-connections',
  run: 'runs',
  execution: 'executions',
};

/** The address of an HTML report, for a frame. */
export const reportAddress = ({ kind, id }: FileSource, path: string): string =>
  `${BASE_PATH}/v1/${COLLECTIONS[kind]}/${encodeURIComponent(id)}/files/report?${new URLSearchParams({ path }).toString()}`;
