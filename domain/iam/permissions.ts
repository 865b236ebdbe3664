/**
 * The permissions of the vendor's page (section Policy Permissions) as data: their purpose, the capabilities that need
 * them, their resources, and the smallest statement that grants each. IAM documents, the policy check and the
 * verification of providers use this one table.
 */

import { HEALTHOMICS_PARTITION, partitionOf } from '../regions.js';

/** How polony accesses an AWS account: it assumes a role, or it uses the access keys of a user. */
export const CREDENTIAL_TYPES = ['role', 'accessKeys'] as const;
export type CredentialType = (typeof CREDENTIAL_TYPES)[number];

/** What a customer may want polony to do. */
export const CAPABILITIES = ['runUpload', 'dataExploration', 'bases2fastq', 'sharing', 'cliCredentials'] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** The actions of the table, spelled as IAM does, in its order. */
export const ACTIONS = [
  's3:GetBucketLocation',
  's3:ListBucket',
  's3:PutObject',
  'sts:GetCallerIdentity',
  'sts:GetFederationToken',
  'omics:GetWorkflow',
  'omics:StartRun',
  'iam:PassRole',
  'omics:GetRun',
  'omics:CancelRun',
  's3:GetBucketPolicy',
  's3:PutBucketPolicy',
  's3:DeleteBucketPolicy',
  's3:GetObject',
] as const;
export type PermissionAction = (typeof ACTIONS)[number];

/** What a permission is granted on. It decides the resources of the action and its statement in the IAM documents. */
export type PermissionObject =
  'objectRead' | 'objectWrite' | 'listing' | 'bucket' | 'session' | 'workflow' | 'workflowRun' | 'run' | 'role';

/** A row of the table. */
export interface Permission {
  action: PermissionAction;
  on: PermissionObject;
  /** `requiredForUsers`: required with access keys, and meaningless for a role. */
  requirement: 'required' | 'requiredForUsers' | 'optional';
  /** Why polony needs it. */
  purpose: string;
  /** What works once it is granted. */
  unlocks: string;
  /** Capabilities that do not work at all without it. */
  neededBy: readonly Capability[];
  /** Capabilities that work in part without it. */
  limits: readonly Capability[];
  /** Capabilities whose IAM documents contain it; required rows are in every document. */
  grantedFor: readonly Capability[];
}

const row = (
  action: PermissionAction,
  on: PermissionObject,
  requirement: Permission['requirement'],
  purpose: string,
  unlocks: string,
  neededBy: readonly Capability[],
  limits: readonly Capability[] = [],
  grantedFor = neededBy,
): Permission => ({
  action,
  on,
  requirement,
  purpose,
  unlocks,
  neededBy,
  limits,
  grantedFor,
});

const bases2fastq = ['bases2fastq'] as const;
const sharing = ['sharing'] as const;

/**
 * The table. `neededBy` follows the page's column "Required For", with these additions of polony:
 * - polony uses access keys only for federation tokens, so every capability of a user needs `sts:GetFederationToken`.
 * - polony starts Bases2Fastq for runs whose RunUploaded.json says that they are complete, and reads the results. This
 *   needs `s3:GetObject` and `s3:ListBucket`.
 * - Without `s3:GetObject`, instruments can upload, but polony only sees that RunUploaded.json exists. The page does
 *   not ask for it there, so documents for only run upload or only credentials do not contain it.
 */
