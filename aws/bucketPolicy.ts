import {
  DeleteBucketPolicyCommand,
  GetBucketPolicyCommand,
  PutBucketPolicyCommand,
  type S3Client,
} from '@aws-sdk/client-s3';

/** The policy of a bucket as it stands; undefined where it has none. */
export async function getBucketPolicy(s3: S3Client, bucket: string): Promise<string | undefined> {
  try {
    return (await s3.send(new GetBucketPolicyCommand({ Bucket: bucket }))).Policy;
  } catch (error) {
    if ((error as { name?: string }).name === 'NoSuchBucketPolicy') return undefined;
    throw error;
  }
}

/** Writes the policy of a bucket; null deletes it. Nothing is asked of what stood there: S3 has no condition for that. */
export async function putBucketPolicy(s3: S3Client, bucket: string, policy: string | null): Promise<void> {
  if (policy === null) await s3.send(new DeleteBucketPolicyCommand({ Bucket: bucket }));
  else await s3.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: policy }));
}
