import type { FieldProblem } from '../errors.js';

/** The longest key that S3 takes, in bytes of UTF-8 (S3 User Guide, object key naming guidelines). */
const KEY_BYTES = 1024;

/**
 * Checks a prefix that a client gives, relative to a resource's folder. S3 takes a key literally, so nothing is decoded, joined or
 * normalized here; what a client, a proxy or a file system may read in two ways is refused, and so are the wildcards of IAM, as the
 * prefix becomes part of session policies.
 * @param root the resource's folder in the bucket, with a slash at its end, or empty for the whole bucket
 */
export function checkRelativePrefix(field: string, prefix: string, root: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/\p{Cs}/u.test(prefix)) return problem('PREFIX_CHARACTERS', 'must be well-formed Unicode');
  if (/\p{Cc}/u.test(prefix)) return problem('PREFIX_CHARACTERS', 'must not contain control characters');
  if (/[*?]|\$\{/.test(prefix))
    return problem('PREFIX_WILDCARD', 'must not contain *, ? or ${: they are wildcards in IAM policies');
  if (prefix.startsWith('/')) return problem('PREFIX_RELATIVE', 'must be relative: without a slash at its beginning');
  if (prefix.split(/[/\\]/).some((part) => part === '.' || part === '..'))
    return problem('PREFIX_SEGMENTS', 'must not have folders named . or ..');
  const room = KEY_BYTES - new TextEncoder().encode(root).length;
  if (new TextEncoder().encode(prefix).length > room)
    return problem('PREFIX_LENGTH', `must have at most ${room} bytes: S3 keys have ${KEY_BYTES}`);
  return [];
}

/** A folder's prefix: with a slash at its end unless it is empty. */
export function toFolderPrefix(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
}

/**
 * Whether a key can be put into a URL so that every client asks for that key: many take `.` and `..` out of a path, and then ask
 * for another one.
 */
export function isAddressable(key: string): boolean {
  return !key.split('/').some((part) => part === '.' || part === '..');
}
