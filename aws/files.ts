import type { Readable } from 'node:stream';
import {
  GetObjectCommand,
  type GetObjectCommandOutput,
  ListObjectsV2Command,
  type ObjectStorageClass,
  type S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { contentDisposition, type Disposition } from '../domain/files/contentDisposition.js';
import { isAddressable } from '../domain/files/paths.js';
import type { Session } from './sessions.js';
import { listedNames } from './s3.js';

/** A page of files, in the order of S3. */
export interface FilesPage {
  files: { key: string; size: number; lastModified: Date; storageClass: string | null; archived: boolean }[];
  /** Folders directly below the prefix, with a slash at the end; empty if the listing is recursive. */
  folders: string[];
  /** S3's own token of the next page; undefined at the end. */
  next?: string;
}

/**
 * How many keys polony asks for at once where they may be long. The SDK parses an answer in one go, and a thousand long
 * keys keep other work waiting.
 */
const LISTED_AT_ONCE = 500;
/** Most characters of a short key, as S3 encodes it, on average. */
const SHORT_KEY = 256;
/** Keys of a listing that say how long its others are. */
const ENOUGH_KEYS = 100;

/**
 * Listings whose keys were short the last time: polony asks for a page of them with one request. A listing that is
 * forgotten only costs a request more.
 */
const shortListings = new Set<string>();
const MOST_LISTINGS = 1000;

function remember(listing: string, isShort: boolean): void {
  shortListings.delete(listing);
  if (isShort) shortListings.add(listing);
  if (shortListings.size <= MOST_LISTINGS) return;
  const [oldest] = shortListings;
  shortListings.delete(oldest!);
}

/** Nobody can read objects of these classes before a person restores them (S3 User Guide, storage classes). */
const ARCHIVED: ReadonlySet<string | undefined> = new Set<ObjectStorageClass>(['GLACIER', 'DEEP_ARCHIVE']);

/**
 * Lists one page of files below a prefix. Objects whose key ends with a slash are placeholders of folders, not files.
 * @param prefix of the keys in the bucket
 * @param size 1 to 1,000
 * @param token `next` of the previous page of the same prefix
 */
export async function listPage(
  s3: S3Client,
  bucket: string,
  prefix: string,
  { recursive, size, token }: { recursive: boolean; size: number; token?: string },
): Promise<FilesPage> {
  // Folders have shorter keys than the files in them.
  const listing = `${recursive} ${bucket}/${prefix}`;
  const whole: FilesPage = { files: [], folders: [], next: token };
  for (let left = size; left > 0;) {
    const atOnce = shortListings.has(listing) ? left : Math.min(left, LISTED_AT_ONCE);
    const part = await listPart(s3, bucket, prefix, { recursive, size: atOnce, token: whole.next });
    whole.files.push(...part.files);
    whole.folders.push(...part.folders);
    whole.next = part.next;
    if (part.next === undefined) break;
    if (part.keys >= ENOUGH_KEYS) remember(listing, part.characters <= part.keys * SHORT_KEY);
    left -= atOnce;
  }
  return whole;
}

async function listPart(
  s3: S3Client,
  bucket: string,
  prefix: string,
  { recursive, size, token }: { recursive: boolean; size: number; token?: string },
): Promise<FilesPage & { keys: number; characters: number }> {
  const page = await s3.send(
    new ListObjectsV2Command({
      Bucket: bucket,
      Prefix: prefix,
      MaxKeys: size,
      ContinuationToken: token,
      OptionalObjectAttributes: ['RestoreStatus'],
      EncodingType: 'url',
      ...(!recursive && { Delimiter: '/' }),
    }),
  );
  const name = listedNames(page);
  const { Contents = [], CommonPrefixes = [] } = page;
  let characters = 0;
  const files = [];
  for (const { Key, Size, LastModified, StorageClass, RestoreStatus } of Contents) {
    characters += Key?.length ?? 0;
    const key = name(Key);
    // S3 lists only keys below the prefix. polony does not trust other endpoints to do so.
    if (!key.startsWith(prefix) || key.endsWith('/')) continue;
    files.push({
      key,
      size: Size ?? 0,
      lastModified: LastModified ?? new Date(0),
      storageClass: StorageClass ?? null,
      archived: ARCHIVED.has(StorageClass) && RestoreStatus?.RestoreExpiryDate === undefined,
    });
  }
  const folders = [];
  for (const { Prefix: encoded } of CommonPrefixes) {
    characters += encoded?.length ?? 0;
    const folder = name(encoded);
    if (folder.startsWith(prefix)) folders.push(folder);
  }
  return {
    files,
    folders,
    keys: Contents.length + CommonPrefixes.length,
    characters,
    ...(page.IsTruncated === true && page.NextContinuationToken !== undefined && { next: page.NextContinuationToken }),
  };
}

/**
 * Creates a URL that downloads an object without credentials. A URL cannot outlive the session that signed it (SigV4),
 * so X-Amz-Expires is at most the remaining time of the session.
 * @param signer a client of that session, see `AwsSessions.signer`
 * @param seconds 1 to 604,800
 * @param checksum whether S3 answers with the object's checksum: the client must then send `x-amz-checksum-mode:
 * ENABLED`
 * @param disposition what a browser does with the object; S3 then answers with its name
 * @returns undefined for a key that clients would change before they request it.
 */
export async function downloadUrl(
  signer: S3Client,
  session: Session,
  object: { bucket: string; key: string },
  seconds: number,
  { checksum = false, disposition = 'attachment' }: { checksum?: boolean; disposition?: Disposition } = {},
  now = Date.now(),
): Promise<string | undefined> {
  if (!isAddressable(object.key)) return undefined;
  const left = Math.floor((session.expiration.getTime() - now) / 1000);
  const command = new GetObjectCommand({
    Bucket: object.bucket,
    Key: object.key,
    ResponseContentDisposition: contentDisposition(disposition, object.key.slice(object.key.lastIndexOf('/') + 1)),
    ...(checksum && { ChecksumMode: 'ENABLED' }),
  });
  return getSignedUrl(signer, command, {
    expiresIn: Math.max(1, Math.min(seconds, left)),
    ...(checksum && { unhoistableHeaders: new Set(['x-amz-checksum-mode']) }),
  });
}

/**
 * How many URLs polony signs before it lets other work run. Each takes a third of a millisecond of CPU, and promises
 * alone do not return to the event loop.
 */
const SIGNED_AT_ONCE = 20;

/**
 * Creates download URLs for all objects of a page, like {@link downloadUrl}.
 * @returns URLs in the order of the objects; undefined also for archived objects, whose URLs would fail.
 */
export async function downloadUrls(
  signer: S3Client,
  session: Session,
  bucket: string,
  files: FilesPage['files'],
  seconds: number,
  checksum: boolean,
): Promise<(string | undefined)[]> {
  const urls = [];
  for (const [at, { key, archived }] of files.entries()) {
    if (at > 0 && at % SIGNED_AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve));
    urls.push(archived ? undefined : await downloadUrl(signer, session, { bucket, key }, seconds, { checksum }));
  }
  return urls;
}

