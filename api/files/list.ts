import type { FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { classifyAwsError } from '../../aws/errors.js';
import { downloadUrls, type FilesPage, listPage } from '../../aws/files.js';
import type { Session } from '../../aws/sessions.js';
import { bucketArn, objectArn } from '../../domain/iam/permissions.js';
import { partitionOf } from '../../domain/regions.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { invalidPageTokenError, listingKey, openPageToken, sealPageToken } from './pageTokens.js';
import { type Place, resolvePrefix } from './places.js';
import type { operations } from './schemas.js';

type FilesQuery = Static<typeof operations.listOfRun.querystring>;

/** Whether a listing goes to the audit log: one that only shows names does not, one that issues download URLs does. */
export function issuesUrls({ query }: FastifyRequest): boolean {
  return (query as FilesQuery).includeDownloadUrl === true;
}

/**
 * A page of the files of a place, as S3 lists them.
 * @param place undefined for an execution that has no output yet; its page is empty
 * @throws ApiError when the caller may not see the prefix, or AWS rejects the call
 */
export async function listFiles(
  dependencies: ApiDependencies,
  request: FastifyRequest,
  place: Place | undefined,
  query: FilesQuery,
) {
  if (place === undefined) return { files: [], subdirectories: [], nextPageToken: '', isTruncated: false };
  const prefix = await resolvePrefix(dependencies.db, request, place, query.prefix);
  const recursive = query.recursive ?? true;
  const listing = listingKey(place, prefix, recursive);
  const token = openPageToken(listing, query.pageToken);
  const options = { recursive, size: query.pageSize ?? 1000, token };
  const page = await readPage(dependencies, request, place, prefix, options);
  const isSigned = query.includeDownloadUrl === true && page.files.length > 0;
  const urls = isSigned ? await signUrls(dependencies, request, place, page, query) : [];
  return {
    files: page.files.map((file, at) => ({
      path: file.key.slice(place.root.length),
      name: file.key.slice(file.key.lastIndexOf('/') + 1),
      size: file.size,
      lastModified: file.lastModified.toISOString(),
      uri: `s3://${place.bucket}/${file.key}`,
      ...(urls[at] !== undefined && { downloadUrl: urls[at] }),
      storageClass: file.storageClass,
    })),
    subdirectories: page.folders.map((folder) => folder.slice(place.root.length)),
    nextPageToken: page.next === undefined ? '' : sealPageToken(listing, page.next),
    isTruncated: page.next !== undefined,
  };
}

async function readPage(
  { aws }: ApiDependencies,
  request: FastifyRequest,
  { storage, bucket, root }: Place,
  prefix: string,
  options: Parameters<typeof listPage>[3],
): Promise<FilesPage> {
  try {
    return await aws.use(storage.provider_id, () =>
      listPage(aws.s3(storage.provider_id, storage.region), bucket, root + prefix, options),
    );
  } catch (error) {
    // S3 rejects a token that is too old or was made for another bucket.
    if (options.token !== undefined && classifyAwsError(error).code === 'InvalidArgument')
      throw invalidPageTokenError();
    throw awsApiError(request, error, {
      action: 's3:ListBucket',
      resource: bucketArn(bucket, partitionOf(storage.region)),
    });
  }
}

async function signUrls(
  { aws }: ApiDependencies,
  request: FastifyRequest,
  { storage, bucket }: Place,
  { files }: FilesPage,
  query: FilesQuery,
): Promise<(string | undefined)[]> {
  const seconds = query.downloadUrlExpirationSeconds ?? 3600;
  let session: Session;
  try {
    session = await aws.sessionFor(storage.provider_id, seconds);
  } catch (error) {
    throw awsApiError(request, error, { action: 's3:GetObject', resource: objectArn(bucket, '*', storage.region) });
  }
  const signer = aws.signer(session, storage.region);
  try {
    const urls = await downloadUrls(signer, session, bucket, files, seconds, query.includeDownloadChecksum === true);
    request.auditDetail = {
      prefix: query.prefix ?? '',
      urls: urls.filter((url) => url !== undefined).length,
      expirationSeconds: seconds,
    };
    return urls;
  } finally {
    signer.destroy();
  }
}
