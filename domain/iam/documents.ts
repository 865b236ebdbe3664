import { accountOfRole, checkAccountId, checkRoleArn } from '../arn.js';
import { parseSharedWorkflow } from '../connections/flow.js';
import { checkExternalId } from '../connections/provider.js';
import { checkBucketName, checkPrefix, normalizePrefix, prefixesOverlap } from '../connections/storage.js';
import { checkHealthOmicsRegion, checkRegion } from '../regions.js';
import { type FieldProblem, throwIfInvalid } from '../errors.js';
import {
  below,
  bucketArn,
  CAPABILITIES,
  type Capability,
  conditionFor,
  CREDENTIAL_TYPES,
  type CredentialType,
  HEALTHOMICS_SERVICE,
  objectsArn,
  type PermissionAction,
  permissionsForCapabilities,
  type PermissionScope,
  type PolicyDocument,
  type Statement,
  permissionTarget,
  workflowArn,
} from './permissions.js';

/** `vendor`: the page's templates. `least`: the same actions on as little as is known to be needed. */
export const VARIANTS = ['vendor', 'least'] as const;
export type Variant = (typeof VARIANTS)[number];

/** A bucket, or one folder of it. */
export interface Location {
  bucket: string;
  /** In its normal form, empty for the whole bucket. */
  prefix: string;
}

/** What IAM documents are wanted for, checked. */
export interface IamChoice {
  credentialType: CredentialType;
  /** At least one; none within another. */
  locations: Location[];
  capabilities: readonly Capability[];
  variant: Variant;
  /** For a role. */
  externalId?: string;
  executionRoleArn?: string;
  workflowId?: string;
  workflowOwnerId?: string;
  region?: string;
  accountId?: string;
}

/** The same as a person gives it, field by field as the API names them. */
export interface IamQuery {
  credentialType: string;
  bucket: string | readonly string[];
  /** One for all buckets, one for each, or several of one bucket. */
  prefix?: string | readonly string[];
  /** All where left out; a text may name several, separated by commas. */
  capabilities?: string | readonly string[];
  externalId?: string;
  variant?: string;
  executionRoleArn?: string;
  workflowId?: string;
  workflowOwnerId?: string;
  region?: string;
  accountId?: string;
}

/** Everything for one choice. */
export interface IamDocuments {
  /** Of the provider's role; null for a user. */
  trustPolicy: PolicyDocument | null;
  /** Of the provider's role or user. */
  permissionPolicy: PolicyDocument;
  /** Of HealthOmics; null where Bases2Fastq is not wanted. */
  executionRole: { trustPolicy: PolicyDocument; permissionPolicy: PolicyDocument } | null;
  cloudFormation: string;
  terraform: string;
  awsCli: string;
}

/**
 * What IAM takes for the inline policies of a user or role, in characters that are not white space (IAM User Guide, "IAM and STS
 * character limits").
 */
const POLICY_LENGTH: Record<CredentialType, number> = { accessKeys: 2048, role: 10_240 };

const list = (value: string | readonly string[] | undefined): string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : [...value];

/**
 * Reads what documents are wanted for.
 * @throws InputError with all that is wrong at once.
 */
