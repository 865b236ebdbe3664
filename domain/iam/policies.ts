import { checkAccountId } from '../arn.js';
import { checkExternalId } from '../connections/provider.js';
import { throwIfInvalid } from '../errors.js';
import { HEALTHOMICS_PARTITION } from '../regions.js';
import type { IamChoice } from './choice.js';
import { groupForListing } from './locations.js';
import {
  actionsOn,
  below,
  bucketArn,
  conditionFor,
  HEALTHOMICS_SERVICE,
  objectsArn,
  type PermissionAction,
  type PermissionObject,
  permissionsForCapabilities,
  permissionTarget,
  type PolicyDocument,
  runArn,
  scopePartition,
  type Statement,
  workflowArn,
} from './permissions.js';

type Condition = Statement['Condition'];

/** The provider role's trust policy: the trusted account may assume the role with the external ID. */
export function trustPolicy(trustedAccountId: string, externalId: string, partition: string): PolicyDocument {
  throwIfInvalid([
    ...checkAccountId('trustedAccountId', trustedAccountId),
    ...checkExternalId('externalId', externalId),
  ]);
  return policyOf([
    {
      Effect: 'Allow',
      Principal: { AWS: [`arn:${partition}:iam::${trustedAccountId}:root`] },
      Action: 'sts:AssumeRole',
      Condition: { StringEquals: { 'sts:ExternalId': externalId } },
    },
  ]);
}

/** The permission policy of the provider's role or user. */
export function permissionPolicy(choice: IamChoice): PolicyDocument {
  const permissions = permissionsForCapabilities(choice.credentialType, choice.capabilities);
  const granted = new Set(permissions.map(({ action }) => action));
  const select: Select = (...objects) => actionsOn(...objects).filter((action) => granted.has(action));
  return policyOf([
    ...s3Statements(choice, select),
    ...allow('STSOperations', select('session'), '*'),
    ...omicsStatements(choice, select),
    ...allow(
      'OmicsPassRole',
      select('role'),
      choice.variant === 'least' ? singleOrList(permissionTarget('iam:PassRole', choice).resources) : '*',
      conditionFor('iam:PassRole'),
    ),
  ]);
}

/** The actions on these objects that the choice needs. */
type Select = (...objects: PermissionObject[]) => PermissionAction[];

function s3Statements(choice: IamChoice, select: Select): Statement[] {
  const partition = scopePartition(choice);
  const objects = singleOrList(choice.locations.map(({ bucket, prefix }) => objectsArn(bucket, prefix, partition)));
  const buckets = singleOrList([...new Set(choice.locations.map(({ bucket }) => bucketArn(bucket, partition)))]);
  // Somebody else may create a bucket of the same name after the customer deletes theirs.
  const account = choice.variant === 'least' ? resourceAccount(choice.accountId) : undefined;
  const listing = groupForListing(choice.locations).flatMap((group, index) =>
    allow(
      numberedSid('S3ObjectListing', index),
      select('listing'),
      singleOrList(group.buckets.map((bucket) => bucketArn(bucket, partition))),
      mergeConditions(account, conditionFor('s3:ListBucket', ...group.prefixes)),
    ),
  );
  return [
    ...allow('S3ObjectWrite', select('objectWrite'), objects, account),
    ...allow('S3ObjectRead', select('objectRead'), objects, account),
    ...listing,
    ...allow('S3BucketLevelOperations', select('bucket'), buckets, account),
  ];
}

function omicsStatements(choice: IamChoice, select: Select): Statement[] {
  if (choice.variant === 'vendor') {
    const actions = select('workflow', 'workflowRun', 'run');
    return allow('OmicsOperations', actions, '*');
  }
  const workflow = workflowArn(choice);
  const runs = singleOrList(permissionTarget('omics:GetRun', choice).resources);
  return [
    ...allow('OmicsWorkflow', select('workflow', 'workflowRun'), [workflow, `${workflow}/version/*`]),
    ...allow('OmicsRuns', select('workflowRun', 'run'), runs),
  ];
}

/**
 * The execution role's trust policy. `least` also prevents HealthOmics from using the role for another account, when
 * the account is known (IAM User Guide, "The confused deputy problem": aws:SourceAccount and aws:SourceArn).
 */
export function executionTrustPolicy({
  variant,
  accountId,
  region = '*',
}: Pick<IamChoice, 'variant' | 'accountId' | 'region'>): PolicyDocument {
  const isGuarded = variant === 'least' && accountId !== undefined;
  return policyOf([
    {
      Effect: 'Allow',
      Principal: { Service: HEALTHOMICS_SERVICE },
      Action: 'sts:AssumeRole',
      ...(isGuarded && {
        Condition: {
          StringEquals: { 'aws:SourceAccount': accountId },
          ArnLike: { 'aws:SourceArn': runArn({ region, accountId }) },
        },
      }),
    },
  ]);
}

