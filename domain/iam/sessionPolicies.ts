import { dnsSuffixOf, partitionOf } from '../regions.js';
import { actionsOn, bucketArn } from './permissions.js';
import { policyText } from './policyText.js';

/** How polony accesses a customer's account. */
export type ProviderAccess = {
  /** Region of the STS endpoint. */
  region: string;
  /** Changes with the credentials and their use, so that polony discards older sessions. */
  version: string;
} & (
  | {
      type: 'role';
      roleArn: string;
      externalId: string;
      /** Whether polony may use the role only after AWS has refused it without the external ID. */
      mustTestExternalId?: boolean;
    }
  /** `policies`: session policies, the narrowest first. polony uses the next one if AWS finds one too large. */
  | { type: 'accessKeys'; accessKeyId: string; secretAccessKey: string; policies: string[] }
);

/** What polony uses a provider with access keys for. Its sessions may do no more. */
export interface SessionScope {
  /** Of the provider's account. */
  partition: string;
  folders: { bucket: string; prefix: string }[];
  executionRoleArns: string[];
}

/** The longest session policy that STS accepts, in characters (STS API Reference, GetFederationToken). */
export const SESSION_POLICY_LIMIT = 2048;

const OBJECT_ACTIONS = [...actionsOn('objectRead'), ...actionsOn('objectWrite'), 's3:AbortMultipartUpload'];
const BUCKET_ACTIONS = [
  ...actionsOn('listing'),
  ...actionsOn('bucket'),
  's3:GetBucketPublicAccessBlock',
  's3:GetBucketOwnershipControls',
  's3:GetEncryptionConfiguration',
];
const OMICS_ACTIONS = [...actionsOn('workflow', 'workflowRun'), 'omics:TagResource', ...actionsOn('run')];

/** Escapes `*`, `?` and `$` for a policy's Resource (IAM User Guide, policy variables). */
function escapeWildcards(text: string): string {
  return text.replace(/[*?$]/g, (char) => `\${${char}}`);
}

const one = (values: string[]): string | string[] => (values.length === 1 ? values[0]! : values);

/** A session may do what its policy and the user's policy both allow, so this policy only restricts. */
function writeSessionPolicy(objects: string[], buckets: string[], roles: string[]): string {
  const statements: object[] = [{ Effect: 'Allow', Action: 'sts:GetCallerIdentity', Resource: '*' }];
  if (buckets.length > 0) {
    statements.push(
      { Effect: 'Allow', Action: OBJECT_ACTIONS, Resource: one(objects) },
      { Effect: 'Allow', Action: BUCKET_ACTIONS, Resource: one(buckets) },
    );
  }
  // People can create flows on a provider that has no compute connection yet.
  statements.push({ Effect: 'Allow', Action: OMICS_ACTIONS, Resource: '*' });
  if (roles.length > 0)
    statements.push({
      Effect: 'Allow',
      Action: 'iam:PassRole',
      Resource: one(roles),
      Condition: { StringEquals: { 'iam:PassedToService': 'omics.amazonaws.com' } },
    });
  return policyText({ Version: '2012-10-17', Statement: statements });
}

/**
 * Session policies for GetFederationToken, the narrowest first: by folder, by bucket, then only by action. The result
 * contains no policy above the limit of STS; the last one always fits. STS packs a policy before it measures it, so it
 * may reject a policy that is short enough.
 */
export function sessionPolicies({ partition, folders, executionRoleArns }: SessionScope): string[] {
  const unique = (values: string[]): string[] => [...new Set(values)].sort();
  const objects = unique(
    folders.map(
      ({ bucket, prefix }) => `${bucketArn(bucket, partition)}/${prefix === '' ? '' : `${escapeWildcards(prefix)}/`}*`,
    ),
  );
  const buckets = unique(folders.map(({ bucket }) => bucketArn(bucket, partition)));
  const roles = unique(executionRoleArns);
  const candidates = [
    writeSessionPolicy(objects, buckets, roles),
    writeSessionPolicy(
      buckets.map((bucket) => `${bucket}/*`),
      buckets,
      roles,
    ),
    writeSessionPolicy(
      folders.length === 0 ? [] : [bucketArn('*/*', partition)],
      folders.length === 0 ? [] : [bucketArn('*', partition)],
      roles.length === 0 ? [] : ['*'],
    ),
  ];
  return unique(candidates).length === 1
    ? [candidates[0]!]
    : candidates.filter((text, at) => text.length <= SESSION_POLICY_LIMIT && candidates.indexOf(text) === at);
}

/** What a client may do with the credentials that polony issues. */
export type CredentialPurpose = 'read' | 'upload';

/**
 * The session policy of credentials that polony issues for a prefix. A session policy only restricts what the provider
 * may do. Uploads need s3:ListBucket and s3:GetBucketLocation, like instruments (the vendor's page), and what resumes a
 * multipart upload, but nothing that reads an object. If a KMS key encrypts the bucket, S3 uses the key for the caller.
 * @param prefix of the keys in the bucket; `runs/` is the folder, but `runs` would also match `runs-secret`
 */
export function issuedCredentialsPolicy(
  kind: CredentialPurpose,
  bucket: string,
  prefix: string,
  region: string,
): string {
  const keys = `${escapeWildcards(prefix)}*`;
  const bucketResource = bucketArn(bucket, partitionOf(region));
  return policyText({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Action:
          kind === 'read' ? 's3:GetObject' : ['s3:PutObject', 's3:AbortMultipartUpload', 's3:ListMultipartUploadParts'],
        Resource: `${bucketResource}/${keys}`,
      },
      {
        Effect: 'Allow',
        Action: 's3:ListBucket',
        Resource: bucketResource,
        ...(prefix !== '' && { Condition: { StringLike: { 's3:prefix': keys } } }),
      },
      { Effect: 'Allow', Action: 's3:GetBucketLocation', Resource: bucketResource },
      {
        Effect: 'Allow',
        Action: kind === 'read' ? 'kms:Decrypt' : ['kms:Decrypt', 'kms:GenerateDataKey'],
        Resource: '*',
        Condition: { StringEquals: { 'kms:ViaService': `s3.${region}.${dnsSuffixOf(region)}` } },
      },
    ],
  });
}
