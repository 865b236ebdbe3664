/**
 * The permissions that the vendor's page names (section Policy Permissions), as data: what each is for, which capability
 * needs it, on which resource, and the smallest statement that grants it. IAM documents, the check of a pasted policy and
 * the verification of providers all read this one table.
 */

/** How polony comes to an AWS account: by assuming a role, or with the access keys of a user. */
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
  /** `requiredForUsers`: required with access keys, without meaning for a role. */
  requirement: 'required' | 'requiredForUsers' | 'optional';
  /** What polony does with it. */
  purpose: string;
  /** What becomes possible once it is granted. */
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
 * The table. `neededBy` follows the page's column "Required For", with these of polony's own:
 * - A session made of access keys is a federation token, whatever it is for, so that every capability of a user needs it.
 * - Bases2Fastq is started for runs whose RunUploaded.json says that they are whole, and its results are read: `s3:GetObject` and `s3:ListBucket`.
 * - Without `s3:GetObject` instruments can upload, but polony sees only that RunUploaded.json exists, not what it says. The page
 *   does not ask for it there, so that documents for run upload or credentials alone leave it out.
 */
export const PERMISSIONS: readonly Permission[] = [
  row(
    's3:GetBucketLocation',
    'bucket',
    'required',
    "Asks in which region the bucket is, to compare it with the storage connection's",
    'Uploads from instruments to the right regional endpoint',
    ['runUpload'],
  ),
  row(
    's3:ListBucket',
    'listing',
    'required',
    'Lists run folders and files below the prefix',
    'Finding new runs, checking that they are whole, browsing',
    ['runUpload', 'dataExploration', 'bases2fastq'],
  ),
  row('s3:PutObject', 'objectWrite', 'required', 'Writes files, whole or in parts', 'Uploads from instruments', [
    'runUpload',
  ]),
  row(
    'sts:GetCallerIdentity',
    'session',
    'required',
    'Tells whose credentials these are, to compare them with the provider',
    'Proof that the credentials are those of the role or user; AWS grants it to everyone',
    ['runUpload'],
  ),
  row(
    'sts:GetFederationToken',
    'session',
    'requiredForUsers',
    'Makes short sessions of long-lived access keys, so that the keys themselves are used for nothing else',
    'Everything that is done with access keys',
    CAPABILITIES,
  ),
  row(
    'omics:GetWorkflow',
    'workflow',
    'optional',
    'Reads state and parameters of the shared Bases2Fastq workflow',
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
    'Hands the execution role to HealthOmics when a run is started',
    'Bases2Fastq executions, whose files are read and written with that role',
    bases2fastq,
  ),
  row(
    'omics:GetRun',
    'run',
    'optional',
    'Follows a HealthOmics run to its end',
    'Status and results of executions',
    bases2fastq,
  ),
  row('omics:CancelRun', 'run', 'optional', 'Stops a HealthOmics run', 'Cancelling executions', bases2fastq),
  row(
    's3:GetBucketPolicy',
    'bucket',
    'optional',
    "Reads the bucket's policy before it is changed",
    'Sharing a bucket for reading',
    sharing,
  ),
  row(
    's3:PutBucketPolicy',
    'bucket',
    'optional',
    "Writes the bucket's policy with a statement added or taken away",
    'Sharing a bucket for reading',
    sharing,
  ),
  row(
    's3:DeleteBucketPolicy',
    'bucket',
    'optional',
    "Removes the bucket's policy when its last statement is taken away",
    'Ending the last share of a bucket',
    sharing,
  ),
  row(
    's3:GetObject',
    'objectRead',
    'optional',
    'Reads files: RunUploaded.json, results, downloads by presigned URL',
    'Downloads while browsing, reading whether a run is complete, results of Bases2Fastq',
    bases2fastq,
    ['runUpload', 'dataExploration', 'cliCredentials'],
    ['dataExploration', 'bases2fastq'],
  ),
];

/** The actions that are granted on one of these, in the order of the table. */
export function actionsOn(...objects: PermissionObject[]): PermissionAction[] {
  return PERMISSIONS.filter(({ on }) => objects.includes(on)).map(({ action }) => action);
}

/** The row of an action. IAM does not mind case. */
export function findPermission(action: string): Permission | undefined {
  return PERMISSIONS.find((permission) => permission.action.toLowerCase() === action.toLowerCase());
}

