import { GetBucketEncryptionCommand, type S3Client } from '@aws-sdk/client-s3';
import { classifyAwsError } from './errors.js';

/** How S3 encrypts new objects of a bucket by default. `null`: not with a KMS key. */
export type BucketKey = {
  /** An ARN, an id or an alias, as the bucket names it; undefined for the key `aws/s3` that AWS manages. */
  key: string | undefined;
} | null;

/** Reads the KMS key of a bucket's default encryption. */
export async function getBucketKey(s3: S3Client, bucket: string): Promise<BucketKey> {
  try {
    const { ServerSideEncryptionConfiguration } = await s3.send(new GetBucketEncryptionCommand({ Bucket: bucket }));
    const { SSEAlgorithm, KMSMasterKeyID } =
      ServerSideEncryptionConfiguration?.Rules?.[0]?.ApplyServerSideEncryptionByDefault ?? {};
    // aws:kms, or aws:kms:dsse for two layers of encryption.
    if (SSEAlgorithm?.startsWith('aws:kms') !== true) return null;
    const isManaged = KMSMasterKeyID === undefined || /(^|:)alias\/aws\/s3$/.test(KMSMasterKeyID);
    return { key: isManaged ? undefined : KMSMasterKeyID };
  } catch (error) {
    if (classifyAwsError(error).code.includes('ServerSideEncryptionConfigurationNotFoundError')) return null;
    throw error;
  }
}
