import { storageUri } from '../files/paths.js';
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
  /** `scope`: what the sessions are for, which their session policy restricts them to. */
  | { type: 'accessKeys'; accessKeyId: string; secretAccessKey: string; scope: SessionScope }
);

/** What polony uses a provider with access keys for. Its sessions may do no more. */
export interface SessionScope {
  /** Of the provider's account. */
  partition: string;
  folders: { bucket: string; prefix: string }[];
  executionRoleArns: string[];
}

/** One of the things that a session is for: a folder in S3, or a role for HealthOmics. */
export type SessionEntry = { bucket: string; prefix: string } | { executionRoleArn: string };

/** An entry that a session policy lacks, because AWS does not accept it there. */
export interface LeftOutEntry {
  entry: SessionEntry;
  /** What AWS said. */
  reason: string;
  /** Whether AWS was not asked about this entry alone, because too many others are at fault. */
  isUntried?: true;
}

/** The longest session policy that STS accepts, in characters (STS API Reference, GetFederationToken). */
export const SESSION_POLICY_LIMIT = 2048;
/** How many policies polony tries at most, because each is a call to STS. */
const MOST_POLICIES = 8;

const OBJECT_ACTIONS = [...actionsOn('objectRead'), ...actionsOn('objectWrite'), 's3:AbortMultipartUpload'];
const BUCKET_ACTIONS = [
  ...actionsOn('listing'),
  ...actionsOn('bucket'),
  's3:GetBucketPublicAccessBlock',
  's3:GetBucketOwnershipControls',
  's3:GetEncryptionConfiguration',
];
const OMICS_ACTIONS = [
  ...actionsOn('workflow', 'workflowRun'),
  'omics:TagResource',
  ...actionsOn('run'),
  // After a restore, `polony reconcile` lists runs where the user may.
  'omics:ListRuns',
];

/**
 * Escapes `*`, `?` and `$` for a policy's Resource or a pattern in a condition, where they are wildcards and the
 * beginning of a variable (IAM User Guide, policy variables).
 */
function escapeWildcards(text: string): string {
  return text.replace(/[*?$]/g, (char) => `\${${char}}`);
}

const one = (values: string[]): string | string[] => (values.length === 1 ? values[0]! : values);
const unique = (values: string[]): string[] => [...new Set(values)].sort();

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
 * Session policies for GetFederationToken, the narrowest first: by folder; then with whole buckets in place of more and
 * more folders, of the longest names first, so that one long prefix does not widen all; then only by action. The result
 * contains no policy above the limit of STS; the last one always fits. STS packs a policy before it measures it, so it
 * may reject a policy that is short enough.
 */
export function sessionPolicies({ partition, folders, executionRoleArns }: SessionScope): string[] {
  const buckets = unique(folders.map(({ bucket }) => bucketArn(bucket, partition)));
  const roles = unique(executionRoleArns);
  const candidates = widenStepwise(partition, folders).map((objects) => writeSessionPolicy(objects, buckets, roles));
  const widest = writeSessionPolicy(
    folders.length === 0 ? [] : [bucketArn('*/*', partition)],
    folders.length === 0 ? [] : [bucketArn('*', partition)],
    roles.length === 0 ? [] : ['*'],
  );
  const short = [...new Set(candidates)].filter((text) => text.length <= SESSION_POLICY_LIMIT);
  const policies = [...pickEvenly(short, MOST_POLICIES - 1), widest];
  return [...new Set(policies)];
}

/** Lists of objects that a policy may name: first by folder, then with whole buckets in place of the longest ones. */
function widenStepwise(partition: string, folders: SessionScope['folders']): string[][] {
  const wholeBucket = (bucket: string): string => `${bucketArn(bucket, partition)}/*`;
  let resources = new Map(
    folders.map(({ bucket, prefix }) => [
      prefix === '' ? wholeBucket(bucket) : `${bucketArn(bucket, partition)}/${escapeWildcards(prefix)}/*`,
      bucket,
    ]),
  );
  const steps: string[][] = [];
  for (;;) {
    // A whole bucket covers its folders.
    const covered = new Set([...resources].filter(([text, bucket]) => text === wholeBucket(bucket)).map(([, b]) => b));
    resources = new Map(
      [...resources].filter(([text, bucket]) => !covered.has(bucket) || text === wholeBucket(bucket)),
    );
    steps.push([...resources.keys()].sort());
    const longest = [...resources]
      .filter(([, bucket]) => !covered.has(bucket))
      .sort(([one], [other]) => policyText(other).length - policyText(one).length)[0];
    if (longest === undefined) return steps;
    resources.set(wholeBucket(longest[1]), longest[1]);
  }
}

/** At most so many values, with the first and the last. */
function pickEvenly<T>(values: readonly T[], most: number): T[] {
  if (values.length <= most) return [...values];
  return Array.from({ length: most }, (_, at) => values[Math.round((at * (values.length - 1)) / (most - 1))]!);
}

/** The entries of a scope, each once. */
export function entriesOf({ folders, executionRoleArns }: SessionScope): SessionEntry[] {
  const entries = [...folders, ...executionRoleArns.map((executionRoleArn) => ({ executionRoleArn }))];
  return entries.filter((entry, at) => entries.findIndex((other) => isSameEntry(entry, other)) === at);
}

/** The scope that has these entries of a scope. */
export function narrowScope({ partition }: SessionScope, entries: readonly SessionEntry[]): SessionScope {
  return {
    partition,
    folders: entries.filter((entry) => 'bucket' in entry),
    executionRoleArns: entries.flatMap((entry) => ('bucket' in entry ? [] : [entry.executionRoleArn])),
  };
}

/** Whether two entries are for the same folder or role. */
export function isSameEntry(one: SessionEntry, other: SessionEntry): boolean {
  if ('bucket' in one) return 'bucket' in other && one.bucket === other.bucket && one.prefix === other.prefix;
  return 'executionRoleArn' in other && one.executionRoleArn === other.executionRoleArn;
}

/** An entry for people: the URI of a folder, or the ARN of a role. */
export function describeEntry(entry: SessionEntry): string {
  return 'bucket' in entry ? storageUri(entry.bucket, entry.prefix) : entry.executionRoleArn;
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