/** The rows that mean anything for a credential type. */
export function permissionsForCredential(credentialType: CredentialType): Permission[] {
  return PERMISSIONS.filter(
    (permission) => credentialType === 'accessKeys' || permission.requirement !== 'requiredForUsers',
  );
}

/** The rows to grant for these capabilities: all required ones, and the optional ones that they want. */
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

/** What is known of where a permission is to hold; what is left out counts as any. */
export interface PermissionScope {
  bucket?: string;
  /** In its normal form, empty for the whole bucket. */
  prefix?: string;
  executionRoleArn?: string;
  /** The customer's account. */
  accountId?: string;
  region?: string;
  workflowId?: string;
  workflowOwnerId?: string;
}

/** What an action is asked on: IAM must allow it on each of the resources. `*` stands for whatever is not known. */
export interface PermissionTarget {
  resources: string[];
  /** What the request says of itself beside the resource, by condition key; may end in `*`, as resources. */
  context: Record<string, string>;
}

/** The principal that execution roles are passed to. */
export const HEALTHOMICS_SERVICE = 'omics.amazonaws.com';

/** Resources and condition keys of each action (Service Authorization Reference: S3, STS, IAM, HealthOmics). */
export function permissionTarget(action: PermissionAction, scope: PermissionScope): PermissionTarget {
  const { bucket = '*', prefix = '', accountId = '*', region = '*' } = scope;
  const runs = `arn:aws:omics:${region}:${accountId}:run/*`;
  switch (findPermission(action)!.on) {
    case 'objectRead':
    case 'objectWrite':
      return { resources: [objectsArn(bucket, prefix)], context: {} };
    case 'listing':
      return { resources: [bucketArn(bucket)], context: { 's3:prefix': below(prefix) } };
    case 'bucket':
      return { resources: [bucketArn(bucket)], context: {} };
    case 'session':
      return { resources: ['*'], context: {} };
    case 'workflow':
      return { resources: [workflowArn(scope)], context: {} };
    case 'workflowRun':
      return { resources: [workflowArn(scope), runs], context: {} };
    case 'run':
      return { resources: [runs], context: {} };
    case 'role':
      return {
        resources: [scope.executionRoleArn ?? `arn:aws:iam::${accountId}:role/*`],
        context: { 'iam:PassedToService': HEALTHOMICS_SERVICE },
      };
  }
}

/** Everything below a prefix, `*` for the whole bucket. With `runs` that is `runs/…`, never `runs-secret/…`. */
export const below = (prefix: string): string => (prefix === '' ? '*' : `${prefix}/*`);
export const bucketArn = (bucket: string): string => `arn:aws:s3:::${bucket}`;
export const objectsArn = (bucket: string, prefix: string): string => `${bucketArn(bucket)}/${below(prefix)}`;
/** A shared workflow is a resource of the account that shares it. */
export const workflowArn = ({ region = '*', workflowOwnerId = '*', workflowId = '*' }: PermissionScope): string =>
  `arn:aws:omics:${region}:${workflowOwnerId}:workflow/${workflowId}`;

/** The smallest statement that grants one row of the table on what is known. */
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

/** The condition that the page's templates put on an action. */
export function conditionFor(action: PermissionAction, ...prefixes: string[]): Statement['Condition'] | undefined {
  if (action === 's3:ListBucket' && !prefixes.includes('')) return { StringLike: { 's3:prefix': prefixes.map(below) } };
  if (action === 'iam:PassRole') return { StringEquals: { 'iam:PassedToService': HEALTHOMICS_SERVICE } };
  return undefined;
}

/** What is known of a row: `conditional` where it holds in some cases only, `unknown` where it cannot be told. */
export type PermissionState = 'granted' | 'denied' | 'conditional' | 'unknown';

/** What is known of a capability. */
export interface CapabilityState {
  capability: Capability;
  /** `limited`: works in part, or in some cases only. */
  state: 'ready' | 'limited' | 'notReady';
  /** Actions that are denied, and with which more of it would work. */
  missing: PermissionAction[];
  /** Actions that hold in some cases only. */
  conditional: PermissionAction[];
  /** Actions of which nothing is known; they do not make it less than ready. */
  unknown: PermissionAction[];
}

/** What the states of the rows make of each capability. */
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