export function parseIamQuery(query: IamQuery): IamChoice {
  const problems: FieldProblem[] = [];
  const oneOf = <T extends string>(field: string, value: string, values: readonly T[]): T => {
    if (!(values as readonly string[]).includes(value))
      problems.push({ field, rule: 'ONE_OF', message: `must be ${values.join(', ')}` });
    return value as T;
  };
  const optional = (
    field: keyof IamQuery,
    check: (field: string, value: string) => FieldProblem[],
  ): string | undefined => {
    const value = (query[field] as string | undefined)?.trim();
    if (value === undefined || value === '') return undefined;
    problems.push(...check(field, value));
    return value;
  };
  const credentialType = oneOf('credentialType', query.credentialType, CREDENTIAL_TYPES);
  const variant = oneOf('variant', query.variant ?? 'vendor', VARIANTS);
  const named = list(query.capabilities)
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '');
  const unknown = named.filter((name) => !(CAPABILITIES as readonly string[]).includes(name));
  if (unknown.length > 0)
    problems.push({
      field: 'capabilities',
      rule: 'ONE_OF',
      message: `must be of ${CAPABILITIES.join(', ')}; ${unknown.map((name) => name.slice(0, 50)).join(', ')} is none`,
    });
  const capabilities = CAPABILITIES.filter((capability) => named.length === 0 || named.includes(capability));
  const locations = readLocations(query, problems);

  const executionRoleArn = optional('executionRoleArn', checkExecutionRoleArn);
  const executionAccount = executionRoleArn === undefined ? '' : accountOfRole(executionRoleArn);
  const accountId = optional('accountId', checkAccountId);
  if (accountId !== undefined && executionAccount !== '' && accountId !== executionAccount) {
    problems.push({
      field: 'executionRoleArn',
      rule: 'EXECUTION_ROLE_ACCOUNT',
      message: `must be a role of the account ${accountId}: iam:PassRole does not cross accounts`,
    });
  }
  const workflowText = optional('workflowId', (field, value) =>
    parseSharedWorkflow(value) === undefined
      ? [
          {
            field,
            rule: 'SHARED_WORKFLOW_ID',
            message: 'must be the Resource ID of the shared workflow (1 to 18 digits), or its ARN',
          },
        ]
      : [],
  );
  const workflow = workflowText === undefined ? undefined : parseSharedWorkflow(workflowText);
  const owner = optional('workflowOwnerId', checkAccountId);
  if (workflow?.ownerId !== undefined && owner !== undefined && workflow.ownerId !== owner) {
    problems.push({
      field: 'workflowOwnerId',
      rule: 'WORKFLOW_OWNER_MISMATCH',
      message: `must be ${workflow.ownerId}, the account in the workflow's ARN, or be left out`,
    });
  }
  const region = optional('region', capabilities.includes('bases2fastq') ? checkHealthOmicsRegion : checkRegion);
  if (workflow?.region !== undefined && region !== undefined && workflow.region !== region) {
    problems.push({
      field: 'region',
      rule: 'WORKFLOW_REGION_MISMATCH',
      message: `must be ${workflow.region}, the region in the workflow's ARN: a shared workflow runs nowhere else`,
    });
  }
  const choice: IamChoice = {
    credentialType,
    locations,
    capabilities,
    variant,
    externalId: query.externalId === '' ? undefined : query.externalId,
    executionRoleArn,
    workflowId: workflow?.id,
    workflowOwnerId: owner ?? workflow?.ownerId,
    region: region ?? workflow?.region,
    accountId: accountId ?? (executionAccount === '' ? undefined : executionAccount),
  };
  if (choice.externalId !== undefined) problems.push(...checkExternalId('externalId', choice.externalId));
  if (problems.length === 0) problems.push(...checkLength(choice));
  throwIfInvalid(problems);
  return choice;
}

