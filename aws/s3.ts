import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { classifyAwsError } from './errors.js';

/** An object as a listing shows it. */
export interface ListedObject {
  key: string;
  /** In bytes. */
  size: number;
}

/**
 * The names of the folders right below a prefix, page by page (up to 1,000 a request), never the objects in them.
 * @param prefix ends in a slash, or is empty for the whole bucket.
 */
export async function* listFolders(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<string[]> {
  for await (const { folders } of listFolder(s3, bucket, prefix)) yield folders;
}

/** What lies right below a prefix, folders and files by name, page by page. */
export async function* listFolder(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<{ folders: string[]; files: string[] }> {
  let token: string | undefined;
  do {
    const page = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, Delimiter: '/', ContinuationToken: token }));
    yield {
      folders: (page.CommonPrefixes ?? []).map((common) => (common.Prefix ?? '').slice(prefix.length).replace(/\/$/, '')).filter((name) => name !== ''),
      files: (page.Contents ?? []).map((object) => (object.Key ?? '').slice(prefix.length)).filter((name) => name !== ''),
    };
    token = page.NextContinuationToken;
  } while (token !== undefined);
}

/** All objects below a prefix, page by page. */
export async function* listObjects(s3: S3Client, bucket: string, prefix: string): AsyncGenerator<ListedObject[]> {
  let token: string | undefined;
  do {
    const page = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }));
    yield (page.Contents ?? []).map((object) => ({ key: object.Key ?? '', size: object.Size ?? 0 }));
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
export async function readBytes(s3: S3Client, bucket: string, key: string, maxBytes = 16 * 1024 * 1024): Promise<Uint8Array | undefined> {
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
export async function readText(s3: S3Client, bucket: string, key: string, maxBytes?: number): Promise<string | undefined> {
  const bytes = await readBytes(s3, bucket, key, maxBytes);
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

/** Writes a small text file. */
export async function writeText(s3: S3Client, bucket: string, key: string, text: string, contentType = 'text/csv'): Promise<void> {
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: text, ContentType: contentType }));
}

/** Bucket and key of an `s3://` URI. @throws TypeError when it is none. */
export function parseS3Uri(uri: string): { bucket: string; key: string } {
  const match = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri);
  if (!match) throw new TypeError(`${uri} is not an s3:// URI`);
  return { bucket: match[1]!, key: match[2]! };
}