export const PERMISSIONS: readonly Permission[] = [
  row(
    's3:GetBucketLocation',
    'bucket',
    'required',
    "Compares the bucket's region with the region of the storage connection",
    'Uploads from instruments to the correct regional endpoint',
    ['runUpload'],
  ),
  row(
    's3:ListBucket',
    'listing',
    'required',
    'Lists run folders and files below the prefix',
    'Finding new runs, checking that they are complete, browsing files',
    ['runUpload', 'dataExploration', 'bases2fastq'],
  ),
  row('s3:PutObject', 'objectWrite', 'required', 'Writes files, whole or in parts', 'Uploads from instruments', [
    'runUpload',
  ]),
  row(
    'sts:GetCallerIdentity',
    'session',
    'required',
    'Checks that the credentials belong to the provider',
    'Proof that the credentials belong to the role or user. AWS grants this permission to everyone.',
    ['runUpload'],
  ),
  row(
    'sts:GetFederationToken',
    'session',
    'requiredForUsers',
    'Creates short sessions from long-lived access keys, so that polony uses the keys for nothing else',
    'Everything that polony does with access keys',
    CAPABILITIES,
  ),
  row(
    'omics:GetWorkflow',
    'workflow',
    'optional',
    'Reads the state and the parameters of the shared Bases2Fastq workflow',
    'Creating and using Bases2Fastq flows',
    bases2fastq,
  ),
  row(
    'omics:StartRun',
    'workflowRun',
    'optional',
    'Starts the workflow on a run',
    'Bases2Fastq executions',
    bases2fastq,
  ),
  row(
    'iam:PassRole',
    'role',
    'optional',
    'Passes the execution role to HealthOmics when polony starts a run',
    'Bases2Fastq executions, which read and write files with that role',
    bases2fastq,
  ),
  row(
    'omics:GetRun',
    'run',
    'optional',
    'Watches a HealthOmics run until it ends',
    'Status and results of executions',
    bases2fastq,
  ),
  row('omics:CancelRun', 'run', 'optional', 'Stops a HealthOmics run', 'Canceling executions', bases2fastq),
  row(
    's3:GetBucketPolicy',
    'bucket',
    'optional',
    "Reads the bucket's policy before polony changes it",
    'Sharing a bucket for reading',
    sharing,
  ),
  row(
    's3:PutBucketPolicy',
    'bucket',
    'optional',
    "Writes the bucket's policy after polony adds or removes a statement",
    'Sharing a bucket for reading',
    sharing,
  ),
  row(
    's3:DeleteBucketPolicy',
    'bucket',
    'optional',
    "Deletes the bucket's policy after polony removes its last statement",
    'Ending the last share of a bucket',
    sharing,
  ),
  row(
    's3:GetObject',
    'objectRead',
    'optional',
    'Reads files: RunUploaded.json, results, downloads by presigned URL',
    'Downloads, checking that a run is complete, results of Bases2Fastq',
    bases2fastq,
    ['runUpload', 'dataExploration', 'cliCredentials'],
    ['dataExploration', 'bases2fastq'],
  ),
];

/** The actions that are granted on one of these objects, in the order of the table. */
export function actionsOn(...objects: PermissionObject[]): PermissionAction[] {
  return PERMISSIONS.filter(({ on }) => objects.includes(on)).map(({ action }) => action);
}

/** Finds the row of an action. IAM ignores case. */
export function findPermission(action: string): Permission | undefined {
  return PERMISSIONS.find((permission) => permission.action.toLowerCase() === action.toLowerCase());
}

/** The rows that apply to a credential type. */
export function permissionsForCredential(credentialType: CredentialType): Permission[] {
  return PERMISSIONS.filter(
    (permission) => credentialType === 'accessKeys' || permission.requirement !== 'requiredForUsers',
  );
}

/** The rows to grant for capabilities: all required rows, and the optional rows that the capabilities use. */
export function permissionsForCapabilities(
  credentialType: CredentialType,
  capabilities: readonly Capability[],
): Permission[] {
  return permissionsForCredential(credentialType).filter(
    ({ requirement, grantedFor }) =>
      requirement !== 'optional' || grantedFor.some((capability) => capabilities.includes(capability)),
  );
}