/** Checks the ARN of an execution role that becomes a resource in a policy. IAM takes `*` in a path, where it would be a wildcard. */
export function checkExecutionRoleArn(field: string, value: string): FieldProblem[] {
  const problems = checkRoleArn(field, value);
  if (problems.length === 0 && /[*?]|\$\{|\{\{/.test(value))
    return [
      {
        field,
        rule: 'ROLE_ARN_WILDCARD',
        message: 'must not contain *, ?, ${ or {{: they have a meaning of their own in policies and templates',
      },
    ];
  return problems;
}

/** Checks a prefix for IAM documents. `{{resolve:…}}` would be looked up by CloudFormation, and halves of characters are no text. */
export function checkDocumentPrefix(field: string, value: string): FieldProblem[] {
  const problems = checkPrefix(field, value);
  if (problems.length > 0) return problems;
  if (value.includes('{{'))
    return [{ field, rule: 'PREFIX_REFERENCE', message: 'must not contain {{: it is a reference in CloudFormation' }];
  if (/\p{Cs}/u.test(value))
    return [{ field, rule: 'PREFIX_CHARACTERS', message: 'must not contain half of a surrogate pair' }];
  return [];
}

/** Pairs buckets with prefixes, and drops what lies within another. */
function readLocations(query: Pick<IamQuery, 'bucket' | 'prefix'>, problems: FieldProblem[]): Location[] {
  const buckets = list(query.bucket).map((bucket) => bucket.trim());
  const prefixes = list(query.prefix).map(normalizePrefix);
  const at = (field: string, all: string[], index: number): string => (all.length > 1 ? `${field}.${index}` : field);
  if (buckets.length === 0) problems.push({ field: 'bucket', rule: 'REQUIRED', message: 'must be given' });
  buckets.forEach((bucket, index) => problems.push(...checkBucketName(at('bucket', buckets, index), bucket)));
  prefixes.forEach((prefix, index) => problems.push(...checkDocumentPrefix(at('prefix', prefixes, index), prefix)));
  if (buckets.length > 1 && prefixes.length > 1 && buckets.length !== prefixes.length) {
    problems.push({
      field: 'prefix',
      rule: 'PREFIX_COUNT',
      message: `must be given once for all buckets or once for each of the ${buckets.length}, in their order; this is ${prefixes.length} times`,
    });
  }
  const pairs =
    buckets.length === 1 && prefixes.length > 1
      ? prefixes.map((prefix) => ({ bucket: buckets[0]!, prefix }))
      : buckets.map((bucket, index) => ({
          bucket,
          prefix: (prefixes.length > 1 ? prefixes[index] : prefixes[0]) ?? '',
        }));
  return withoutNested(pairs);
}

/** Locations without those that lie within another, and each once. */
export function withoutNested(locations: readonly Location[]): Location[] {
  const within = (inner: Location, outer: Location): boolean =>
    inner.bucket === outer.bucket &&
    prefixesOverlap(inner.prefix, outer.prefix) &&
    inner.prefix.length >= outer.prefix.length;
  return locations.filter(
    (one, index) =>
      !locations.some((other, at) => at !== index && within(one, other) && (!within(other, one) || at < index)),
  );
}

function checkLength(choice: IamChoice): FieldProblem[] {
  const longest = choice.credentialType === 'role' ? 'role' : 'accessKeys';
  const documents: [CredentialType, PolicyDocument][] = [[longest, permissionPolicy(choice)]];
  if (choice.capabilities.includes('bases2fastq')) documents.push(['role', executionPermissionPolicy(choice)]);
  const over = documents.find(([type, document]) => compact(document).replace(/\s/g, '').length > POLICY_LENGTH[type]);
  if (over === undefined) return [];
  return [
    {
      field: 'bucket',
      rule: 'POLICY_LENGTH',
      message: `must be fewer or with shorter prefixes: IAM takes ${POLICY_LENGTH[over[0]]} characters for the inline policies of a ${over[0] === 'role' ? 'role' : 'user; a role takes more'}`,
    },
  ];
}

const document = (...statements: Statement[]): PolicyDocument => ({ Version: '2012-10-17', Statement: statements });

/** An external ID that nobody can guess, from at least 16 random bytes. */
export function newExternalId(random: Uint8Array): string {
  if (random.length < 16) throw new RangeError('needs at least 16 random bytes');
  return `polony-${[...random].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** The provider role's trust policy: the trusted account may assume it, with the external ID. */
export function trustPolicy(trustedAccountId: string, externalId: string): PolicyDocument {
  throwIfInvalid([
    ...checkAccountId('trustedAccountId', trustedAccountId),
    ...checkExternalId('externalId', externalId),
  ]);
  return document({
    Effect: 'Allow',
    Principal: { AWS: [`arn:aws:iam::${trustedAccountId}:root`] },
    Action: 'sts:AssumeRole',
    Condition: { StringEquals: { 'sts:ExternalId': externalId } },
  });
}

/** One text where there is one, as the page writes resources. */
const single = (values: string[]): string | string[] => (values.length === 1 ? values[0]! : values);
const unique = (values: string[]): string[] => [...new Set(values)];

/** The policy of the provider's role or user. */
export function permissionPolicy(choice: IamChoice): PolicyDocument {
  const wanted = permissionsForCapabilities(choice.credentialType, choice.capabilities).map(({ action }) => action);
  const scope: PermissionScope = choice;
  const actions = (...of: PermissionAction[]): PermissionAction[] => of.filter((action) => wanted.includes(action));
  const statement = (
    sid: string,
    of: PermissionAction[],
    resource: string | string[],
    condition?: Statement['Condition'],
  ): Statement[] =>
    of.length === 0
      ? []
      : [{ Sid: sid, Effect: 'Allow', Action: of, Resource: resource, ...(condition && { Condition: condition }) }];
  const objects = single(choice.locations.map(({ bucket, prefix }) => objectsArn(bucket, prefix)));
  const buckets = single(unique(choice.locations.map(({ bucket }) => bucketArn(bucket))));
  // A bucket that another account took over after it was deleted is another bucket.
  const account =
    choice.variant === 'least' && choice.accountId !== undefined
      ? { StringEquals: { 'aws:ResourceAccount': choice.accountId } }
      : undefined;
  const listing = listingGroups(choice.locations).flatMap(({ buckets: of, prefixes }, index) =>
    statement(
      `S3ObjectListing${index === 0 ? '' : index + 1}`,
      ['s3:ListBucket'],
      single(of.map(bucketArn)),
      conditions(account, conditionFor('s3:ListBucket', ...prefixes)),
    ),
  );
  const target = (action: PermissionAction): string[] => permissionTarget(action, scope).resources;
  const least = choice.variant === 'least';
  return document(
    ...statement('S3ObjectWrite', actions('s3:PutObject'), objects, account),
    ...statement('S3ObjectRead', actions('s3:GetObject'), objects, account),
    ...listing,
    ...statement(
      'S3BucketLevelOperations',
      actions('s3:GetBucketLocation', 's3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy'),
      buckets,
      account,
    ),
    ...statement('STSOperations', actions('sts:GetCallerIdentity', 'sts:GetFederationToken'), '*'),
    ...(least
      ? [
          ...statement('OmicsWorkflow', actions('omics:GetWorkflow', 'omics:StartRun'), [
            workflowArn(scope),
            `${workflowArn(scope)}/version/*`,
          ]),
          ...statement(
            'OmicsRuns',
            actions('omics:StartRun', 'omics:GetRun', 'omics:CancelRun'),
            single(target('omics:GetRun')),
          ),
        ]
      : statement(
          'OmicsOperations',
          actions('omics:GetWorkflow', 'omics:StartRun', 'omics:GetRun', 'omics:CancelRun'),
          '*',
        )),
    ...statement(
      'OmicsPassRole',
      actions('iam:PassRole'),
      least ? single(target('iam:PassRole')) : '*',
      conditionFor('iam:PassRole'),
    ),
  );
}

/** Buckets with equal prefixes, which can share a statement: the condition on s3:prefix holds for all its buckets alike. */
function listingGroups(locations: readonly Location[]): { buckets: string[]; prefixes: string[] }[] {
  const groups = new Map<string, { buckets: string[]; prefixes: string[] }>();
  for (const bucket of unique(locations.map((location) => location.bucket))) {
    const prefixes = locations
      .filter((location) => location.bucket === bucket)
      .map(({ prefix }) => prefix)
      .sort();
    const key = JSON.stringify(prefixes);
    const group = groups.get(key) ?? { buckets: [], prefixes };
    group.buckets.push(bucket);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function conditions(...parts: (Statement['Condition'] | undefined)[]): Statement['Condition'] | undefined {
  const given = parts.filter((part) => part !== undefined);
  return given.length === 0 ? undefined : (Object.assign({}, ...given) as Statement['Condition']);
}

/**
 * The execution role's trust policy. `least` adds what keeps HealthOmics from using the role for another account (IAM User Guide,
 * "The confused deputy problem": aws:SourceAccount and aws:SourceArn), where the account is known.
 */
export function executionTrustPolicy({
  variant,
  accountId,
  region = '*',
}: Pick<IamChoice, 'variant' | 'accountId' | 'region'>): PolicyDocument {
  const guarded = variant === 'least' && accountId !== undefined;
  return document({
    Effect: 'Allow',
    Principal: { Service: HEALTHOMICS_SERVICE },
    Action: 'sts:AssumeRole',
    ...(guarded && {
      Condition: {
        StringEquals: { 'aws:SourceAccount': accountId },
        ArnLike: { 'aws:SourceArn': `arn:aws:omics:${region}:${accountId}:run/*` },
      },
    }),
  });
}

/**
 * The execution role's policy. `least`: the log group, images and folders that a run uses (HealthOmics User Guide, "Service roles for AWS
 * HealthOmics", "Amazon ECR permissions"), no ACLs, which the page recommends to disable, and no CloudWatch metrics.
 */
export function executionPermissionPolicy({
  variant,
  locations,
  accountId,
  region = '*',
}: Pick<IamChoice, 'variant' | 'locations' | 'accountId' | 'region'>): PolicyDocument {
  const buckets = unique(locations.map(({ bucket }) => bucket));
  if (variant === 'vendor') {
    return document(
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
        Resource: buckets.flatMap((bucket) => [`${bucketArn(bucket)}/*`, bucketArn(bucket)]),
      },
    );
  }
  const account = accountId === undefined ? undefined : { StringEquals: { 'aws:ResourceAccount': accountId } };
  return document(
    {
      Sid: 'Logs',
      Effect: 'Allow',
      Action: ['logs:CreateLogGroup', 'logs:DescribeLogStreams', 'logs:CreateLogStream', 'logs:PutLogEvents'],
      Resource: `arn:aws:logs:${region}:${accountId ?? '*'}:log-group:/aws/omics/*`,
    },
    // Images may lie in an account that is neither the customer's nor the one that shares the workflow.
    {
      Sid: 'ECR',
      Effect: 'Allow',
      Action: ['ecr:GetDownloadUrlForLayer', 'ecr:BatchGetImage', 'ecr:BatchCheckLayerAvailability'],
      Resource: `arn:aws:ecr:${region}:*:repository/*`,
    },
    {
      Sid: 'S3Objects',
      Effect: 'Allow',
      Action: ['s3:GetObject', 's3:PutObject'],
      Resource: locations.map(({ bucket, prefix }) => objectsArn(bucket, prefix)),
      ...(account && { Condition: account }),
    },
    ...listingGroups(locations).map(({ buckets: of, prefixes }, index): Statement => {
      const condition = conditions(
        account,
        prefixes.includes('') ? undefined : { StringLike: { 's3:prefix': prefixes.map(below) } },
      );
      return {
        Sid: `S3Listing${index === 0 ? '' : index + 1}`,
        Effect: 'Allow',
        Action: ['s3:ListBucket'],
        Resource: of.map(bucketArn),
        ...(condition && { Condition: condition }),
      };
    }),
  );
}

/**
 * All documents for a choice.
 * @param trustedAccountId the account whose polony may assume the role; not needed for a user.
 * @throws InputError where a role lacks its external ID or trusted account.
 */
export function iamDocuments(choice: IamChoice, trustedAccountId: string | undefined): IamDocuments {
  const isRole = choice.credentialType === 'role';
  const parts: Parts = {
    ...namesOf(choice),
    trust: isRole ? trustPolicy(trustedAccountId ?? '', choice.externalId ?? '') : null,
    policy: permissionPolicy(choice),
    execution: choice.capabilities.includes('bases2fastq')
      ? { trustPolicy: executionTrustPolicy(choice), permissionPolicy: executionPermissionPolicy(choice) }
      : null,
  };
  return {
    trustPolicy: parts.trust,
    permissionPolicy: parts.policy,
    executionRole: parts.execution,
    cloudFormation: cloudFormation(parts),
    terraform: terraform(parts),
    awsCli: awsCli(parts),
  };
}

interface Parts {
  /** Of the role or user. */
  name: string;
  executionName: string;
  executionPath: string;
  trust: PolicyDocument | null;
  policy: PolicyDocument;
  execution: { trustPolicy: PolicyDocument; permissionPolicy: PolicyDocument } | null;
}

/** The page's example of a clear name; the execution role as its ARN says. */
function namesOf({ executionRoleArn }: IamChoice): Pick<Parts, 'name' | 'executionName' | 'executionPath'> {
  const [, executionPath = '/', executionName = 'Element-HealthOmics-Execution'] =
    /:role(\/(?:.*\/)?)([^/]+)$/.exec(executionRoleArn ?? '') ?? [];
  return {
    name: executionName === 'Element-ServiceUser' ? 'Element-ServiceUser-Provider' : 'Element-ServiceUser',
    executionName,
    executionPath,
  };
}

/** The longest session that a role may give, in seconds: 12 hours, as the page asks for. */
const SESSION_SECONDS = 43_200;
const POLICY_NAME = 'polony';

/** JSON in ASCII: IAM takes no characters beyond U+00FF in the text of a policy (IAM API Reference, PutRolePolicy), but takes their escapes. */
function ascii(json: string, characters = /[\u007f-\uffff]/g): string {
  return json.replace(characters, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
const compact = (value: unknown): string => ascii(JSON.stringify(value));

/** A CloudFormation template, in JSON. Needs CAPABILITY_NAMED_IAM. */
function cloudFormation({ name, executionName, executionPath, trust, policy, execution }: Parts): string {
  const policies = (document: PolicyDocument) => [{ PolicyName: POLICY_NAME, PolicyDocument: document }];
  const resources = {
    ...(trust === null
      ? { ProviderUser: { Type: 'AWS::IAM::User', Properties: { UserName: name, Policies: policies(policy) } } }
      : {
          ProviderRole: {
            Type: 'AWS::IAM::Role',
            Properties: {
              RoleName: name,
              MaxSessionDuration: SESSION_SECONDS,
              AssumeRolePolicyDocument: trust,
              Policies: policies(policy),
            },
          },
        }),
    ...(execution && {
      ExecutionRole: {
        Type: 'AWS::IAM::Role',
        Properties: {
          RoleName: executionName,
          Path: executionPath,
          AssumeRolePolicyDocument: execution.trustPolicy,
          Policies: policies(execution.permissionPolicy),
        },
      },
    }),
  };
  const outputs = Object.fromEntries(
    Object.keys(resources).map((id) => [`${id}Arn`, { Value: { 'Fn::GetAtt': [id, 'Arn'] } }]),
  );
  const template = {
    AWSTemplateFormatVersion: '2010-09-09',
    Description: trust === null ? 'IAM user for polony; create its access key in the console' : 'IAM role for polony',
    Resources: resources,
    Outputs: outputs,
  };
  return templateText(template);
}

/** A template of CloudFormation in JSON; valid as YAML too, which has no surrogate pairs. */
export function templateText(template: unknown): string {
  return `${ascii(JSON.stringify(template, null, 2), /[\u007f-\ud7ff\ue000-\uffff]/g)}\n`;
}

/** A JSON document in HCL, where the brace of template sequences is escaped. */
export const hclJson = (value: unknown): string =>
  `jsonencode(${JSON.stringify(value, null, 2)
    .replace(/([$%])\{/g, '$1\\u007b')
    .replaceAll('\n', '\n  ')})`;

/** Terraform (HCL). A JSON text is an HCL expression but for template sequences, whose brace is escaped; its strings are UTF-8. */
function terraform({ name, executionName, executionPath, trust, policy, execution }: Parts): string {
  const text = (value: unknown): string => JSON.stringify(value).replace(/([$%])\{/g, '$1\\u007b');
  const json = hclJson;
  const block = (type: string, id: string, ...lines: string[]): string =>
    `resource "${type}" "${id}" {\n${lines.map((line) => `  ${line}\n`).join('')}}\n`;
  const output = (id: string, value: string): string => `output "${id}" {\n  value = ${value}\n}\n`;
  const role = (id: string, ...lines: string[]): string => block('aws_iam_role', id, ...lines);
  const rolePolicy = (id: string, document: PolicyDocument): string =>
    block(
      'aws_iam_role_policy',
      id,
      `name   = "${POLICY_NAME}"`,
      `role   = aws_iam_role.${id}.id`,
      `policy = ${json(document)}`,
    );
  const blocks =
    trust === null
      ? [
          block('aws_iam_user', 'provider', `name = ${text(name)}`),
          block(
            'aws_iam_user_policy',
            'provider',
            `name   = "${POLICY_NAME}"`,
            'user   = aws_iam_user.provider.name',
            `policy = ${json(policy)}`,
          ),
          output('user_arn', 'aws_iam_user.provider.arn'),
        ]
      : [
          role(
            'provider',
            `name                 = ${text(name)}`,
            `max_session_duration = ${SESSION_SECONDS}`,
            `assume_role_policy   = ${json(trust)}`,
          ),
          rolePolicy('provider', policy),
          output('role_arn', 'aws_iam_role.provider.arn'),
        ];
  if (execution !== null) {
    blocks.push(
      role(
        'execution',
        `name               = ${text(executionName)}`,
        `path               = ${text(executionPath)}`,
        `assume_role_policy = ${json(execution.trustPolicy)}`,
      ),
      rolePolicy('execution', execution.permissionPolicy),
      output('execution_role_arn', 'aws_iam_role.execution.arn'),
    );
  }
  return blocks.join('\n');
}

/** A word of sh that means nothing but itself. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Commands of the AWS CLI for sh; each runs only if those before it succeeded. */
function awsCli({ name, executionName, executionPath, trust, policy, execution }: Parts): string {
  const command = (operation: string, ...options: [string, string][]): string =>
    `aws iam ${operation}${options.map(([option, value]) => ` --${option}${value.startsWith('-') ? '=' : ' '}${shellWord(value)}`).join('')}`;
  const roleWithPolicy = (
    role: string,
    path: string,
    seconds: number | undefined,
    trusting: PolicyDocument,
    granting: PolicyDocument,
  ): string[] => [
    command(
      'create-role',
      ['role-name', role],
      ...(path === '/' ? [] : [['path', path] as [string, string]]),
      ...(seconds === undefined ? [] : [['max-session-duration', String(seconds)] as [string, string]]),
      ['assume-role-policy-document', compact(trusting)],
    ),
    command(
      'put-role-policy',
      ['role-name', role],
      ['policy-name', POLICY_NAME],
      ['policy-document', compact(granting)],
    ),
  ];
  const commands =
    trust === null
      ? [
          command('create-user', ['user-name', name]),
          command(
            'put-user-policy',
            ['user-name', name],
            ['policy-name', POLICY_NAME],
            ['policy-document', compact(policy)],
          ),
        ]
      : roleWithPolicy(name, '/', SESSION_SECONDS, trust, policy);
  if (execution !== null)
    commands.push(
      ...roleWithPolicy(executionName, executionPath, undefined, execution.trustPolicy, execution.permissionPolicy),
    );
  // Last, since it prints the secret key.
  if (trust === null) commands.push(command('create-access-key', ['user-name', name]));
  return `${commands.join(' &&\n')}\n`;
}