/**
 * Reads the end of a text file, from the beginning of a line.
 * @param bytes how much to read at most
 * @returns undefined when there is no such object.
 */
export async function readTail(s3: S3Client, bucket: string, key: string, bytes: number): Promise<string | undefined> {
  try {
    const { Body, ContentRange } = await s3.send(
      new GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=-${bytes}` }),
    );
    const text = (await Body?.transformToString('utf8')) ?? '';
    const cut = ContentRange !== undefined && !/^bytes 0-/.test(ContentRange);
    return cut ? text.slice(text.indexOf('\n') + 1) : text;
  } catch (error) {
    const { name } = error as { name?: string };
    if (name === 'NoSuchKey') return undefined;
    // S3 answers this for an empty file, which has no last byte.
    if (name === 'InvalidRange') return '';
    throw error;
  }
}

/** An object that was read, or why it was not. */
export type ReadFile = { etag: string | undefined; size: number; lastModified: Date | null } & (
  | { state: 'read'; bytes: Uint8Array }
  /** It still has the ETag that the caller knows. */
  | { state: 'unchanged' }
  | { state: 'archived' }
  | { state: 'too_large' }
);

/** How long a read may take, in milliseconds, whatever the size. */
const READ_MS = 30_000;

/**
 * Reads an object of limited size in limited time.
 * @param maxBytes a larger object is not read
 * @param takesBeginning whether to read the beginning of a larger object instead
 * @param knownEtag the object is not read while it has this ETag
 * @returns undefined when there is no such object
 * @throws the error of S3: InvalidObjectState for an archived object; a TimeoutError after 30 seconds
 */
export async function readFile(
  s3: S3Client,
  bucket: string,
  key: string,
  { maxBytes, takesBeginning = false, knownEtag }: { maxBytes: number; takesBeginning?: boolean; knownEtag?: string },
): Promise<ReadFile | undefined> {
  const deadline = AbortSignal.timeout(READ_MS);
  let object: GetObjectCommandOutput;
  try {
    object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }), { abortSignal: deadline });
  } catch (error) {
    if ((error as { name?: string }).name === 'NoSuchKey') return undefined;
    throw error;
  }
  const stream = object.Body as Readable | undefined;
  const { ETag: etag, ContentLength: size = 0, LastModified: lastModified = null } = object;
  const facts = { etag, size, lastModified };
  const isArchived = ARCHIVED.has(object.StorageClass) && object.Restore === undefined;
  const state = isArchived
    ? 'archived'
    : etag !== undefined && etag === knownEtag
      ? 'unchanged'
      : size > maxBytes && !takesBeginning
        ? 'too_large'
        : 'read';
  if (state !== 'read') {
    stream?.destroy();
    return { ...facts, state };
  }
  return { ...facts, state, bytes: await readBeginning(stream, maxBytes, deadline) };
}

/** Reads at most so many bytes of a stream. The SDK's own signal ends with the headers. */
async function readBeginning(
  stream: Readable | undefined,
  most: number,
  deadline: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let left = most;
  const stop = (): void => void stream?.destroy(deadline.reason as Error);
  deadline.addEventListener('abort', stop);
  try {
    for await (const chunk of stream ?? []) {
      const part = (chunk as Buffer).subarray(0, left);
      chunks.push(part);
      left -= part.length;
      // Leaving the loop destroys the stream.
      if (left === 0) break;
    }
    return new Uint8Array(Buffer.concat(chunks));
  } finally {
    deadline.removeEventListener('abort', stop);
  }
}