/** A statement of an IAM policy, as IAM writes it. */
export interface Statement {
  Sid?: string;
  Effect: 'Allow' | 'Deny';
  Principal?: Record<string, string | string[]>;
  Action: string | string[];
  Resource?: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

/** An IAM policy. */
export interface PolicyDocument {
  Version: '2012-10-17';
  Statement: Statement[];
}

/** Where a permission must apply, as far as polony knows. A missing member stands for any value. */
export interface PermissionScope {
  bucket?: string;
  /** In its normal form, empty for the whole bucket. */
  prefix?: string;
  executionRoleArn?: string;
  /** The customer's account. */
  accountId?: string;
  region?: string;
  /** That of the region if absent; `aws` where polony knows neither. */
  partition?: string;
  workflowId?: string;
  workflowOwnerId?: string;
}

/** The resources of an action: IAM must allow it on each of them. `*` stands for what is unknown. */
export interface PermissionTarget {
  resources: string[];
  /** Values of condition keys in the request. A value may end with `*`, like resources. */
  context: Record<string, string>;
}

/** The service principal that execution roles trust. */
export const HEALTHOMICS_SERVICE = 'omics.amazonaws.com';

/** Resources and condition keys of each action (Service Authorization Reference: S3, STS, IAM, HealthOmics). */
export function permissionTarget(action: PermissionAction, scope: PermissionScope): PermissionTarget {
  const { bucket = '*', prefix = '', accountId = '*', region = '*' } = scope;
  const partition = scopePartition(scope);
  switch (findPermission(action)!.on) {
    case 'objectRead':
    case 'objectWrite':
      return { resources: [objectsArn(bucket, prefix, partition)], context: {} };
    case 'listing':
      return { resources: [bucketArn(bucket, partition)], context: { 's3:prefix': below(prefix) } };
    case 'bucket':
      return { resources: [bucketArn(bucket, partition)], context: {} };
    case 'session':
      return { resources: ['*'], context: {} };
    case 'workflow':
      return { resources: [workflowArn(scope)], context: {} };
    case 'workflowRun':
      return { resources: [workflowArn(scope), runArn({ region, accountId })], context: {} };
    case 'run':
      return { resources: [runArn({ region, accountId })], context: {} };
    case 'role':
      return {
        resources: [scope.executionRoleArn ?? `arn:${HEALTHOMICS_PARTITION}:iam::${accountId}:role/*`],
        context: { 'iam:PassedToService': HEALTHOMICS_SERVICE },
      };
  }
}

/** Everything below a prefix, `*` for the whole bucket. With `runs` that is `runs/…`, never `runs-secret/…`. */
export const below = (prefix: string): string => (prefix === '' ? '*' : `${prefix}/*`);
export const bucketArn = (bucket: string, partition: string): string => `arn:${partition}:s3:::${bucket}`;
export const objectsArn = (bucket: string, prefix: string, partition: string): string =>
  `${bucketArn(bucket, partition)}/${below(prefix)}`;
/** An object, or objects where the key ends with `*`. */
export const objectArn = (bucket: string, key: string, region: string): string =>
  `${bucketArn(bucket, partitionOf(region))}/${key}`;
/** A shared workflow is a resource of the account that shares it. */
export const workflowArn = ({ region = '*', workflowOwnerId = '*', workflowId = '*' }: PermissionScope): string =>
  `arn:${HEALTHOMICS_PARTITION}:omics:${region}:${workflowOwnerId}:workflow/${workflowId}`;
/** A HealthOmics run; every run of the account without an id. */
export const runArn = ({ region = '*', accountId = '*' }: PermissionScope, runId = '*'): string =>
  `arn:${HEALTHOMICS_PARTITION}:omics:${region}:${accountId}:run/${runId}`;
/** The partition in which permissions must hold. */
export const scopePartition = ({ partition, region = '' }: PermissionScope): string => partition ?? partitionOf(region);

/** The smallest statement that grants one row of the table in a scope. */
export function statementFor(action: PermissionAction, scope: PermissionScope): Statement {
  const { resources } = permissionTarget(action, scope);
  const condition = conditionFor(action, scope.prefix ?? '');
  return {
    Effect: 'Allow',
    Action: [action],
    Resource: resources.length === 1 ? resources[0]! : resources,
    ...(condition && { Condition: condition }),
  };
}

/** The condition of an action in the templates of the vendor's page. */
export function conditionFor(action: PermissionAction, ...prefixes: string[]): Statement['Condition'] | undefined {
  if (action === 's3:ListBucket' && !prefixes.includes('')) return { StringLike: { 's3:prefix': prefixes.map(below) } };
  if (action === 'iam:PassRole') return { StringEquals: { 'iam:PassedToService': HEALTHOMICS_SERVICE } };
  return undefined;
}

/** Whether a row is granted: `conditional` in some cases only, `unknown` when polony cannot know. */
export type PermissionState = 'granted' | 'denied' | 'conditional' | 'unknown';

/** Whether a capability works. */
export interface CapabilityState {
  capability: Capability;
  /** `limited`: it works in part, or in some cases only. */
  state: 'ready' | 'limited' | 'notReady';
  /** Denied actions that would make more of it work. */
  missing: PermissionAction[];
  /** Actions that are granted in some cases only. */
  conditional: PermissionAction[];
  /** Unknown actions. They do not change the state. */
  unknown: PermissionAction[];
}

/** Derives the state of each capability from the states of the rows. */
export function capabilityStates(
  credentialType: CredentialType,
  stateOf: (action: PermissionAction) => PermissionState,
): CapabilityState[] {
  const rows = permissionsForCredential(credentialType);
  return CAPABILITIES.map((capability) => {
    const concerned = rows.filter(
      ({ neededBy, limits }) => neededBy.includes(capability) || limits.includes(capability),
    );
    const inState = (state: PermissionState): Permission[] =>
      concerned.filter(({ action }) => stateOf(action) === state);
    const denied = inState('denied');
    const conditional = inState('conditional');
    const state = denied.some(({ neededBy }) => neededBy.includes(capability))
      ? 'notReady'
      : denied.length + conditional.length > 0
        ? 'limited'
        : 'ready';
    const actions = (permissions: Permission[]): PermissionAction[] => permissions.map(({ action }) => action);
    return {
      capability,
      state,
      missing: actions(denied),
      conditional: actions(conditional),
      unknown: actions(inState('unknown')),
    };
  });
}
