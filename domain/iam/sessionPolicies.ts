import { actionsOn } from './permissions.js';

/** How polony gets into a customer's account. */
export type ProviderAccess = {
  /** Region whose STS endpoint is asked. */
  region: string;
  /** Changes with whatever changes how the account is entered, so that sessions of before are not used any more. */
  version: string;
} & (
  | { type: 'role'; roleArn: string; externalId: string }
  /** `policies`: what sessions may do, the narrowest first; the next is asked for where AWS finds one too large. */
  | { type: 'accessKeys'; accessKeyId: string; secretAccessKey: string; policies: string[] }
);

/** What a provider with access keys is used for: its sessions may do no more. */
export interface SessionScope {
  folders: { bucket: string; prefix: string }[];
  executionRoleArns: string[];
}

/** The most that STS takes as a session policy, in characters (GetFederationToken, API Reference). */
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

/** In a policy's Resource, `*`, `?` and `$` of a name stand for themselves when written so (IAM User Guide, policy variables). */
function literal(text: string): string {
  return text.replace(/[*?$]/g, (char) => `\${${char}}`);
}

const one = (values: string[]): string | string[] => (values.length === 1 ? values[0]! : values);

/** A session gets what its policy and the user's policy both allow, so this only ever takes away. */
function policy(objects: string[], buckets: string[], roles: string[]): string {
  const statements: object[] = [{ Effect: 'Allow', Action: 'sts:GetCallerIdentity', Resource: '*' }];
  if (buckets.length > 0) {
    statements.push(
      { Effect: 'Allow', Action: OBJECT_ACTIONS, Resource: one(objects) },
      { Effect: 'Allow', Action: BUCKET_ACTIONS, Resource: one(buckets) },
    );
  }
  // Flows may be set up on a provider that has no compute connection yet.
  statements.push({ Effect: 'Allow', Action: OMICS_ACTIONS, Resource: '*' });
  if (roles.length > 0)
    statements.push({
      Effect: 'Allow',
      Action: 'iam:PassRole',
      Resource: one(roles),
      Condition: { StringEquals: { 'iam:PassedToService': 'omics.amazonaws.com' } },
    });
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}

/**
 * Session policies for GetFederationToken, the narrowest first: folder by folder, then bucket by bucket, then the actions alone.
 * Those over STS's limit are left out; the last one always fits. STS packs a policy before it counts it, so a later one may
 * be needed although an earlier one fits in characters.
 */
export function sessionPolicies({ folders, executionRoleArns }: SessionScope): string[] {
  const unique = (values: string[]): string[] => [...new Set(values)].sort();
  const objects = unique(
    folders.map(({ bucket, prefix }) => `arn:aws:s3:::${bucket}/${prefix === '' ? '' : `${literal(prefix)}/`}*`),
  );
  const buckets = unique(folders.map(({ bucket }) => `arn:aws:s3:::${bucket}`));
  const roles = unique(executionRoleArns);
  const candidates = [
    policy(objects, buckets, roles),
    policy(
      buckets.map((bucket) => `${bucket}/*`),
      buckets,
      roles,
    ),
    policy(
      folders.length === 0 ? [] : ['arn:aws:s3:::*/*'],
      folders.length === 0 ? [] : ['arn:aws:s3:::*'],
      roles.length === 0 ? [] : ['*'],
    ),
  ];
  return unique(candidates).length === 1
    ? [candidates[0]!]
    : candidates.filter((text, at) => text.length <= SESSION_POLICY_LIMIT && candidates.indexOf(text) === at);
}

/** What a client may do with a session that is handed out. */
export type CredentialPurpose = 'read' | 'upload';

/**
 * The session policy of credentials that are handed out for a prefix. As a session policy it only takes away from what the provider
 * may. Uploading takes s3:ListBucket and s3:GetBucketLocation as the vendor's page says of its instruments, and what resumes a
 * multipart upload, but nothing that reads an object. Where the bucket is encrypted with a KMS key, S3 uses that for the caller.
 * @param prefix of the keys, in the bucket; `runs/` is the folder, `runs` would be `runs-secret` too
 */
export function issuedCredentialsPolicy(
  kind: CredentialPurpose,
  bucket: string,
  prefix: string,
  region: string,
): string {
  const keys = `${literal(prefix)}*`;
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Action:
          kind === 'read' ? 's3:GetObject' : ['s3:PutObject', 's3:AbortMultipartUpload', 's3:ListMultipartUploadParts'],
        Resource: `arn:aws:s3:::${bucket}/${keys}`,
      },
      {
        Effect: 'Allow',
        Action: 's3:ListBucket',
        Resource: `arn:aws:s3:::${bucket}`,
        ...(prefix !== '' && { Condition: { StringLike: { 's3:prefix': keys } } }),
      },
      { Effect: 'Allow', Action: 's3:GetBucketLocation', Resource: `arn:aws:s3:::${bucket}` },
      {
        Effect: 'Allow',
        Action: kind === 'read' ? 'kms:Decrypt' : ['kms:Decrypt', 'kms:GenerateDataKey'],
        Resource: '*',
        Condition: { StringEquals: { 'kms:ViaService': `s3.${region}.amazonaws.com` } },
      },
    ],
  });
}
