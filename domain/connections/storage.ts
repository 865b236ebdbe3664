import type { FieldProblem } from '../errors.js';

/** Checks a bucket name, without `s3://` (S3 User Guide, general purpose bucket naming rules). */
export function checkBucketName(field: string, value: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/^s3:/i.test(value)) return problem('BUCKET_HAS_SCHEME', 'must be only the name of the bucket, without s3://');
  if (value.includes('/'))
    return problem('BUCKET_HAS_PATH', 'must be only the name of the bucket. Put the folder into prefix.');
  if (value.startsWith('arn:')) return problem('BUCKET_IS_ARN', "must be the bucket's name, not its ARN");
  if (value.length < 3 || value.length > 63)
    return problem('BUCKET_LENGTH', `must have 3 to 63 characters, but has ${value.length}`);
  if (!/^[a-z0-9.-]+$/.test(value))
    return problem('BUCKET_CHARACTERS', 'may contain only lower-case letters, digits, dots and hyphens');
  if (!/^[a-z0-9].*[a-z0-9]$/.test(value)) return problem('BUCKET_ENDS', 'must begin and end with a letter or digit');
  if (value.includes('..')) return problem('BUCKET_DOTS', 'must not have two dots in a row');
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(value)) return problem('BUCKET_IP', 'must not look like an IP address');
  const prefix = ['xn--', 'sthree-', 'amzn-s3-demo-'].find((reserved) => value.startsWith(reserved));
  if (prefix !== undefined) return problem('BUCKET_RESERVED', `must not begin with ${prefix}`);
  const suffix = ['-s3alias', '--ol-s3', '.mrap', '--x-s3', '--table-s3'].find((reserved) => value.endsWith(reserved));
  if (suffix !== undefined) return problem('BUCKET_RESERVED', `must not end with ${suffix}`);
  return [];
}

/**
 * The normal form of a prefix: no slash at either end, so that `runs`, `/runs` and `runs/` mean the same folder. It is
 * empty for the whole bucket.
 */
export function normalizePrefix(value: string): string {
  const text = value.trim();
  let [start, end] = [0, text.length];
  // Not /\/+$/, which takes long for many slashes that are not at the end.
  while (start < end && text[start] === '/') start++;
  while (end > start && text[end - 1] === '/') end--;
  return text.slice(start, end);
}

/**
 * Checks a prefix in its normal form. It must not contain wildcards, because it becomes part of IAM resources, where
 * `*`, `?` and `${` would grant more than this folder.
 */
export function checkPrefix(field: string, value: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/^s3:\/\//i.test(value))
    return problem('PREFIX_HAS_SCHEME', 'must be a folder inside the bucket, without s3:// and the bucket name');
  if (new TextEncoder().encode(value).length > 512)
    return problem(
      'PREFIX_LENGTH',
      'must have at most 512 bytes: a key has at most 1,024, and run folders need the rest',
    );
  if (/[\u0000-\u001f\u007f\\]/.test(value))
    return problem('PREFIX_CHARACTERS', 'must not contain control characters or backslashes');
  // StartRun accepts only these in its outputUri (HealthOmics API Reference, RunOutputUri).
  if (!/^[\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}]*$/u.test(value))
    return problem(
      'PREFIX_CHARACTERS',
      'must not contain invisible characters, such as zero-width spaces or marks for the direction of text: ' +
        'HealthOmics does not accept them',
    );
  if (/[*?]|\$\{/.test(value))
    return problem('PREFIX_WILDCARD', 'must not contain *, ? or ${, which are wildcards in IAM policies');
  if (value !== '' && value.split('/').some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return problem('PREFIX_SEGMENTS', 'must not contain empty folders, . or ..');
  }
  return [];
}

/** Whether two prefixes of one bucket, in their normal form, share a folder. `runs` and `runs2` do not. */
export function prefixesOverlap(one: string, other: string): boolean {
  if (one === '' || other === '') return true;
  return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);
}
