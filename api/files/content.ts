import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ReadFile, readFile } from '../../aws/files.js';
import { contentDisposition } from '../../domain/files/contentDisposition.js';
import { PREVIEW_BYTES, previewOf, REPORT_BYTES } from '../../domain/files/preview.js';
import { objectArn } from '../../domain/iam/permissions.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { Slots } from '../slots.js';
import { noOutputError, type Place, resolvePath } from './places.js';
import { isArchived, RESTORE } from './unreadable.js';

/** How many files a process reads at once for previews and reports, and how many requests wait. */
const slots = new Slots(4, 50, 'reading too many files');

/**
 * What a report may do: run its own scripts, and nothing else. The sandbox gives it an origin of its own, so it has no
 * cookies and cannot call the API; it loads nothing from anywhere, and only polony's own pages may frame it.
 */
const REPORT_POLICY = [
  'sandbox allow-scripts',
  "default-src 'none'",
  "script-src 'unsafe-inline'",
  "style-src 'unsafe-inline'",
  'img-src data: blob:',
  'font-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join('; ');

/** The beginning of a text, or an image. @throws ApiError; what {@link resolvePath} throws */
export async function previewFile(
  dependencies: ApiDependencies,
  request: FastifyRequest,
  place: Place | undefined,
  given: string,
) {
  const { file, path, bytes } = await readContent(dependencies, request, place, given, PREVIEW_BYTES, true);
  const isTruncated = bytes.length < file.size;
  const preview = previewOf(path, bytes, isTruncated);
  if (preview === undefined)
    throw new ApiError(
      409,
      'FILE_NOT_PREVIEWABLE',
      `${path} is neither text nor an image that browsers display, so it has no preview. Download it`,
    );
  const isImage = preview.kind === 'image';
  if (isImage && isTruncated) throw tooLargeError(path, file.size, PREVIEW_BYTES);
  return {
    path,
    size: file.size,
    lastModified: file.lastModified?.toISOString() ?? null,
    kind: preview.kind,
    contentType: preview.contentType,
    encoding: isImage ? ('base64' as const) : ('text' as const),
    content: isImage ? Buffer.from(bytes).toString('base64') : preview.text,
    isTruncated,
  };
}

/** An HTML report, for a frame. @throws ApiError; what {@link resolvePath} throws */
export async function sendReport(
  dependencies: ApiDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
  place: Place | undefined,
  given: string,
): Promise<Buffer> {
  if (!/\.html?$/i.test(given))
    throw new ApiError(
      409,
      'FILE_NOT_A_REPORT',
      'The file is not an HTML report: its name does not end with .html. Preview or download it',
    );
  const { path, bytes } = await readContent(dependencies, request, place, given, REPORT_BYTES, false);
  void reply.headers({
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': REPORT_POLICY,
    'content-disposition': contentDisposition('inline', path.slice(path.lastIndexOf('/') + 1)),
    'cache-control': 'private, no-store',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
  });
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads a file, or its beginning. @throws ApiError where it cannot be read */
async function readContent(
  { db, aws }: ApiDependencies,
  request: FastifyRequest,
  place: Place | undefined,
  given: string,
  most: number,
  takesBeginning: boolean,
): Promise<{ file: ReadFile; path: string; bytes: Uint8Array }> {
  if (place === undefined) throw noOutputError();
  const path = await resolvePath(db, request, place, given);
  const { storage, bucket } = place;
  const key = place.root + path;
  request.auditDetail = { ...request.auditDetail, uri: `s3://${bucket}/${key}` };
  let file: ReadFile | undefined;
  try {
    file = await slots.use(() =>
      aws.use(storage.provider_id, () =>
        readFile(aws.s3(storage.provider_id, storage.region), bucket, key, { maxBytes: most, takesBeginning }),
      ),
    );
  } catch (error) {
    if (isArchived(error)) throw archivedError(path);
    throw awsApiError(request, error, { action: 's3:GetObject', resource: objectArn(bucket, key, storage.region) });
  }
  if (file === undefined)
    throw new ApiError(404, 'FILE_NOT_FOUND', `There is no file ${path} in s3://${bucket}/${place.root}`);
  if (file.state === 'archived') throw archivedError(path);
  if (file.state !== 'read') throw tooLargeError(path, file.size, most);
  return { file, path, bytes: file.bytes };
}

function archivedError(path: string): ApiError {
  return new ApiError(
    409,
    'FILE_ARCHIVED',
    `${path} is archived in S3 (Glacier), where nobody can read it. ${RESTORE}`,
  );
}

function tooLargeError(path: string, size: number, most: number): ApiError {
  return new ApiError(
    409,
    'FILE_TOO_LARGE',
    `${path} has ${size} bytes, and polony shows at most ${most}. Download it`,
  );
}
