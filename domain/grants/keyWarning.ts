import { dnsSuffixOf } from '../regions.js';

/** Why a principal may be unable to read what a grant lets it read. */
export interface GrantWarning {
  /** For programs. */
  code: 'KMS_KEY' | 'KMS_KEY_OF_AWS' | 'ENCRYPTION_NOT_CHECKED';
  message: string;
  /** The KMS key, as the bucket names it; null where it is unknown, or the key of AWS. */
  key: string | null;
  /** A statement for the policy of the key; null where none helps. */
  statement: object | null;
}

/** The bucket of a grant. */
export interface GrantedBucket {
  bucket: string;
  region: string;
  /** The account of the bucket's provider; null where it is unknown. */
  account: string | null;
  /** The KMS key of its default encryption; undefined for the key `aws/s3` that AWS manages. */
  key: string | undefined;
}

/**
 * Warns that a principal also needs a KMS key. S3 decrypts an object for a caller only if the caller may use the key.
 * A bucket policy cannot give that. Source: S3 User Guide, "Using server-side encryption with AWS KMS keys".
 * @param principal ARN of a role, of a user, or of the root of an account
 * @returns undefined for a principal that may use the key anyhow: the policy of `aws/s3` covers its own account.
 */
export function warnOfKey(
  principal: string,
  { bucket, region, account, key }: GrantedBucket,
): GrantWarning | undefined {
  const principalAccount = principal.split(':')[4];
  const isForeign = principalAccount !== (/^arn:[^:]+:kms:[^:]*:(\d{12}):/.exec(key ?? '')?.[1] ?? account);
  if (key === undefined)
    return isForeign
      ? {
          code: 'KMS_KEY_OF_AWS',
          message:
            `S3 encrypts new objects of ${bucket} with the key aws/s3, which AWS manages. No other account can use it, ` +
            `so ${principal} cannot read them. Set a KMS key of your own, or SSE-S3, as default encryption of the ` +
            'bucket, and copy objects that exist onto themselves to encrypt them again',
          key: null,
          statement: null,
        }
      : undefined;
  return {
    code: 'KMS_KEY',
    message:
      `S3 encrypts new objects of ${bucket} with the KMS key ${key}. The bucket policy does not let ${principal} use ` +
      'it, so it also needs kms:Decrypt. Add this statement to the policy of the key, unless the policy has one ' +
      'like it' +
      (isForeign
        ? '. The principal also needs kms:Decrypt on the key in an IAM policy of its own account'
        : ', or lets IAM policies decide and one of the principal allows it'),
    key,
    statement: {
      Effect: 'Allow',
      Principal: { AWS: principal },
      Action: 'kms:Decrypt',
      // In the policy of a key, this is the key.
      Resource: '*',
      Condition: { StringEquals: { 'kms:ViaService': `s3.${region}.${dnsSuffixOf(region)}` } },
    },
  };
}

/** What to say where polony may not read how a bucket is encrypted. */
export function warnOfUnknownEncryption(bucket: string): GrantWarning {
  return {
    code: 'ENCRYPTION_NOT_CHECKED',
    message:
      `polony could not read how ${bucket} is encrypted (s3:GetEncryptionConfiguration). If a KMS key encrypts it, the ` +
      'principal also needs kms:Decrypt in the policy of the key',
    key: null,
    statement: null,
  };
}
