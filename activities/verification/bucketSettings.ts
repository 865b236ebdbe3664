import {
  GetBucketEncryptionCommand,
  GetBucketOwnershipControlsCommand,
  GetPublicAccessBlockCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { classifyAwsError } from '../../aws/errors.js';
import type { Finding } from '../../domain/verification/report.js';

/** A setting that a bucket with genomic data should have. */
interface BucketSetting {
  name: string;
  isSecure: (s3: S3Client, bucket: string) => Promise<boolean>;
  /** The error code by which S3 says that the setting was never made. */
  absentCode: string;
  finding: (bucket: string) => Omit<Finding, 'severity'>;
}

const SETTINGS: readonly BucketSetting[] = [
  {
    name: 'public access block',
    isSecure: async (s3, bucket) => {
      const { PublicAccessBlockConfiguration: block } = await s3.send(
        new GetPublicAccessBlockCommand({ Bucket: bucket }),
      );
      return [
        block?.BlockPublicAcls,
        block?.BlockPublicPolicy,
        block?.IgnorePublicAcls,
        block?.RestrictPublicBuckets,
      ].every((isOn) => isOn === true);
    },
    absentCode: 'NoSuchPublicAccessBlockConfiguration',
    finding: (bucket) => ({
      code: 'PUBLIC_ACCESS_NOT_BLOCKED',
      message: `Not all public access to ${bucket} is blocked`,
      remedy: 'Block all public access in the permissions of the bucket, because it holds genomic data.',
    }),
  },
  {
    name: 'object ownership',
    isSecure: async (s3, bucket) => {
      const { OwnershipControls } = await s3.send(new GetBucketOwnershipControlsCommand({ Bucket: bucket }));
      return OwnershipControls?.Rules?.[0]?.ObjectOwnership === 'BucketOwnerEnforced';
    },
    absentCode: 'OwnershipControlsNotFoundError',
    finding: (bucket) => ({
      code: 'ACLS_ENABLED',
      message: `ACLs of ${bucket} are not disabled`,
      remedy: 'Set the object ownership of the bucket to "Bucket owner enforced".',
    }),
  },
  {
    name: 'default encryption',
    isSecure: async (s3, bucket) => {
      const { ServerSideEncryptionConfiguration } = await s3.send(new GetBucketEncryptionCommand({ Bucket: bucket }));
      return (ServerSideEncryptionConfiguration?.Rules?.length ?? 0) > 0;
    },
    absentCode: 'ServerSideEncryptionConfigurationNotFoundError',
    finding: (bucket) => ({
      code: 'NOT_ENCRYPTED',
      message: `${bucket} has no default encryption`,
      remedy: 'Turn on default encryption in the properties of the bucket.',
    }),
  },
];

/**
 * Checks the security settings of a bucket. The vendor's permissions do not include reading them, so it may find
 * nothing.
 */
export async function checkBucketSettings(s3: S3Client, bucket: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  const unreadable: string[] = [];
  for (const setting of SETTINGS) {
    const state = await readSetting(setting, s3, bucket);
    if (state === 'insecure') findings.push({ severity: 'warning', ...setting.finding(bucket) });
    if (state === 'unreadable') unreadable.push(setting.name);
  }
  if (unreadable.length > 0)
    findings.push({
      severity: 'info',
      code: 'SETTINGS_NOT_READABLE',
      message: `polony could not read, so it did not check: ${unreadable.join(', ')} of ${bucket}`,
      remedy:
        'Check yourself that ACLs are disabled, public access is blocked and default encryption is on. The ' +
        'permissions that the vendor asks for do not include reading these settings.',
    });
  return findings;
}

async function readSetting(
  setting: BucketSetting,
  s3: S3Client,
  bucket: string,
): Promise<'secure' | 'insecure' | 'unreadable'> {
  try {
    return (await setting.isSecure(s3, bucket)) ? 'secure' : 'insecure';
  } catch (error) {
    return classifyAwsError(error).code.includes(setting.absentCode) ? 'insecure' : 'unreadable';
  }
}