type ExecutionChoice = Pick<IamChoice, 'variant' | 'locations' | 'accountId' | 'region'>;

/** The execution role's permission policy. */
export function executionPermissionPolicy(choice: ExecutionChoice): PolicyDocument {
  return policyOf(choice.variant === 'vendor' ? vendorExecutionStatements(choice) : leastExecutionStatements(choice));
}

function vendorExecutionStatements({ locations }: ExecutionChoice): Statement[] {
  const buckets = [...new Set(locations.map(({ bucket }) => bucketArn(bucket, HEALTHOMICS_PARTITION)))];
  return [
    {
      Sid: 'LogsAndECR',
      Effect: 'Allow',
      Action: ['cloudwatch:*', 'ecr:GetDownloadUrlForLayer', 'logs:*', 'ecr:BatchGetImage'],
      Resource: '*',
    },
    {
      Sid: 'S3',
      Effect: 'Allow',
      Action: ['s3:PutObject', 's3:GetObjectAcl', 's3:GetObject', 's3:ListBucket', 's3:PutObjectAcl'],
      Resource: buckets.flatMap((bucket) => [`${bucket}/*`, bucket]),
    },
  ];
}

/**
 * The log group, images and folders that a run uses (HealthOmics User Guide, "Service roles for AWS HealthOmics",
 * "Amazon ECR permissions"). No ACLs, because the vendor's page recommends to disable them, and no CloudWatch metrics.
 */
function leastExecutionStatements({ locations, accountId, region = '*' }: ExecutionChoice): Statement[] {
  const account = resourceAccount(accountId);
  return [
    {
      Sid: 'Logs',
      Effect: 'Allow',
      Action: ['logs:CreateLogGroup', 'logs:DescribeLogStreams', 'logs:CreateLogStream', 'logs:PutLogEvents'],
      Resource: `arn:${HEALTHOMICS_PARTITION}:logs:${region}:${accountId ?? '*'}:log-group:/aws/omics/*`,
    },
    // The images may be in a third account: neither the customer's nor the one that shares the workflow.
    {
      Sid: 'ECR',
      Effect: 'Allow',
      Action: ['ecr:GetDownloadUrlForLayer', 'ecr:BatchGetImage', 'ecr:BatchCheckLayerAvailability'],
      Resource: `arn:${HEALTHOMICS_PARTITION}:ecr:${region}:*:repository/*`,
    },
    {
      Sid: 'S3Objects',
      Effect: 'Allow',
      Action: ['s3:GetObject', 's3:PutObject'],
      Resource: locations.map(({ bucket, prefix }) => objectsArn(bucket, prefix, HEALTHOMICS_PARTITION)),
      ...(account && { Condition: account }),
    },
    ...groupForListing(locations).map(({ buckets, prefixes }, index): Statement => {
      const folders = prefixes.includes('') ? undefined : { StringLike: { 's3:prefix': prefixes.map(below) } };
      const condition = mergeConditions(account, folders);
      return {
        Sid: numberedSid('S3Listing', index),
        Effect: 'Allow',
        Action: ['s3:ListBucket'],
        Resource: buckets.map((bucket) => bucketArn(bucket, HEALTHOMICS_PARTITION)),
        ...(condition && { Condition: condition }),
      };
    }),
  ];
}

function policyOf(statements: Statement[]): PolicyDocument {
  return { Version: '2012-10-17', Statement: statements };
}

/** A statement for these actions; no statement when there are none. */
function allow(sid: string, actions: PermissionAction[], resource: string | string[], condition?: Condition) {
  if (actions.length === 0) return [];
  const statement: Statement = {
    Sid: sid,
    Effect: 'Allow',
    Action: actions,
    Resource: resource,
    ...(condition && { Condition: condition }),
  };
  return [statement];
}

/** `S3ObjectListing`, `S3ObjectListing2`, …: Sids of one policy must differ. */
function numberedSid(sid: string, index: number): string {
  return index === 0 ? sid : `${sid}${index + 1}`;
}

/** One text when there is one, as the vendor's page writes resources. */
function singleOrList(values: string[]): string | string[] {
  return values.length === 1 ? values[0]! : values;
}

function resourceAccount(accountId: string | undefined): Condition {
  return accountId === undefined ? undefined : { StringEquals: { 'aws:ResourceAccount': accountId } };
}

function mergeConditions(...conditions: Condition[]): Condition {
  const given = conditions.filter((condition) => condition !== undefined);
  return given.length === 0 ? undefined : (Object.assign({}, ...given) as Condition);
}
