import type { FieldProblem } from '../errors.js';

/** The longest key that S3 accepts, in bytes of UTF-8 (S3 User Guide, object key naming guidelines). */
const KEY_BYTES = 1024;

/**
 * Checks a prefix that a client gives, relative to a resource's folder. S3 compares keys byte by byte, so this function
 * decodes and normalizes nothing. It rejects what clients, proxies or file systems may interpret differently, and IAM's
 * wildcards, because the prefix becomes part of session policies.
 * @param root the resource's folder in the bucket, with a slash at the end, or empty for the whole bucket
 */
export function checkRelativePrefix(field: string, prefix: string, root: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/[*?]|\$\{/.test(prefix))
    return problem('PREFIX_WILDCARD', 'must not contain *, ? or ${, which are wildcards in IAM policies');
  return checkRelativeKey(field, prefix, root);
}

/** Checks the path of a file like {@link checkRelativePrefix}. A path does not become part of a policy. */
export function checkRelativePath(field: string, path: string, root: string): FieldProblem[] {
  return path === '' || path.endsWith('/')
    ? [{ field, rule: 'PATH', message: 'must be the path of a file' }]
    : checkRelativeKey(field, path, root);
}

function checkRelativeKey(field: string, prefix: string, root: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/\p{Cs}/u.test(prefix)) return problem('PREFIX_CHARACTERS', 'must be well-formed Unicode');
  if (/\p{Cc}/u.test(prefix)) return problem('PREFIX_CHARACTERS', 'must not contain control characters');
  if (prefix.startsWith('/')) return problem('PREFIX_RELATIVE', 'must be relative: remove the slash at the beginning');
  if (prefix.split(/[/\\]/).some((part) => part === '.' || part === '..'))
    return problem('PREFIX_SEGMENTS', 'must not contain folders named . or ..');
  const room = KEY_BYTES - new TextEncoder().encode(root).length;
  if (new TextEncoder().encode(prefix).length > room)
    return problem('PREFIX_LENGTH', `must have at most ${room} bytes, because an S3 key has at most ${KEY_BYTES}`);
  return [];
}

/** Checks that S3 accepts the key of an `s3://bucket/key` URI. */
export function checkUriKey(field: string, uri: string): FieldProblem[] {
  const bytes = new TextEncoder().encode(uri.replace(/^s3:\/\/[^/]*\//, '')).length;
  if (bytes <= KEY_BYTES) return [];
  return [{ field, rule: 'KEY_LENGTH', message: `must have a key of at most ${KEY_BYTES} bytes, but it has ${bytes}` }];
}

/** A folder's prefix: with a slash at the end unless it is empty. */
export function toFolderPrefix(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
}

/**
 * Whether every client requests this key when it is part of a URL. Many clients remove `.` and `..` from a path, and
 * then request another key.
 */
export function isAddressable(key: string): boolean {
  return !key.split('/').some((part) => part === '.' || part === '..');
}

/** The `s3://bucket/prefix/…` URI of a folder, with exactly one slash at the end. */
export function storageUri(bucket: string, prefix: string, ...folders: string[]): string {
  return `s3://${[bucket, prefix, ...folders].filter((part) => part !== '').join('/')}/`;
}

/** The key of a file or folder below a connection's prefix. */
export function joinKey(prefix: string, ...parts: string[]): string {
  return [prefix, ...parts].filter((part) => part !== '').join('/');
}
