import {
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2Output,
  paginateListObjectsV2,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { classifyAwsError } from './errors.js';

/** An object of a listing. */
export interface ListedObject {
  key: string;
  /** In bytes. */
  size: number;
}

/**
 * Decodes names of a listing that was requested with `EncodingType: 'url'`. XML cannot contain some characters of names
 * (S3 API Reference, ListObjectsV2), and the SDK's parser drops characters outside the basic multilingual plane that
 * are numeric references, which would change the name. S3 encodes like forms: a plus is a space.
 */
export function listedNames({
  EncodingType: encoding,
}: Pick<ListObjectsV2Output, 'EncodingType'>): (name: string | undefined) => string {
  // Most names have nothing to decode, and to look for it costs a tenth of decoding.
  return (name = '') =>
    encoding === 'url' && /[%+]/.test(name) ? decodeURIComponent(name.replaceAll('+', ' ')) : name;
}

/**
 * The names of the folders directly below a prefix, page by page (up to 1,000 per request), without the objects in
 * them.
 * @param prefix ends with a slash, or is empty for the whole bucket.
 */
export async function* listFolders(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<string[]> {
  for await (const { folders } of listFolder(s3, bucket, prefix)) yield folders;
}

/**
 * The names of folders and files directly below a prefix, page by page.
 * @param startAfter a key; the listing begins with the next one
 */
export async function* listFolder(
  s3: S3Client,
  bucket: string,
  prefix: string,
  startAfter?: string,
): AsyncGenerator<{ folders: string[]; files: string[] }> {
  const input = {
    Bucket: bucket,
    Prefix: prefix,
    Delimiter: '/',
    EncodingType: 'url',
    StartAfter: startAfter,
  } as const;
  for await (const page of paginateListObjectsV2({ client: s3 }, input)) {
    const decode = listedNames(page);
    const below = (name: string | undefined): string => decode(name).slice(prefix.length);
    yield {
      folders: (page.CommonPrefixes ?? [])
        .map((common) => below(common.Prefix).replace(/\/$/, ''))
        .filter((folder) => folder !== ''),
      files: (page.Contents ?? []).map((object) => below(object.Key)).filter((file) => file !== ''),
    };
  }
}

/** All objects below a prefix, page by page. */
export async function* listObjects(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<ListedObject[]> {
  const input = { Bucket: bucket, Prefix: prefix, EncodingType: 'url' } as const;
  for await (const page of paginateListObjectsV2({ client: s3 }, input)) {
    const decode = listedNames(page);
    yield (page.Contents ?? []).map((object) => ({ key: decode(object.Key), size: object.Size ?? 0 }));
  }
}

/** Whether there are objects below a prefix. */
export async function hasObjects(s3: S3Client, bucket: string, prefix: string): Promise<boolean> {
  const page = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }));
  return (page.KeyCount ?? 0) > 0;
}

/**
 * Reads a small file.
 * @param maxBytes the function throws for a larger file, so that it does not exhaust memory.
 * @returns undefined when there is no such object.
 * @throws RangeError for a larger file
 */
export async function readBytes(
  s3: S3Client,
  bucket: string,
  key: string,
  maxBytes?: number,
): Promise<Uint8Array | undefined> {
  return (await readObject(s3, bucket, key, maxBytes))?.bytes;
}

async function readObject(
  s3: S3Client,
  bucket: string,
  key: string,
  maxBytes = 16 * 1024 * 1024,
): Promise<{ bytes: Uint8Array; etag: string | undefined } | undefined> {
  try {
    const object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    if ((object.ContentLength ?? 0) > maxBytes) {
      (object.Body as { destroy?: () => void } | undefined)?.destroy?.();
      throw new RangeError(
        `s3://${bucket}/${key} has ${object.ContentLength} bytes, but polony reads at most ${maxBytes}`,
      );
    }
    return { bytes: (await object.Body?.transformToByteArray()) ?? new Uint8Array(), etag: object.ETag };
  } catch (error) {
    const { kind, code } = classifyAwsError(error);
    if (kind === 'not-found' && code !== 'NoSuchBucket') return undefined;
    throw error;
  }
}

/** Reads a small text file, like {@link readBytes}. */
export async function readText(
  s3: S3Client,
  bucket: string,
  key: string,
  maxBytes?: number,
): Promise<string | undefined> {
  return (await readTextWithEtag(s3, bucket, key, maxBytes))?.text;
}

/** Reads a small text file and the ETag of what was read, like {@link readBytes}. */
export async function readTextWithEtag(
  s3: S3Client,
  bucket: string,
  key: string,
  maxBytes?: number,
): Promise<{ text: string; etag: string | undefined } | undefined> {
  const found = await readObject(s3, bucket, key, maxBytes);
  if (found === undefined) return undefined;
  const { bytes, etag } = found;
  return { text: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'), etag };
}

/** Writes a small text file. */
export async function writeText(
  s3: S3Client,
  bucket: string,
  key: string,
  text: string,
  contentType = 'text/csv',
): Promise<void> {
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: text, ContentType: contentType }));
}

/** Parses an `s3://` URI. @throws TypeError for any other text. */
export function parseS3Uri(uri: string): { bucket: string; key: string } {
  const match = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri);
  if (!match) throw new TypeError(`${uri} is not an s3:// URI`);
  return { bucket: match[1]!, key: match[2]! };
}
