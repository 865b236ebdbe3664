import {
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2Output,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { classifyAwsError } from './errors.js';

/** An object as a listing shows it. */
export interface ListedObject {
  key: string;
  /** In bytes. */
  size: number;
}

/**
 * Reads names of a listing as they are. Listings are asked for with `EncodingType: 'url'`: names may have characters that XML cannot
 * write (S3 API Reference, ListObjectsV2), and the SDK's reader drops those beyond the 16-bit plane that are written as numbers, which
 * makes another name of it. S3 encodes as forms do: a space is a plus.
 */
export function listedNames({
  EncodingType: encoding,
}: Pick<ListObjectsV2Output, 'EncodingType'>): (name: string | undefined) => string {
  return (name = '') => (encoding === 'url' ? decodeURIComponent(name.replaceAll('+', ' ')) : name);
}

/**
 * The names of the folders right below a prefix, page by page (up to 1,000 a request), never the objects in them.
 * @param prefix ends in a slash, or is empty for the whole bucket.
 */
export async function* listFolders(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<string[]> {
  for await (const { folders } of listFolder(s3, bucket, prefix)) yield folders;
}

/** What lies right below a prefix, folders and files by name, page by page. */
export async function* listFolder(
  s3: S3Client,
  bucket: string,
  prefix: string,
): AsyncGenerator<{ folders: string[]; files: string[] }> {
  let token: string | undefined;
  do {
    const page = await s3.send(
      new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: prefix,
        Delimiter: '/',
        ContinuationToken: token,
        EncodingType: 'url',
      }),
    );
    const name = listedNames(page);
    yield {
      folders: (page.CommonPrefixes ?? [])
        .map((common) => name(common.Prefix).slice(prefix.length).replace(/\/$/, ''))
        .filter((folder) => folder !== ''),
      files: (page.Contents ?? []).map((object) => name(object.Key).slice(prefix.length)).filter((file) => file !== ''),
    };
    token = page.NextContinuationToken;
  } while (token !== undefined);
}

/** All objects below a prefix, page by page. */
export async function* listObjects(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<ListedObject[]> {
  let token: string | undefined;
  do {
    const page = await s3.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token, EncodingType: 'url' }),
    );
    const name = listedNames(page);
    yield (page.Contents ?? []).map((object) => ({ key: name(object.Key), size: object.Size ?? 0 }));
    token = page.NextContinuationToken;
  } while (token !== undefined);
}

/** Whether anything lies below a prefix. */
export async function hasObjects(s3: S3Client, bucket: string, prefix: string): Promise<boolean> {
  const page = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }));
  return (page.KeyCount ?? 0) > 0;
}

/**
 * Reads a small file.
 * @param maxBytes a larger file is an error, not a memory problem.
 * @returns undefined when there is no such object.
 */
export async function readBytes(
  s3: S3Client,
  bucket: string,
  key: string,
  maxBytes = 16 * 1024 * 1024,
): Promise<Uint8Array | undefined> {
  try {
    const object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    if ((object.ContentLength ?? 0) > maxBytes) {
      (object.Body as { destroy?: () => void } | undefined)?.destroy?.();
      throw new RangeError(`s3://${bucket}/${key} has ${object.ContentLength} bytes; at most ${maxBytes} are read`);
    }
    return (await object.Body?.transformToByteArray()) ?? new Uint8Array();
  } catch (error) {
    const { kind, code } = classifyAwsError(error);
    if (kind === 'not-found' && code !== 'NoSuchBucket') return undefined;
    throw error;
  }
}

/** The same as text. */
export async function readText(
  s3: S3Client,
  bucket: string,
  key: string,
  maxBytes?: number,
): Promise<string | undefined> {
  const bytes = await readBytes(s3, bucket, key, maxBytes);
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
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

/** Bucket and key of an `s3://` URI. @throws TypeError when it is none. */
export function parseS3Uri(uri: string): { bucket: string; key: string } {
  const match = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri);
  if (!match) throw new TypeError(`${uri} is not an s3:// URI`);
  return { bucket: match[1]!, key: match[2]! };
}
