import type { FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { downloadUrl } from '../../aws/files.js';
import type { Session } from '../../aws/sessions.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { noOutputError, type Place, resolvePath } from './places.js';
import type { operations } from './schemas.js';

type UrlQuery = Static<typeof operations.urlOfRun.querystring>;

/**
 * A URL that downloads or displays one file.
 * @throws ApiError when the caller may not see the file, or AWS gives no session; what {@link resolvePath} throws
 */
export async function signUrl(
  { db, aws }: ApiDependencies,
  request: FastifyRequest,
  place: Place | undefined,
  query: UrlQuery,
): Promise<{ url: string; expirationSeconds: number }> {
  if (place === undefined) throw noOutputError();
  const path = await resolvePath(db, request, place, query.path);
  const { storage, bucket, root } = place;
  const key = root + path;
  const seconds = query.expirationSeconds ?? 3600;
  let session: Session;
  try {
    session = await aws.sessionFor(storage.provider_id, seconds);
  } catch (error) {
    throw awsApiError(request, error, { action: 's3:GetObject', resource: objectArn(bucket, key, storage.region) });
  }
  const signer = aws.signer(session, storage.region);
  try {
    const { disposition = 'attachment' } = query;
    const url = await downloadUrl(signer, session, { bucket, key }, seconds, { disposition });
    if (url === undefined)
      throw new ApiError(409, 'FILE_NOT_ADDRESSABLE', 'The place of the resource has folders named . or ..');
    const expirationSeconds = Number(new URL(url).searchParams.get('X-Amz-Expires'));
    request.auditDetail = { uri: `s3://${bucket}/${key}`, urls: 1, expirationSeconds };
    return { url, expirationSeconds };
  } finally {
    signer.destroy();
  }
}
